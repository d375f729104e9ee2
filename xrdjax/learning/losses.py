"""Cross-entropy of both heads, and what is counted beside it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from xrdjax.learning.models import Logits
from xrdjax.patterns.generate import Batch


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over patterns; two are added by `jax.tree.map(jnp.add, a, b)`."""

    num_patterns: Float[Array, ""]
    space_group_loss: Float[Array, ""]
    crystal_system_loss: Float[Array, ""]
    space_group_hits: Float[Array, ""]
    crystal_system_hits: Float[Array, ""]
    space_group_top3: Float[Array, ""]
    """Patterns whose true class is among the three likeliest."""
    crystal_system_top3: Float[Array, ""]

    def means(self) -> dict[str, float]:
        """Return the means by the names that logs and TensorBoard show."""
        count = max(float(self.num_patterns), 1.0)
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


def two_head_loss(logits: Logits, batch: Batch, label_smoothing: float = 0.0) -> tuple[Float[Array, ""], Sums]:
    """Return the mean over the batch of the two cross-entropies' sum, and the sums that metrics are made of."""
    group_loss, group_hits, group_top3 = _head(logits.space_group, batch.space_group - 1, label_smoothing)
    system_loss, system_hits, system_top3 = _head(logits.crystal_system, batch.crystal_system, label_smoothing)
    sums = Sums(
        num_patterns=jnp.float32(len(batch.space_group)),
        space_group_loss=group_loss.sum(),
        crystal_system_loss=system_loss.sum(),
        space_group_hits=group_hits.sum(),
        crystal_system_hits=system_hits.sum(),
        space_group_top3=group_top3.sum(),
        crystal_system_top3=system_top3.sum(),
    )
    return (group_loss + system_loss).mean(), sums


def _head(
    logits: Float[Array, "batch classes"], label: Int[Array, "batch"], smoothing: float
) -> tuple[Float[Array, "batch"], Float[Array, "batch"], Float[Array, "batch"]]:
    """Return loss, whether the likeliest class is true, and whether one of the three likeliest is."""
    target = optax.smooth_labels(jax.nn.one_hot(label, logits.shape[-1]), smoothing)
    is_hit = logits.argmax(-1) == label
    of_label = jnp.take_along_axis(logits, label[:, None], axis=-1)
    is_top3 = (logits > of_label).sum(-1) < 3
    loss = optax.softmax_cross_entropy(logits, target)
    return loss, is_hit.astype(jnp.float32), is_top3.astype(jnp.float32)
