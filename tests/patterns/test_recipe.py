"""The sampling law: what a batch draws, how often, and that augmentations do not touch each other's draws."""

import math
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from xrdjax.config import AugmentConfig, PatternConfig
from xrdjax.patterns.device_store import to_device
from xrdjax.patterns.planning import make_plan
from xrdjax.patterns.recipe import num_walk_batches, sample_recipe, walk_recipe

AXES = ((1, 0, 0), (1, 1, 1), (2, -1, 1))
NUM_BATCHES = 3000
ALL = AugmentConfig(rotation_deg=30.0, strain=0.1, substitute_atoms=0.1, substitute_species=0.5, vacancies=0.1)


@pytest.fixture(scope="module")
def resident(tiny_store):
    return to_device(tiny_store)


def plan_of(resident, batch_size, pattern):
    return make_plan(resident, np.array([0, 2, 3, 5, 8]), pattern, AugmentConfig(), batch_size)


def draw(plan, augment=AugmentConfig()):  # noqa: B008 (frozen)
    keys = jax.random.split(jax.random.key(7), NUM_BATCHES)
    return jax.jit(jax.vmap(lambda key: sample_recipe(key, plan, augment)))(keys)


@pytest.mark.parametrize("batch_size", [15, 8, 32])
def test_every_pair_is_equally_frequent(resident, batch_size):
    """Of fifteen pairs: all in each batch, about half of them, about twice as many."""
    plan = plan_of(resident, batch_size, PatternConfig(axes=AXES))
    recipe = draw(plan)
    axis = np.argmax(np.all(np.asarray(recipe.uvw)[..., None, :] == np.array(AXES), axis=-1), axis=-1)
    count = np.zeros((9, 3))
    np.add.at(count, (np.asarray(recipe.crystal), axis), 1)
    assert np.flatnonzero(count.any(axis=1)).tolist() == [0, 2, 3, 5, 8]
    drawn = count[count.any(axis=1)].ravel()
    expected = NUM_BATCHES * batch_size / 15
    assert np.all(np.abs(drawn - expected) <= 5 * np.sqrt(expected))
    assert chisquare(drawn).pvalue > 1e-3
    assert_walk_meets_every_pair_once(plan)


def assert_walk_meets_every_pair_once(plan):
    """Each slot keeps to its own stretch, for which its shapes are made."""
    batches = jnp.arange(num_walk_batches(plan))
    walk = jax.jit(jax.vmap(lambda batch: walk_recipe(jax.random.key(0), batch, plan, AugmentConfig())))
    recipe, is_new = walk(batches)
    met = np.concatenate([recipe.crystal[..., None], recipe.uvw], axis=-1)[np.asarray(is_new)]
    assert len(met) == plan.pair.shape[0]
    assert len(np.unique(met, axis=0)) == len(met)


def test_random_axes_come_with_either_sign(resident):
    plan = plan_of(resident, 16, PatternConfig(max_index=1))
    recipe = draw(plan)
    drawn, count = np.unique(np.asarray(recipe.uvw).reshape(-1, 3), axis=0, return_counts=True)
    every = sorted(axis for axis in product((-1, 0, 1), repeat=3) if math.gcd(*axis) == 1)
    assert list(map(tuple, drawn.tolist())) == every
    assert len(every) == 26
    expected = NUM_BATCHES * 16 / 26
    assert np.all(np.abs(count - expected) <= 5 * np.sqrt(expected))


@pytest.fixture(scope="module")
def plan(resident):
    return plan_of(resident, 16, PatternConfig(axes=AXES))


@pytest.fixture(scope="module")
def off(plan):
    return draw(plan)


@pytest.fixture(scope="module")
def on(plan):
    return draw(plan, ALL)


def test_basis_is_that_of_the_axis(off):
    crossed = np.cross(off.basis[..., 0, :], off.basis[..., 1, :])
    np.testing.assert_array_equal(np.abs(crossed), np.abs(off.uvw))


def same(first, second, fields):
    return all(np.array_equal(*(as_numbers(getattr(recipe, field)) for recipe in (first, second))) for field in fields)


def as_numbers(values):
    return jax.random.key_data(values) if jnp.issubdtype(values.dtype, jax.dtypes.prng_key) else values


def test_augmentations_leave_each_other_s_draws_alone(plan, off, on):
    assert same(off, on, ("crystal", "uvw", "basis", "key"))
    assert same(draw(plan, AugmentConfig(rotation_deg=30.0)), on, ("angle",))
    assert same(draw(plan, AugmentConfig(strain=0.1)), on, ("strain",))


def test_angle_and_strain_are_uniform_within_their_range(off, on):
    assert not np.any(off.angle)
    assert not np.any(off.strain)
    for values, half_width in ((on.angle, np.radians(30)), (on.strain, 0.1)):
        values = np.asarray(values, float).ravel() / half_width
        assert np.abs(values).max() <= 1 + 1e-6
        # Moments of the uniform law within ±1: mean 0, mean square 1/3 with variance 4/45.
        assert abs(values.mean()) < 5 * np.sqrt(1 / 3 / values.size)
        assert abs((values**2).mean() - 1 / 3) < 5 * np.sqrt(4 / 45 / values.size)
    assert abs(np.corrcoef(np.ravel(on.angle), np.ravel(on.strain))[0, 1]) < 5 / np.sqrt(on.angle.size)


def test_pictures_of_a_batch_have_keys_of_their_own(off):
    keys = np.asarray(jax.random.key_data(off.key)).reshape(-1, 2)
    assert len(np.unique(keys, axis=0)) == len(keys)
