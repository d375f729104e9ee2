"""The loss: cross-entropies of the heads, weighted, and their disagreement; and what is counted beside it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from xrdjax.config import LARGEST_AXIS_INDEX, OptimConfig
from xrdjax.crystals.friedel import friedel_classes
from xrdjax.learning.models import NUM_GROUPS, NUM_SYSTEMS, Logits
from xrdjax.patterns.generate import SYSTEM_OF_GROUP, Batch


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over predictions; two are added by `jax.tree.map(jnp.add, a, b)`."""

    num_predictions: Float[Array, ""]
    """One for each pattern, or one for all views of a crystal together."""
    space_group_loss: Float[Array, ""]
    crystal_system_loss: Float[Array, ""]
    space_group_hits: Float[Array, ""]
    crystal_system_hits: Float[Array, ""]
    space_group_top3: Float[Array, ""]
    """Patterns whose true class is among the three likeliest."""
    crystal_system_top3: Float[Array, ""]

    def means(self) -> dict[str, float]:
        """Return the means by the names that logs and TensorBoard show."""
        count = max(float(self.num_predictions), 1.0)
        means = {name: float(getattr(self, name)) / count for name in _MEAN_NAMES}
        return {
            "loss": means["space_group_loss"] + means["crystal_system_loss"],
            **{_MEAN_NAMES[name]: value for name, value in means.items()},
        }


_MEAN_NAMES = {
    "space_group_loss": "loss/space_group",
    "crystal_system_loss": "loss/crystal_system",
    "space_group_hits": "accuracy/space_group",
    "crystal_system_hits": "accuracy/crystal_system",
    "space_group_top3": "top3/space_group",
    "crystal_system_top3": "top3/crystal_system",
}


def two_head_loss(logits: Logits, batch: Batch, optim: OptimConfig) -> tuple[Float[Array, ""], Sums]:
    """Return the mean loss over a batch, in nats, and the sums that metrics are made of.

    The logits of fewer crystals than the batch has pictures belong to so many pictures in a row.
    """
    views = len(batch.space_group) // len(logits.space_group)
    space_group, crystal_system = batch.space_group[::views] - 1, batch.crystal_system[::views]
    targets = jnp.asarray(_group_targets(optim.friedel_smoothing), jnp.float32)[space_group]
    group_loss, group_hits, group_top3 = _head(logits.space_group, space_group, targets, optim.label_smoothing)
    targets = jax.nn.one_hot(crystal_system, NUM_SYSTEMS)
    system_loss, system_hits, system_top3 = _head(logits.crystal_system, crystal_system, targets, optim.label_smoothing)
    sums = Sums(
        num_predictions=jnp.float32(len(space_group)),
        space_group_loss=group_loss.sum(),
        crystal_system_loss=system_loss.sum(),
        space_group_hits=group_hits.sum(),
        crystal_system_hits=system_hits.sum(),
        space_group_top3=group_top3.sum(),
        crystal_system_top3=system_top3.sum(),
    )
    loss = (optim.space_group_weight * group_loss + optim.crystal_system_weight * system_loss).mean()
    if optim.consistency_weight:
        loss += optim.consistency_weight * _disagreement(logits).mean()
    if logits.axis is not None:
        labels = batch.recipe.uvw + LARGEST_AXIS_INDEX
        of_indices = optax.softmax_cross_entropy_with_integer_labels(logits.axis, labels)
        loss += optim.axis_weight * of_indices.sum(-1).mean()
    return loss, sums


def _group_targets(smoothing: float) -> Float[np.ndarray, "230 230"]:
    """Return the targets of each true space group: itself, and a share for all groups of its class."""
    if not smoothing:
        return np.eye(NUM_GROUPS)
    classes = friedel_classes()
    same = (classes[:, None] == classes).astype(float)
    return (1 - smoothing) * np.eye(NUM_GROUPS) + smoothing * same / same.sum(1, keepdims=True)


def _head(
    logits: Float[Array, "crystals classes"],
    label: Int[Array, "crystals"],
    target: Float[Array, "crystals classes"],
    smoothing: float,
) -> tuple[Float[Array, "crystals"], Float[Array, "crystals"], Float[Array, "crystals"]]:
    """Return loss, whether the likeliest class is true, and whether one of the three likeliest is."""
    is_hit = logits.argmax(-1) == label
    of_label = jnp.take_along_axis(logits, label[:, None], axis=-1)
    is_top3 = (logits > of_label).sum(-1) < 3
    loss = optax.softmax_cross_entropy(logits, optax.smooth_labels(target, smoothing))
    return loss, is_hit.astype(jnp.float32), is_top3.astype(jnp.float32)


def _disagreement(logits: Logits) -> Float[Array, "crystals"]:
    """Return the Kullback–Leibler divergence KL(implied by the space groups ‖ crystal systems)."""
    of_group = jax.nn.log_softmax(logits.space_group)
    is_member = jnp.asarray(SYSTEM_OF_GROUP[None] == np.arange(NUM_SYSTEMS)[:, None])
    implied = jax.nn.logsumexp(of_group[:, None], axis=-1, where=is_member)
    return optax.losses.kl_divergence_with_log_targets(jax.nn.log_softmax(logits.crystal_system), implied)
