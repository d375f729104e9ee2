"""The baseline of classical indexing: a pattern has the space group of the training pattern whose spots are most alike.

A list of spots becomes numbers that do not change when the picture is turned or mirrored: amplitudes √I, relative to
the strongest, are gathered in rings of |G|, and of each ring the sizes of the angular Fourier components of order 0, 2,
4, … 16 are kept. A spot between two rings is shared out, so that a small change of the cell is a small change of the
numbers. Likeness is the cosine of the angle between two such descriptions. Absent reflections have no part in it.

A pattern is compared with those of the training crystals along its own axis: unlike a network, the baseline is told the
axis. Groups are ranked by the likest crystal of each; a crystal is never compared with itself.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float16, Float32, Int, Integer
from tqdm import tqdm

from xrdjax.config import AugmentConfig, Axis, PatternConfig
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import crystal_system_index
from xrdjax.diffraction.layer import layer_intensities, layer_rows, make_scatterers
from xrdjax.diffraction.zone import combine
from xrdjax.patterns.device_store import DeviceStore, take_sample, to_device
from xrdjax.patterns.generate import by_bucket, recipe_plane
from xrdjax.patterns.planning import Bucket, Plan, make_plan
from xrdjax.patterns.recipe import Recipe, num_walk_batches, walk_recipe

BEST = 3  # ranks kept
RING = 0.12  # 1/Å between rings: finer ones find fewer relatives of validation crystals, whose cells differ a little
ORDERS = 9  # 0, 2, … 16: even ones, for a zone has a centre
_BATCH = 512  # spot lists calculated in one call
_BLOCK = 256  # patterns compared with all training crystals in one product
_UNCHANGED = AugmentConfig()


@dataclass(frozen=True, kw_only=True, eq=False)
class NeighbourRanks:
    """What the likest training crystals say of n patterns, best first."""

    space_group: Int[np.ndarray, "n 3"]
    """1 to 230."""
    crystal_system: Int[np.ndarray, "n 3"]
    """Index in `CRYSTAL_SYSTEMS`."""


def neighbour_ranks(
    store: CrystalStore,
    train: Integer[np.ndarray, "t"],
    crystal: Integer[np.ndarray, "n"],
    uvw: Integer[np.ndarray, "n 3"],
    pattern: PatternConfig,
) -> NeighbourRanks:
    """Return the groups and systems of the likest training crystals, for patterns of a store along coprime axes.

    Spots are those that `pattern` would draw. All training crystals are described along every axis that occurs: half a
    kilobyte for each pair. Shows progress.
    """
    axes, axis = np.unique(uvw, axis=0, return_inverse=True)
    crystals = np.union1d(train, crystal)
    described = describe_zones(store, crystals, [(u, v, w) for u, v, w in axes.tolist()], pattern)
    library = train[np.argsort(store.space_group[train], kind="stable")]
    groups = store.space_group[library].astype(int)
    ranks = np.empty((2, len(crystal), BEST), int)
    for number in range(len(axes)):
        known = described[np.searchsorted(crystals, library), number].astype(np.float32)
        own = np.flatnonzero(axis.reshape(-1) == number)
        for some in np.array_split(own, math.ceil(len(own) / _BLOCK)):
            asked = described[np.searchsorted(crystals, crystal[some]), number].astype(np.float32)
            likeness = np.where(crystal[some, None] == library, -1, asked @ known.T)
            ranks[:, some] = _rank(likeness, groups)
    return NeighbourRanks(space_group=ranks[0], crystal_system=ranks[1])


def _rank(likeness: Float32[np.ndarray, "n t"], groups: Int[np.ndarray, "t"]) -> Int[np.ndarray, "2 n 3"]:
    """Return the three best groups and systems, given the likeness to crystals in the order of their groups."""
    ranks = []
    for labels, numbers in ((groups, 231), (crystal_system_index(groups), 7)):
        present, first = np.unique(labels, return_index=True)
        best = np.full((len(likeness), numbers), -2, np.float32)
        best[:, present] = np.maximum.reduceat(likeness, first, axis=1)
        ranks.append(np.argsort(-best, axis=1, kind="stable")[:, :BEST])
    return np.array(ranks)


def describe_zones(
    store: CrystalStore, crystals: Integer[np.ndarray, "c"], axes: list[Axis], pattern: PatternConfig
) -> Float16[np.ndarray, "c axes numbers"]:
    """Return the descriptions, of length one, of all zones of some crystals, which are in ascending order."""
    pattern = replace(pattern, axes=tuple(axes), max_index=0)
    on_device = to_device(store)
    plan = make_plan(on_device, crystals, pattern, _UNCHANGED, min(_BATCH, len(crystals) * len(axes)))
    describe = jax.jit(partial(_describe_batch, pattern=pattern))
    described = np.zeros((len(crystals), len(axes), _num_rings(pattern) * ORDERS), np.float16)
    for number in tqdm(range(num_walk_batches(plan)), desc="Describing", unit="batch", mininterval=1.0):
        crystal, uvw, some, is_new = jax.device_get(describe(number, on_device, plan))
        axis = (uvw[:, None] == np.array(axes)).all(-1).argmax(1)
        described[np.searchsorted(crystals, crystal[is_new]), axis[is_new]] = some[is_new]
    return described


def _describe_batch(
    number: Int[Array, ""] | int, store: DeviceStore, plan: Plan, pattern: PatternConfig
) -> tuple[Int[Array, "slots"], Int[Array, "slots 3"], Float[Array, "slots numbers"], Bool[Array, "slots"]]:
    recipe, is_new = walk_recipe(jax.random.key(0), number, plan, _UNCHANGED)
    described = [
        jax.lax.map(lambda one, bucket=bucket: _describe(one, store, bucket, pattern), part)
        for part, bucket in zip(by_bucket(recipe, plan), plan.buckets, strict=True)
    ]
    return recipe.crystal, recipe.uvw, jnp.concatenate(described), is_new


def _describe(recipe: Recipe, store: DeviceStore, bucket: Bucket, pattern: PatternConfig) -> Float[Array, "numbers"]:
    sample = take_sample(store, recipe.crystal, bucket.atoms)
    cell = sample.cell
    atoms = make_scatterers(cell.fract, cell.species, cell.occupancy, cell.u_iso, pattern)
    plane, reciprocal = recipe_plane(recipe, store, pattern)
    rows = layer_rows(plane, bucket.rows, pattern)
    index, _, intensity = layer_intensities(
        atoms, plane, reciprocal, rows, bucket.spots, sample.num_atoms, rows.count, pattern
    )
    return describe_spots(combine(index, plane.drawn_xy), intensity, _num_rings(pattern))


def describe_spots(
    xy: Float[Array, "spots 2"], intensity: Float[Array, "spots"], num_rings: int
) -> Float[Array, "numbers"]:
    """Return the description of a list of spots at positions in 1/Å, or of one half of it; zero if it is empty."""
    amplitude = jnp.sqrt(intensity / jnp.maximum(intensity.max(), 1e-30))
    square = (xy**2).sum(-1)
    cosine = (xy[:, 0] ** 2 - xy[:, 1] ** 2) / jnp.maximum(square, 1e-30)  # of twice the angle
    sine = 2 * xy[:, 0] * xy[:, 1] / jnp.maximum(square, 1e-30)
    wave = (amplitude, jnp.zeros_like(amplitude))
    waves = [wave]
    for _ in range(1, ORDERS):
        wave = (wave[0] * cosine - wave[1] * sine, wave[0] * sine + wave[1] * cosine)
        waves.append(wave)
    radius = jnp.sqrt(square) / RING
    share = jnp.maximum(1 - jnp.abs(radius - jnp.arange(num_rings)[:, None]), 0)
    components = jnp.matmul(share, jnp.array(waves).reshape(2 * ORDERS, -1).T, precision="highest")
    numbers = jnp.sqrt((components.reshape(num_rings, ORDERS, 2) ** 2).sum(-1)).reshape(-1)
    return numbers / jnp.maximum(jnp.sqrt((numbers**2).sum()), 1e-30)


def _num_rings(pattern: PatternConfig) -> int:
    return math.ceil(pattern.g_max / RING) + 1
