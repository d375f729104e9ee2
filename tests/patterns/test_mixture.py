"""Batches of stored and made-up crystals: each in its slots, within its buckets, the same on any number of devices."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import reference
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from xrdjax.config import AugmentConfig, DataConfig, PatternConfig, ProceduralConfig, TrainConfig
from xrdjax.crystals.repertoire import make_many, make_repertoire
from xrdjax.crystals.store import CrystalStore
from xrdjax.diffraction.layer import layer_plane
from xrdjax.diffraction.zone import zone_basis
from xrdjax.learning.training import prepare
from xrdjax.patterns import mixture, planning
from xrdjax.patterns.device_store import to_device
from xrdjax.patterns.generate import draw_batch
from xrdjax.patterns.mixture import bounds_of_entries, made_up_slots, training_source
from xrdjax.patterns.planning import make_plan, zone_axes
from xrdjax.patterns.recipe import sample_recipe

PATTERN = PatternConfig(height=40, width=48, axes=((1, 0, 0), (1, 1, 1), (2, -1, 1)))
AUGMENT = AugmentConfig(rotation_deg=180.0, strain=0.05, substitute_species=0.5)
CONFIG = TrainConfig(batch_size=16, pattern=PATTERN, augment=AUGMENT, data=DataConfig(mixture=0.5, max_atoms=32))
KEY = jax.random.key(31)

draw = jax.jit(draw_batch, static_argnames=("pattern", "augment"))


@pytest.fixture(scope="module")
def resident(tiny_store):
    return to_device(tiny_store)


@pytest.fixture(scope="module")
def source(tiny_store, resident):
    """Return a store with a factory and a plan of one bucket of each kind, which compiles faster than eight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "NUM_BUCKETS", 2)
        patch.setattr(mixture, "MOST_BUCKETS", 2)
        store, plan = training_source(tiny_store, resident, np.arange(9), CONFIG)
    assert [bucket.is_made_up for bucket in plan.buckets] == sorted(bucket.is_made_up for bucket in plan.buckets)
    assert sum(bucket.slots for bucket in plan.buckets if bucket.is_made_up) == 8
    return store, plan


@pytest.fixture(scope="module")
def mixed(source):
    return draw(KEY, *source, PATTERN, AUGMENT)


def leaves(tree):
    for leaf in jax.tree.leaves(tree):
        is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        yield np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def assert_identical(first, second):
    for one, other in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_shares_are_whole_sixteenths():
    assert [made_up_slots(share, 128) for share in (0, 0.02, 0.3, 0.5, 1)] == [0, 0, 40, 64, 128]
    assert [made_up_slots(share, 10) for share in (0, 0.34, 1)] == [0, 3, 10]


def test_without_made_up_crystals_nothing_changes(tiny_store, resident):
    config = replace(CONFIG, data=DataConfig())
    store, plan = training_source(tiny_store, resident, np.arange(9), config)
    assert store is resident
    expected = make_plan(resident, np.arange(9), PATTERN, AUGMENT, CONFIG.batch_size)
    assert plan.buckets == expected.buckets
    assert_identical(plan, expected)
    recipe = sample_recipe(KEY, plan, AUGMENT)
    assert (np.asarray(recipe.crystal) >= 0).all()
    np.testing.assert_array_equal(store.group_of(recipe.crystal), tiny_store.space_group[np.asarray(recipe.crystal)])


def test_a_batch_has_its_share_of_made_up_crystals_with_their_labels(tiny_store, source, mixed):
    store, _ = source
    crystal, group = np.asarray(mixed.recipe.crystal), np.asarray(mixed.space_group)
    is_made_up = crystal < 0
    assert is_made_up.sum() == 8
    np.testing.assert_array_equal(group[~is_made_up], tiny_store.space_group[crystal[~is_made_up]])
    np.testing.assert_array_equal(group[is_made_up], np.asarray(store.factory.space_group)[-1 - crystal[is_made_up]])
    assert len(np.unique(group[is_made_up])) > 4
    assert (np.asarray(mixed.image).max(axis=(1, 2, 3)) > 0.5).all()
    assert is_made_up[:4].any() or is_made_up[4:8].any()  # interleaved


@pytest.mark.long
@pytest.mark.parametrize("num_devices", [2, 4])
def test_batch_is_the_same_on_any_number_of_devices(source, mixed, num_devices):
    """Recipes, labels and stored crystals bit for bit; made-up crystals to rounding, for their cells are calculated."""
    mesh = jax.make_mesh((num_devices,), ("data",), (AxisType.Auto,))
    with jax.set_mesh(mesh):
        spread = draw(KEY, *jax.device_put(source, NamedSharding(mesh, PartitionSpec())), PATTERN, AUGMENT)
    is_stored = np.asarray(mixed.recipe.crystal) >= 0
    assert 0 < is_stored.sum() < len(is_stored)
    assert_identical(spread.recipe, mixed.recipe)
    np.testing.assert_array_equal(spread.space_group, mixed.space_group)
    np.testing.assert_array_equal(np.asarray(spread.image)[is_stored], np.asarray(mixed.image)[is_stored])
    np.testing.assert_allclose(spread.image, mixed.image, rtol=0, atol=1e-4)


def test_every_key_uses_one_program(source, mixed):
    before = draw._cache_size()
    other = draw(jax.random.key(32), *source, PATTERN, AUGMENT)
    assert draw._cache_size() == before
    assert not np.array_equal(other.image, mixed.image)
    assert_identical(draw(KEY, *source, PATTERN, AUGMENT), mixed)


@pytest.mark.slow
def test_every_crystal_is_within_the_bounds_of_its_template(tiny_store):
    """Exact counts, at the largest strain, along all axes; and the bounds are not absurd."""
    pattern = PatternConfig(axes=((0, 0, 1), (1, 0, 0), (1, -1, 2)))
    repertoire = make_repertoire(tiny_store, np.arange(9), ProceduralConfig(), max_atoms=96)
    random = np.random.default_rng(6)
    entries = random.choice(repertoire.entries, 40)
    bounds = bounds_of_entries(repertoire.factory, entries, pattern, AUGMENT)
    made = make_many(jax.random.split(KEY, len(entries)), repertoire.factory, entries, chunk=40)
    fullest = 0
    for rows, of_entry in zip(np.asarray(made.direct, float) * (1 + AUGMENT.strain), bounds, strict=True):
        for axis, (_, spots, columns, most_rows, *_) in zip(zone_axes(pattern), of_entry, strict=True):
            hkl = reference.zone_indices(rows, axis, pattern.g_max)
            ij = np.rint(hkl @ np.linalg.pinv(reduced(rows, axis, pattern))).astype(int)
            assert len(hkl) // 2 <= spots
            assert (np.abs(ij).max(axis=0, initial=0) <= (columns, most_rows)).all()
            fullest = max(fullest, len(hkl) / 2 / spots)
    assert fullest > 0.2


def reduced(rows, axis, pattern):
    reciprocal = np.linalg.inv(rows).T
    arrays = (np.float32(rows), np.float32(reciprocal), np.int32(axis), zone_basis(axis))
    return np.asarray(layer_plane(*map(jax.numpy.asarray, arrays), pattern).hkl)


def test_only_training_batches_are_made_up(small_store, small_config):
    mesh = jax.make_mesh((1,), ("data",), (AxisType.Auto,), devices=jax.devices()[:1])
    config = replace(small_config, data=replace(small_config.data, mixture=1.0))
    with jax.set_mesh(mesh):
        run = prepare(config, CrystalStore.open(small_store), NamedSharding(mesh, PartitionSpec()))
    assert (np.asarray(run.plan.pair) < 0).all()
    assert all(bucket.is_made_up for bucket in run.plan.buckets)
    validation = run.validation_plan()
    assert (np.asarray(validation.pair) >= 0).all()
    assert not any(bucket.is_made_up for bucket in validation.buckets)
