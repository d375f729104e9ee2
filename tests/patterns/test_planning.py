"""Static shapes: no pair of a bucket is larger than it."""

import jax
import numpy as np
import pytest
import reference

from xrdjax.config import AugmentConfig, PatternConfig
from xrdjax.crystals.store import CrystalStore
from xrdjax.patterns.device_store import to_device
from xrdjax.patterns.generate import recipe_plane
from xrdjax.patterns.planning import make_plan, zone_axes
from xrdjax.patterns.recipe import Recipe

NUM_PAIRS, BATCH_SIZE = 300, 128


@pytest.fixture(scope="module")
def store():
    return CrystalStore.open("open")


@pytest.fixture(scope="module")
def resident(store):
    return to_device(store)


def recipes_of(plan, places, strain):
    crystal, axis = np.divmod(np.asarray(plan.pair)[places], len(plan.uvw))
    return Recipe(
        crystal=jax.numpy.asarray(crystal),
        uvw=plan.uvw[axis],
        basis=plan.basis[axis],
        angle=jax.numpy.zeros(len(places)),
        strain=jax.numpy.full(len(places), strain),
        key=jax.random.split(jax.random.key(0), len(places)),
    )


@pytest.mark.parametrize("strain", [0.0, 0.1])
def test_every_bucket_bounds_its_pairs(store, resident, strain):
    """Exact counts, at the largest strain, of 300 random slots and places of 4,000 crystals and the largest ones."""
    rng = np.random.default_rng(12)
    largest = np.argsort(np.maximum(store.num_atoms * 20, np.prod(store.cell[:, :3], axis=1)))[-20:]
    crystals = np.union1d(rng.choice(len(store), 4000, replace=False), largest)
    plan = make_plan(resident, crystals, PatternConfig(), AugmentConfig(strain=strain), BATCH_SIZE)
    assert sorted(np.unique(plan.pair).tolist()) == sorted(np.asarray(plan.pair).tolist())
    assert sum(bucket.slots for bucket in plan.buckets) == BATCH_SIZE
    bucket_of_slot = np.repeat(np.arange(len(plan.buckets)), [bucket.slots for bucket in plan.buckets])
    slot = rng.integers(BATCH_SIZE, size=NUM_PAIRS)
    start = slot * len(plan.pair) / BATCH_SIZE
    places = (start + rng.random(NUM_PAIRS) * len(plan.pair) / BATCH_SIZE).astype(int)
    recipes = recipes_of(plan, places, strain)
    bases = np.asarray(jax.jit(jax.vmap(lambda one: recipe_plane(one, resident, PatternConfig())[0].hkl))(recipes))
    fullest = 0
    for bucket, crystal, uvw, basis in zip(
        (plan.buckets[number] for number in bucket_of_slot[slot]),
        np.asarray(recipes.crystal),
        np.asarray(recipes.uvw).tolist(),
        bases,
        strict=True,
    ):
        cell = store.cell[crystal].copy()
        cell[:3] *= 1 + strain
        direct = reference.edges(cell)
        hkl = reference.zone_indices(direct, tuple(uvw), 2 / reference.WAVELENGTH)
        ij = np.rint(hkl @ np.linalg.pinv(basis)).astype(int)
        np.testing.assert_array_equal(ij @ basis, hkl)
        columns, rows = np.abs(ij).max(axis=0, initial=0)
        assert store.num_atoms[crystal] <= bucket.atoms
        assert len(hkl) // 2 <= bucket.spots
        assert columns <= bucket.columns
        assert rows <= bucket.rows
        fullest = max(fullest, len(hkl) / 2 / bucket.spots)
    assert fullest > 0.5


def test_axes_are_coprime_and_of_one_sign():
    assert zone_axes(PatternConfig(axes=((2, 0, 2), (0, 0, -3)))) == [(1, 0, 1), (0, 0, -1)]
    for max_index in (1, 2, 5):
        axes = zone_axes(PatternConfig(max_index=max_index))
        every = {*axes, *(tuple(-index for index in axis) for axis in axes)}
        assert len(every) == 2 * len(axes)
        indices = np.mgrid[tuple([slice(-max_index, max_index + 1)] * 3)].reshape(3, -1)
        assert len(every) == np.sum(np.gcd.reduce(indices) == 1)
