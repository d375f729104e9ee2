"""What is drawn in each picture of a batch: a pure function of a key, sampled on the device.

A batch has numbered slots. All pairs (crystal, zone axis) stand in one list, and slot s of B draws uniformly from its
own stretch [s P/B, (s + 1) P/B) of the P pairs: every pair is expected exactly B/P times in a batch. `planning.py`
sorts the list such that neighbouring pairs cost alike, so that the shapes of a slot can be static and small. With
several views a slot is a crystal: it is drawn in the same way, along as many different axes, and its pictures stand
together.
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
STREAM_PAIR, STREAM_SIGN, STREAM_ANGLE, STREAM_STRAIN, STREAM_ATOMS, STREAM_VIEWS, STREAM_OWN = range(7)


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
    within = plan.slot_offset + plan.slot_width * _uniform(key, STREAM_PAIR, plan.slot_start.shape, 0, 1)
    place = jnp.minimum(plan.slot_start + within.astype(jnp.int32), plan.slot_stop - 1)  # float32 may round up
    return _recipe_at(key, place, plan, augment)


def walk_recipe(
    key: Key[Array, ""], batch: Int[Array, ""] | int, plan: Plan, augment: AugmentConfig
) -> tuple[Recipe, Bool[Array, "pictures"]]:
    """Return batch 0, 1, … of a walk over all pairs, each met once, and which of its pictures are of such a pair.

    Slot s walks its own stretch, so that the shapes of the plan hold, and may run out of pairs before others do;
    `num_walk_batches` says how many batches there are.
    """
    place = plan.slot_start + batch
    stop = jnp.append(plan.slot_start[1:], plan.pair.shape[0])
    return _recipe_at(key, place, plan, augment), jnp.repeat(place < stop, plan.views)


def num_walk_batches(plan: Plan) -> int:
    """Return how many batches a walk over all pairs takes."""
    return math.ceil(plan.pair.shape[0] / plan.slot_start.shape[0])


def _recipe_at(key: Key[Array, ""], place: Int[Array, "slots"], plan: Plan, augment: AugmentConfig) -> Recipe:
    crystal, axis = jnp.divmod(plan.pair[jnp.minimum(place, plan.pair.shape[0] - 1)], plan.uvw.shape[0])
    most, radians, num_slots = augment.strain, augment.rotation_deg * (math.pi / 180), place.shape
    strain = _uniform(key, STREAM_STRAIN, num_slots, -most, most) if most else jnp.zeros(num_slots)
    atoms = jax.random.split(jax.random.fold_in(key, STREAM_ATOMS), len(place))
    if plan.views > 1:
        crystal, strain, atoms = (jnp.repeat(leaf, plan.views, axis=0) for leaf in (crystal, strain, atoms))
        axis = _different_axes(key, plan)
    pictures = axis.shape
    angle = _uniform(key, STREAM_ANGLE, pictures, -radians, radians) if radians else jnp.zeros(pictures)
    uvw = plan.uvw[axis]
    if plan.either_sign:
        uvw = jnp.where(_uniform(key, STREAM_SIGN, pictures, -1, 1)[:, None] < 0, -uvw, uvw)
    return Recipe(crystal=crystal, uvw=uvw, basis=plan.basis[axis], angle=angle, strain=strain, key=atoms)


def _different_axes(key: Key[Array, ""], plan: Plan) -> Int[Array, "pictures"]:
    """Draw the axes of each crystal's views, no two the same."""
    keys = jax.random.split(jax.random.fold_in(key, STREAM_VIEWS), plan.slot_start.shape[0])
    num_axes = plan.uvw.shape[0]
    return jax.vmap(lambda key: jax.random.choice(key, num_axes, (plan.views,), replace=False))(keys).ravel()


def _uniform(
    key: Key[Array, ""], stream: int, shape: tuple[int, ...], low: float, high: float
) -> Float[Array, "numbers"]:
    return jax.random.uniform(jax.random.fold_in(key, stream), shape, minval=low, maxval=high)
