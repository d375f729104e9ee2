"""Batches in which several pictures show one crystal along different axes, and batches that balance the groups."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from xrdjax.config import AugmentConfig, PatternConfig
from xrdjax.patterns.device_store import to_device
from xrdjax.patterns.generate import draw_batch, draw_recipe
from xrdjax.patterns.mixture import balanced
from xrdjax.patterns.planning import make_plan
from xrdjax.patterns.recipe import num_walk_batches, sample_recipe, walk_recipe

PATTERN = PatternConfig(height=24, width=24, axes=((1, 0, 0), (0, 1, 0), (1, 1, 1), (1, 1, 0), (2, 1, 0)))
AUGMENT = AugmentConfig(rotation_deg=180, strain=0.05, vacancies=0.2)
VIEWS, BATCH = 3, 48


@pytest.fixture(scope="module")
def resident(tiny_store):
    return to_device(tiny_store)


@pytest.fixture(scope="module")
def plan(resident):
    return make_plan(resident, np.arange(9), PATTERN, AUGMENT, BATCH, views=VIEWS)


@pytest.fixture(scope="module")
def batch(resident, plan):
    draw = jax.jit(draw_batch, static_argnames=("pattern", "augment"))
    return draw(jax.random.key(0), resident, plan, PATTERN, AUGMENT)


def by_crystal(leaf):
    return np.asarray(leaf).reshape(BATCH // VIEWS, VIEWS, *leaf.shape[1:])


def test_views_show_one_crystal_along_different_axes(batch):
    recipe = batch.recipe
    for shared in (recipe.crystal, recipe.strain, jax.random.key_data(recipe.key), batch.space_group):
        assert (by_crystal(shared) == by_crystal(shared)[:, :1]).all()
    for uvw, angle in zip(by_crystal(recipe.uvw), by_crystal(recipe.angle), strict=True):
        assert len({tuple(axis) for axis in uvw}) == VIEWS
        assert len(set(angle)) == VIEWS
    assert len(set(by_crystal(recipe.crystal)[:, 0])) > 3


@pytest.mark.long
def test_each_view_is_the_picture_of_its_own_recipe(batch, resident):
    """Drawn again by the plan of single pictures, whose shapes are others."""
    plan = make_plan(resident, np.arange(9), PATTERN, AUGMENT, BATCH)
    sides = ("atoms", "spots", "columns", "rows")
    largest = {side: max(getattr(bucket, side) for bucket in plan.buckets) for side in sides}
    single = replace(plan, buckets=(replace(plan.buckets[0], slots=BATCH, **largest),))
    again = draw_recipe(batch.recipe, resident, single, PATTERN, AUGMENT)
    np.testing.assert_allclose(again.image, batch.image, atol=2e-5)
    assert batch.image.reshape(BATCH, -1).max(1).min() > 0.5


def test_every_crystal_is_as_likely(resident):
    plan = make_plan(resident, np.arange(9), PATTERN, AUGMENT, 6, views=VIEWS)
    keys = jax.random.split(jax.random.key(1), 2000)
    recipe = jax.jit(jax.vmap(lambda key: sample_recipe(key, plan, AUGMENT)))(keys)
    counts = np.bincount(np.asarray(recipe.crystal).ravel(), minlength=9) / recipe.crystal.size
    np.testing.assert_allclose(counts, 1 / 9, atol=5 * np.sqrt(8 / 81 / 4000))
    _, of_axes = np.unique(np.asarray(recipe.uvw).reshape(-1, 3), axis=0, return_counts=True)
    np.testing.assert_allclose(of_axes / of_axes.sum(), 1 / 5, atol=5 * np.sqrt(4 / 25 / 12000))


def test_a_walk_meets_every_crystal_once(resident, plan):
    met = []
    for number in range(num_walk_batches(plan)):
        recipe, is_new = walk_recipe(jax.random.key(0), number, plan, AUGMENT)
        met.extend(np.asarray(recipe.crystal)[np.asarray(is_new)])
    assert sorted(met) == sorted([*range(9)] * VIEWS)


@pytest.mark.parametrize(("balance", "expected"), [(0, (1, 1)), (0.5, (3, 1)), (1, (8, 1))])
def test_small_groups_are_drawn_as_often_as_asked(balance, expected):
    """Two crystals of one group, sixteen of another."""
    crystals = np.arange(100, 118)
    groups = np.array([5, *[9] * 16, 5])
    drawn = np.bincount(balanced(crystals, groups, balance))[100:]
    assert (drawn[groups == 5] == expected[0]).all()
    assert (drawn[groups == 9] == expected[1]).all()
