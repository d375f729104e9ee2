"""Static shapes for a batch of very unequal crystals.

Cells hold 1 to 600 atoms, zones 10 to 5,000 reflections, and a compiled step knows one shape only. Padding all to the
largest would waste nearly everything. So the list of pairs (crystal, zone axis) is cut into buckets, each a fixed
share of every batch, by halving again and again the bucket that costs most, along the property that saves most. A
bucket's shapes are the maxima over its own pairs, so nothing ever overflows; loops run only as far as the batch at
hand needs, so what a bucket costs is the largest of the few pairs that are drawn from it. Cuts lie at exact fractions
of the list; a pair that straddles a cut belongs to both buckets and is drawn by each with its share, so that every
pair keeps the same probability.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xrdjax.config import AugmentConfig, PatternConfig
from xrdjax.diffraction.layer import layer_plane, layer_rows
from xrdjax.diffraction.sphere import row_box
from xrdjax.diffraction.structure_factor import ATOM_BLOCK, SPOT_BLOCK
from xrdjax.diffraction.zone import ZonePlane, coprime_axis, plane_heights, zone_basis
from xrdjax.patterns.device_store import DeviceStore, OwnPictures
from xrdjax.patterns.render import num_nodes

NUM_BUCKETS = 8
MOST_BUCKETS_PER_BATCH = 16  # the smallest bucket is a sixteenth of a batch, so that a batch can be spread over devices
SAMPLE = 8192  # pairs that a cut is chosen from
SPOT_COST, NODE_COST = 3.0, 1.0  # of an atom and reflection, and of a pixel and lattice node: a ratio for two CPU cores
MARGIN = 1e-4  # relative widening of all bounds, far above float32 rounding
ATOMS, SPOTS, COLUMNS, ROWS, NODES, BOX, _ = range(7)  # what is known of the size of a pair


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Static shapes that hold for every pair of one bucket."""

    slots: int
    """Pictures of each batch that are drawn from this bucket."""
    atoms: int
    spots: int
    """Reflections in the half disc."""
    columns: int
    """Largest |i|."""
    rows: int
    """Largest j."""
    box: tuple[int, int]
    """Bounds of indices within the limiting sphere, see `row_box`."""
    is_made_up: bool = False
    """The crystals are made, not taken from the store."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Plan:
    """The list of pairs in the order of the buckets, and where each slot's stretch of it begins."""

    pair: Int[Array, "pairs"]
    """crystal · number of axes + axis; crystals are numbered as in `Recipe`."""
    uvw: Int[Array, "axes 3"]
    basis: Int[Array, "axes 3 3"]
    slot_start: Int[Array, "slots"]
    """The pair in which a slot's stretch begins, at `slot_offset` of it; the stretch is `slot_width` pairs long."""
    slot_stop: Int[Array, "slots"]
    """One more than the pair in which it ends."""
    slot_offset: Float[Array, "slots"]
    slot_width: Float[Array, "slots"]
    buckets: tuple[Bucket, ...] = field(metadata={"static": True})
    views: int = field(metadata={"static": True})
    """Pictures of one crystal that stand together. If above 1, slots are crystals and the axis of a pair means nothing:
    each view has another axis."""
    either_sign: bool = field(metadata={"static": True})
    """Draw [uvw] and [−u −v −w] with equal probability."""
    own: OwnPictures | None = None
    """Pictures that are not drawn."""


def measure_pairs(
    direct: Float[Array, "crystals 3 3"],
    reciprocal: Float[Array, "crystals 3 3"],
    uvw: Int[Array, "axes 3"],
    basis: Int[Array, "axes 3 3"],
    pattern: PatternConfig,
    augment: AugmentConfig,
) -> Int[np.ndarray, "crystals axes 4"]:
    """Return upper bounds, any strain allowed for, of spots, columns, rows and nodes around a pixel of every pair."""
    largest_edge = (1 + augment.strain) * (1 + MARGIN)
    widest = pattern.widened(largest_edge)

    def over_pairs(function: Callable[..., Array]) -> Int[np.ndarray, "axes crystals *size"]:
        @jax.jit
        def measure(direct: Array, reciprocal: Array, uvw: Array, basis: Array) -> Array:
            def over_crystals(axis: tuple[Array, Array]) -> Array:
                planes = jax.vmap(layer_plane, in_axes=(0, 0, None, None, None))(direct, reciprocal, *axis, widest)
                return jax.vmap(function)(planes)

            return jax.lax.map(over_crystals, (uvw, basis))

        return np.asarray(measure(direct, reciprocal, uvw, basis))

    def sides(plane: ZonePlane) -> Int[Array, "3"]:
        columns_rows = (widest.g_max / plane_heights(plane.xy)).astype(jnp.int32) + (pattern.layer != 0)
        return jnp.append(columns_rows, num_nodes(plane.drawn_xy / largest_edge, pattern).prod())

    bounds = over_pairs(sides)
    max_row = int(bounds[..., 1].max())
    count = over_pairs(lambda plane: layer_rows(plane, max_row, widest).count)
    return np.swapaxes(np.concatenate([count[..., None], bounds], axis=-1), 0, 1)


def cut_into_buckets(
    size: Int[np.ndarray, "pairs 7"], num_pixels: int, num_slots: int, batch_size: int, most: int | None = None
) -> tuple[Int[np.ndarray, "pairs"], tuple[Bucket, ...]]:
    """Return the order of the pairs, which share some slots of a batch, and the buckets one after the other in it.

    A whole batch would have up to `most` buckets, `NUM_BUCKETS` by default, so many slots have a part of them.
    """
    num_pairs, order = len(size), np.arange(len(size))
    smallest = max(1, batch_size // MOST_BUCKETS_PER_BATCH)
    num_buckets = -(-(NUM_BUCKETS if most is None else most) * num_slots // batch_size)
    shares = [(0, num_slots)]  # stretches of the slots

    def stretch(share: tuple[int, int]) -> Int[np.ndarray, "inside 7"]:
        return size[order[share[0] * num_pairs // num_slots : -(-share[1] * num_pairs // num_slots)]]

    def cost(share: tuple[int, int]) -> float:
        return _expected_cost(_sample(stretch(share)), share[1] - share[0], num_pixels)

    def halvable(share: tuple[int, int]) -> bool:
        slots = share[1] - share[0]
        has_pairs = slots * num_pairs >= 3 * num_slots  # so that at least two lie within, one for each half
        return _first_half(slots, batch_size) >= smallest and has_pairs

    while len(shares) < num_buckets and (candidates := [share for share in shares if halvable(share)]):
        start, stop = max(candidates, key=cost)
        middle = start + _first_half(stop - start, batch_size)
        inner = slice(-(-start * num_pairs // num_slots), stop * num_pairs // num_slots)
        order[inner] = order[inner][_cheapest_order(size[order[inner]], stop - start, num_pixels)]
        at = shares.index((start, stop))
        shares[at : at + 1] = [(start, middle), (middle, stop)]
    return order, tuple(_bucket(stop - start, stretch((start, stop)).max(0)) for start, stop in shares)


def _first_half(slots: int, batch_size: int) -> int:
    """Return how many slots are cut off: half, in whole sixteenths of the batch where it has such; 0 for none."""
    if batch_size % MOST_BUCKETS_PER_BATCH == 0 and slots % (batch_size // MOST_BUCKETS_PER_BATCH) == 0:
        sixteenth = batch_size // MOST_BUCKETS_PER_BATCH
        return slots // sixteenth // 2 * sixteenth
    return 0 if slots % 2 else slots // 2


def _sample(size: Int[np.ndarray, "pairs 7"]) -> Int[np.ndarray, "sample 7"]:
    return size[:: max(1, len(size) // SAMPLE)]


def _expected_cost(size: Int[np.ndarray, "pairs 7"], slots: int, num_pixels: int) -> float:
    """Return the cost of `slots` random pairs that all run as far as the largest of them."""
    last = len(size) * slots // (slots + 1)
    atoms, spots, _, _, nodes = np.partition(size[:, :BOX], last, axis=0)[last]
    return slots * (SPOT_COST * atoms * spots + NODE_COST * num_pixels * nodes)


def _cheapest_order(size: Int[np.ndarray, "pairs 7"], slots: int, num_pixels: int) -> Int[np.ndarray, "pairs"]:
    """Return the order of pairs, by one of their properties, of which the two halves cost least."""
    keys = (
        lambda size: size[:, ATOMS],
        lambda size: size[:, SPOTS],
        lambda size: size[:, NODES],
        lambda size: size[:, ATOMS] * size[:, SPOTS],
    )

    def cost_of_halves(values: Int[np.ndarray, "sample"]) -> float:
        halves = np.array_split(sample[np.argsort(values, kind="stable")], 2)
        return sum(_expected_cost(half, slots // 2, num_pixels) for half in halves)

    sample = _sample(size)
    best = min(keys, key=lambda key: cost_of_halves(key(sample)))
    return np.argsort(best(size), kind="stable")


def _bucket(slots: int, largest: Int[np.ndarray, "7"]) -> Bucket:
    return Bucket(
        slots=slots,
        atoms=_whole_blocks(largest[ATOMS], ATOM_BLOCK),
        spots=_whole_blocks(largest[SPOTS], SPOT_BLOCK),
        columns=int(largest[COLUMNS]),
        rows=int(largest[ROWS]),
        box=(int(largest[BOX]), int(largest[BOX + 1])),
    )


def _whole_blocks(number: np.integer, size: int) -> int:
    return max(1, math.ceil(number / size)) * size


def make_plan(
    store: DeviceStore,
    crystals: Int[np.ndarray, "crystals"],
    pattern: PatternConfig,
    augment: AugmentConfig,
    batch_size: int,
    num_slots: int | None = None,
    views: int = 1,
) -> Plan:
    """Plan batches of these crystals of the store, each along every zone axis of the configuration.

    They share `num_slots` pictures of a batch, all by default; `views` of them, along different axes, show one crystal.
    """
    uvw = zone_axes(pattern)
    basis = np.stack([zone_basis(axis) for axis in uvw])
    bounds = measure_pairs(
        store.direct[crystals], store.reciprocal[crystals], jnp.array(uvw), jnp.array(basis), pattern, augment
    )
    box = row_box(np.asarray(store.direct[crystals]), pattern.g_max * (1 + augment.strain) * (1 + MARGIN))
    of_crystal = np.concatenate([np.asarray(store.num_atoms)[crystals, None], box], axis=1)[:, None]
    atoms_and_box = np.broadcast_to(of_crystal, (*bounds.shape[:2], 3))
    size = np.concatenate([atoms_and_box[..., :1], bounds, atoms_and_box[..., 1:]], axis=-1)
    num_slots = batch_size if num_slots is None else num_slots
    return plan_pairs(crystals, size, pattern, num_slots, batch_size, views=views)


def plan_pairs(
    crystals: Int[np.ndarray, "crystals"],
    size: Int[np.ndarray, "crystals axes 7"],
    pattern: PatternConfig,
    num_slots: int,
    batch_size: int,
    most_buckets: int | None = None,
    views: int = 1,
) -> Plan:
    """Plan the slots of a batch that all pairs share, given bounds of each pair."""
    uvw = zone_axes(pattern)
    num_pixels = pattern.height * pattern.width
    if views > 1:
        size, num_slots, batch_size = size.max(1, keepdims=True), num_slots // views, batch_size // views
    order, buckets = cut_into_buckets(size.reshape(-1, 7), num_pixels, num_slots, batch_size, most_buckets)
    crystal, axis = np.divmod(order, size.shape[1])
    edge = np.arange(num_slots + 1) * len(order)
    start, stop = edge[:-1] // num_slots, -(-edge[1:] // num_slots)
    return Plan(
        pair=jnp.asarray(crystals[crystal] * len(uvw) + axis, jnp.int32),
        uvw=jnp.array(uvw, jnp.int32),
        basis=jnp.array([zone_basis(one) for one in uvw], jnp.int32),
        slot_start=jnp.asarray(start, jnp.int32),
        slot_stop=jnp.asarray(stop, jnp.int32),
        slot_offset=jnp.asarray(edge[:-1] % num_slots / num_slots, jnp.float32),
        slot_width=jnp.full(num_slots, len(order) / num_slots, jnp.float32),
        buckets=tuple(replace(bucket, slots=bucket.slots * views) for bucket in buckets),
        views=views,
        either_sign=pattern.max_index > 0,
    )


def zone_axes(pattern: PatternConfig) -> list[tuple[int, int, int]]:
    """Return the configured axes, coprime; of random axes only one of [uvw] and [−u −v −w]."""
    if not pattern.max_index:
        return [coprime_axis(axis) for axis in pattern.axes]
    indices = range(-pattern.max_index, pattern.max_index + 1)
    every = ((u, v, w) for u in indices for v in indices for w in indices)
    return [axis for axis in every if axis > (0, 0, 0) and math.gcd(*axis) == 1]
