"""What is drawn in each picture of a batch: a pure function of a key, sampled on the device.

A batch has numbered slots. All pairs (crystal, zone axis) stand in one list, and slot s of B draws uniformly from its
own stretch [s P/B, (s + 1) P/B) of the P pairs: every pair is expected exactly B/P times in a batch. `planning.py`
sorts the list such that neighbouring pairs cost alike, so that the shapes of a slot can be static and small.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from xrdjax.config import AugmentConfig
from xrdjax.patterns.changes import AtomChanges
from xrdjax.patterns.planning import Plan

# Named streams: on one plan, switching one augmentation on leaves the draws of all others as they were.
STREAM_PAIR, STREAM_SIGN, STREAM_ANGLE, STREAM_STRAIN, STREAM_ATOMS = range(5)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a picture depends on besides the crystal store and the configuration."""

    crystal: Int[Array, "*batch"]
    """Number of the crystal in the store; of a made-up one −1 − the number of its template."""
    uvw: Int[Array, "*batch 3"]
    """Zone axis, coprime."""
    basis: Int[Array, "*batch 3 3"]
    """Integer basis of all reflections, the zone's first, see `zone_basis`."""
    angle: Float[Array, "*batch"]
    """Counter-clockwise turn of the picture, in radians."""
    strain: Float[Array, "*batch"]
    """Relative change of the cell edges."""
    key: Key[Array, "*batch"]
    """For whatever happens to single atoms."""
    deformation: Float[Array, "*batch 3 3"] | None = None
    """What the cell edges, as rows, are multiplied by from the right; None costs nothing."""
    changes: AtomChanges | None = None
    """Stated changes of the atoms; None costs nothing."""


def sample_recipe(key: Key[Array, ""], plan: Plan, augment: AugmentConfig) -> Recipe:
    """Draw the recipe of one batch, slot by slot."""
    within = plan.slot_offset + plan.slot_width * _uniform(key, STREAM_PAIR, plan, 0, 1)
    place = jnp.minimum(plan.slot_start + within.astype(jnp.int32), plan.slot_stop - 1)  # float32 may round up
    return _recipe_at(key, place, plan, augment)


def walk_recipe(
    key: Key[Array, ""], batch: Int[Array, ""] | int, plan: Plan, augment: AugmentConfig
) -> tuple[Recipe, Bool[Array, "slots"]]:
    """Return batch 0, 1, … of a walk over all pairs, each met once, and which of its slots have not run out of pairs.

    Slot s walks its own stretch, so that the shapes of the plan hold; `num_walk_batches` says how many batches there
    are.
    """
    place = plan.slot_start + batch
    stop = jnp.append(plan.slot_start[1:], plan.pair.shape[0])
    return _recipe_at(key, place, plan, augment), place < stop


def num_walk_batches(plan: Plan) -> int:
    """Return how many batches a walk over all pairs takes."""
    return math.ceil(plan.pair.shape[0] / plan.slot_start.shape[0])


def _recipe_at(key: Key[Array, ""], place: Int[Array, "slots"], plan: Plan, augment: AugmentConfig) -> Recipe:
    pair = plan.pair[jnp.minimum(place, plan.pair.shape[0] - 1)]
    crystal, axis = jnp.divmod(pair, plan.uvw.shape[0])
    ones = jnp.ones(pair.shape, jnp.int32)
    sign = jnp.where(_uniform(key, STREAM_SIGN, plan, -1, 1) < 0, -ones, ones) if plan.either_sign else ones
    radians = augment.rotation_deg * (math.pi / 180)
    zeros = jnp.zeros(pair.shape)
    return Recipe(
        crystal=crystal,
        uvw=sign[:, None] * plan.uvw[axis],
        basis=plan.basis[axis],
        angle=_uniform(key, STREAM_ANGLE, plan, -radians, radians) if radians else zeros,
        strain=_uniform(key, STREAM_STRAIN, plan, -augment.strain, augment.strain) if augment.strain else zeros,
        key=jax.random.split(jax.random.fold_in(key, STREAM_ATOMS), len(pair)),
    )


def _uniform(key: Key[Array, ""], stream: int, plan: Plan, low: float, high: float) -> Float[Array, "slots"]:
    return jax.random.uniform(jax.random.fold_in(key, stream), plan.slot_start.shape, minval=low, maxval=high)
