"""One training step, a pure function of (state, tally, store, plan, root key), and one of evaluation.

A step draws its own batch by keys that follow from the seed and the step alone. What the host wants to know is added up
on the device, in a tally, and read once an interval. A step whose loss or gradient is no longer a sensible number is
noted there by its number; with `on_nan = "skip"` it changes nothing but the count of steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from xrdjax.config import OptimConfig, TrainConfig
from xrdjax.learning.losses import Sums, two_head_loss
from xrdjax.learning.models import Logits
from xrdjax.learning.state import STREAM_DATA, STREAM_DROPOUT, STREAM_VIEWS, TrainState
from xrdjax.patterns.device_store import DeviceStore
from xrdjax.patterns.generate import Batch, draw_batch
from xrdjax.patterns.planning import Plan

DIVERGED = 1e4  # nats; guessing costs 7.4, and no run that can recover comes near
NEVER = 2**31 - 1


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Tally:
    """What the steps since the last report add up to."""

    patterns: Sums
    num_steps: Int[Array, ""]
    skipped: Int[Array, ""]
    """Steps that were not applied."""
    first_bad: Int[Array, ""]
    """The first step without a sensible loss and gradient, or `NEVER`."""
    gradient_norm: Float[Array, ""]
    """Sum over the applied steps of the gradient's norm before any clipping."""
    parameter_norm: Float[Array, ""]
    """After the last step."""

    def then(self, later: "Tally") -> "Tally":
        """Return the tally of both."""
        return Tally(
            patterns=jax.tree.map(jnp.add, self.patterns, later.patterns),
            num_steps=self.num_steps + later.num_steps,
            skipped=self.skipped + later.skipped,
            first_bad=jnp.minimum(self.first_bad, later.first_bad),
            gradient_norm=self.gradient_norm + later.gradient_norm,
            parameter_norm=later.parameter_norm,
        )


Step = Callable[[TrainState, Tally, DeviceStore, Plan, Key[Array, ""]], tuple[TrainState, Tally]]
Learn = Callable[[TrainState, Tally, Batch, Key[Array, ""]], tuple[TrainState, Tally]]


def empty_tally() -> Tally:
    """Return the tally of no steps."""
    zero, none = jnp.float32(0), jnp.int32(0)
    names = Sums.__dataclass_fields__
    return Tally(
        patterns=Sums(**dict.fromkeys(names, zero)),
        num_steps=none,
        skipped=none,
        first_bad=jnp.int32(NEVER),
        gradient_norm=zero,
        parameter_norm=zero,
    )


def step_key(root: Key[Array, ""], stream: int, step: Array | int) -> Key[Array, ""]:
    """Return the key of one named stream after `step` steps: that of step 1 is 0."""
    return jax.random.fold_in(jax.random.fold_in(root, stream), step)


def data_key(root: Key[Array, ""], step: Array | int, config: TrainConfig) -> Key[Array, ""]:
    """Return the key of the batch that is drawn after `step` steps."""
    return step_key(root, STREAM_DATA, step if config.repeat_after is None else step % config.repeat_after)


def make_step(graph: nnx.GraphDef, optimizer: optax.GradientTransformation, config: TrainConfig) -> Step:
    """Return the function that does `steps_per_dispatch` optimiser steps and adds them to a tally."""
    learn = make_learn(graph, optimizer, config)

    def one_step(
        state: TrainState, tally: Tally, store: DeviceStore, plan: Plan, root: Key[Array, ""]
    ) -> tuple[TrainState, Tally]:
        key = data_key(root, state.step, config)
        return learn(state, tally, draw_batch(key, store, plan, config.pattern, config.augment), root)

    def many_steps(
        state: TrainState, tally: Tally, store: DeviceStore, plan: Plan, root: Key[Array, ""]
    ) -> tuple[TrainState, Tally]:
        def following(carry: tuple[TrainState, Tally], _: None) -> tuple[tuple[TrainState, Tally], None]:
            return one_step(*carry, store, plan, root), None

        return jax.lax.scan(following, (state, tally), length=config.steps_per_dispatch)[0]

    return one_step if config.steps_per_dispatch == 1 else many_steps


def make_learn(graph: nnx.GraphDef, optimizer: optax.GradientTransformation, config: TrainConfig) -> Learn:
    """Return the function that does one optimiser step on a batch that is already drawn."""

    def learn(state: TrainState, tally: Tally, batch: Batch, root: Key[Array, ""]) -> tuple[TrainState, Tally]:
        dropout = step_key(root, STREAM_DROPOUT, state.step)
        num_seen = _num_seen(step_key(root, STREAM_VIEWS, state.step), config)

        def loss_of(params: PyTree) -> tuple[Array, tuple[Sums, PyTree]]:
            model = nnx.merge(graph, params, state.statistics, copy=True)
            logits = model(batch.image, batch.recipe.uvw, dropout, config.views, num_seen)
            loss, sums = two_head_loss(logits, batch, config.optim)
            return loss, (sums, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param))))

        (loss, (sums, statistics)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        new = TrainState(
            step=state.step + 1,
            params=params,
            statistics=statistics,
            optimizer=moments,
            average=_running_mean(state, (params, statistics), config.optim.ema_decay),
        )
        return _judge(state, new, loss, sums, optax.tree.norm(gradient), tally, config)

    return learn


def _num_seen(key: Key[Array, ""], config: TrainConfig) -> Int[Array, "crystals"] | None:
    """Draw how many views of each crystal a training step shows."""
    if config.views == 1:
        return None
    return jax.random.randint(key, (config.batch_size // config.views,), 1, config.views + 1)


def _running_mean(state: TrainState, new: tuple[PyTree, PyTree], decay: float | None) -> PyTree:
    """Return the running mean after a step. The first steps are forgotten faster, for they know least."""
    if decay is None:
        return None
    share = 1 - jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    return optax.incremental_update(new, state.average, share)


def _judge(
    old: TrainState,
    new: TrainState,
    loss: Float[Array, ""],
    sums: Sums,
    gradient_norm: Float[Array, ""],
    tally: Tally,
    config: TrainConfig,
) -> tuple[TrainState, Tally]:
    """Return the state after a step, the old one if the step is bad and to be skipped, and the tally with it."""
    is_good = (loss < DIVERGED) & jnp.isfinite(gradient_norm)
    is_skipped = ~is_good if config.on_nan == "skip" else jnp.bool_(False)
    if config.on_nan == "skip":
        new = jax.tree.map(lambda a, b: jnp.where(is_skipped, a, b), replace(old, step=new.step), new)
        sums, gradient_norm = jax.tree.map(lambda leaf: jnp.where(is_skipped, 0, leaf), (sums, gradient_norm))
    return new, tally.then(
        Tally(
            patterns=sums,
            num_steps=jnp.int32(1),
            skipped=is_skipped.astype(jnp.int32),
            first_bad=jnp.where(is_good, NEVER, new.step),
            gradient_norm=gradient_norm,
            parameter_norm=optax.tree.norm(new.params),
        )
    )


def make_evaluate(graph: nnx.GraphDef, config: TrainConfig) -> Callable[..., tuple[Batch, Logits, Sums]]:
    """Return the function that draws a batch by a key and predicts it."""

    def evaluate(state: TrainState, store: DeviceStore, plan: Plan, key: Key[Array, ""]) -> tuple[Batch, Logits, Sums]:
        batch = draw_batch(key, store, plan, config.pattern, config.augment)
        model = nnx.merge(graph, *state.predictor, copy=True)
        logits = model(batch.image, batch.recipe.uvw, views=config.views)
        return batch, logits, two_head_loss(logits, batch, OptimConfig())[1]

    return evaluate
