"""The nearest-neighbour baseline: what a description does not depend on, and ranks against a search by hand."""

import jax
import numpy as np
import pytest

from xrdjax.config import PatternConfig
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import crystal_system_index
from xrdjax.diffraction.spots import zone_spots
from xrdjax.evaluation import neighbours
from xrdjax.evaluation.neighbours import RING, describe_spots, describe_zones, neighbour_ranks

PATTERN = PatternConfig(wavelength=2.2897)
NUM_RINGS = int(PATTERN.g_max / RING) + 2
describe = jax.jit(describe_spots, static_argnums=2)
CRYSTALS = np.arange(59)  # with two axes no multiple of a batch: some slots run out of pairs before others
AXES = [(1, 0, 0), (1, 1, 1)]


@pytest.fixture(scope="module")
def store(small_store):
    return CrystalStore.open(small_store)


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Let few buckets do, each of which takes a second to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_BATCH", 4)
        yield


@pytest.fixture(scope="module")
def described(store):
    return describe_zones(store, CRYSTALS, AXES, PATTERN)


def spots(store, crystal: int, axis: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and intensities of a zone."""
    listed = zone_spots(store.crystal(crystal), axis, wavelength=PATTERN.wavelength)
    return listed.xy, listed.intensity


def description(xy: np.ndarray, intensity: np.ndarray) -> np.ndarray:
    """Return the description of a list, padded to one size."""
    padded = np.zeros((1024, 3), np.float32)
    padded[: len(xy)] = np.column_stack([xy, intensity])
    return np.asarray(describe(padded[:, :2], padded[:, 2], NUM_RINGS))


def test_turning_mirroring_and_scaling_change_no_description(store):
    xy, intensity = spots(store, 0, (1, 1, 1))
    turned = xy @ np.array([[np.cos(1), np.sin(1)], [-np.sin(1), np.cos(1)]])
    for other, factor in ((turned, 1), (xy * [1, -1], 1), (xy, 0.01)):
        assert description(other, factor * intensity) == pytest.approx(description(xy, intensity), abs=1e-5)
    assert abs(description(1.1 * xy, intensity) - description(xy, intensity)).max() > 0.01


def test_store_is_described_as_its_spot_lists(store, described):
    assert np.linalg.norm(described.astype(float), axis=-1) == pytest.approx(1, abs=1e-3)
    for crystal in (0, 30):
        for number, axis in enumerate(AXES):
            expected = description(*spots(store, crystal, axis))
            # half precision of the table, and the half list of a centric zone
            assert described[crystal, number] == pytest.approx(expected, abs=1e-3)


def test_ranks_are_those_of_a_search_one_by_one(store, described):
    """Half of the crystals asked about are training crystals themselves: none is its own neighbour."""
    train, test = CRYSTALS[::2], CRYSTALS
    ranks = neighbour_ranks(store, train, np.repeat(test, 2), np.tile(AXES, (len(test), 1)), PATTERN)
    for pattern, (crystal, number) in enumerate((crystal, number) for crystal in test for number in range(2)):
        others = train[train != crystal]
        likeness = described[others, number].astype(np.float32) @ described[crystal, number].astype(np.float32)
        groups = store.space_group[others].astype(int)
        best = groups[np.argsort(-likeness, kind="stable")]
        expected = list(dict.fromkeys(best.tolist()))[:3]
        assert ranks.space_group[pattern].tolist() == expected
        assert ranks.crystal_system[pattern, 0] == crystal_system_index(expected[0])
