"""The optimiser of a run, from its configuration."""

import difflib
from functools import partial
from itertools import accumulate

import jax
import optax
from jaxtyping import Array, PyTree

from xrdjax.config import OptimConfig, TrainConfig
from xrdjax.errors import ConfigError


def learning_rate(config: OptimConfig, steps: int) -> optax.Schedule:
    """Return linear warm-up from zero, then a constant rate, or a cosine down to zero at the last step."""
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(config.lr, max(1, steps - config.warmup_steps))
    else:
        after = optax.constant_schedule(config.lr)
    if not config.warmup_steps:
        return after
    warmup = optax.linear_schedule(0.0, config.lr, config.warmup_steps)
    return optax.join_schedules([warmup, after], [config.warmup_steps])


def build_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Return AdamW (Adam, at zero weight decay) for all parameters but the frozen ones, gradients clipped if asked."""
    optim = config.optim
    adam = optax.adamw(learning_rate(optim, config.steps), weight_decay=optim.weight_decay, mask=_is_decayed)
    clipped = adam if optim.clip_norm is None else optax.chain(optax.clip_by_global_norm(optim.clip_norm), adam)
    if not config.freeze:
        return clipped
    return optax.partition({"train": clipped, "freeze": optax.set_to_zero()}, partial(_fates, frozen=config.freeze))


def named_leaves(tree: PyTree) -> dict[str, Array]:
    """Return all arrays of a tree by their names, such as "blocks.0.convolutions.0.kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _is_decayed(params: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def _fates(params: PyTree, frozen: tuple[str, ...]) -> PyTree:
    """Return what becomes of each array. Raises ConfigError for a beginning that no name has."""
    names = list(named_leaves(params))
    for start in frozen:
        if not any(_begins(name, start) for name in names):
            known = {part for name in names for part in accumulate(name.split("."), "{}.{}".format)}
            near = difflib.get_close_matches(start, sorted(known), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"freeze = {start}: no parameter's name begins so{hint}")
    fates = ["freeze" if any(_begins(name, start) for start in frozen) else "train" for name in names]
    return jax.tree.unflatten(jax.tree.structure(params), fates)


def _begins(name: str, start: str) -> bool:
    return f"{name}.".startswith(f"{start}.")
