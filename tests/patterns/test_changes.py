"""Stated changes of atoms, and deformed cells: as many as stated, and nothing else."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xrdjax.config import AugmentConfig, PatternConfig
from xrdjax.crystals.store import CrystalStore
from xrdjax.diffraction.lattice import direct_basis
from xrdjax.patterns import planning
from xrdjax.patterns.changes import SITES, AtomChanges, apply_changes
from xrdjax.patterns.device_store import take_cell, to_device
from xrdjax.patterns.generate import deform, draw_in_order
from xrdjax.patterns.pictures import render_zone
from xrdjax.patterns.planning import make_plan
from xrdjax.patterns.recipe import sample_recipe

SIZE = 96  # with padding
PATTERN = PatternConfig(axes=((1, 0, 0), (1, 1, 1)), height=16, width=16, normalize="zone", radius_law="sqrt")


@pytest.fixture(scope="module")
def crystals(small_store):
    return CrystalStore.open(small_store)


@pytest.fixture(scope="module")
def store(crystals):
    return to_device(crystals)


@pytest.fixture(scope="module")
def changed(store):
    """Return a function that changes one crystal's cell."""

    @jax.jit
    def change(number, changes):
        cell = take_cell(store, number, SIZE)
        return cell, apply_changes(
            jax.random.fold_in(jax.random.key(3), number), cell, store.num_atoms[number], changes
        )

    return lambda number, **stated: change(jnp.int32(number), stated_changes(**stated))


def stated_changes(**stated):
    plain = {"substituted": 0.0, "exchanged": False, "removed": 0.0, "spared": 0, "thinned": 1.0, "u_iso": 0.0}
    return AtomChanges(**{name: jnp.asarray(value) for name, value in (plain | stated).items()})


def test_no_change_changes_nothing(changed):
    before, after = changed(7)
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
def test_as_many_atoms_are_missing_as_stated_and_more_include_fewer(changed, store, fraction):
    for number in range(0, 60, 7):
        num_atoms = int(store.num_atoms[number])
        before, after = changed(number, removed=fraction)
        is_gone = np.asarray((after.occupancy == 0) & (before.occupancy > 0))
        assert is_gone.sum() == round(fraction * num_atoms)
        fewer = np.asarray(changed(number, removed=fraction / 2)[1].occupancy == 0)[:num_atoms]
        assert not (fewer & ~is_gone[:num_atoms]).any()


def test_substituted_atoms_are_counted_and_random(changed, store):
    different, num = 0, 0
    for number in range(0, 60, 7):
        before, after = changed(number, substituted=1.0)
        num_atoms = int(store.num_atoms[number])
        different += int((before.species != after.species)[:num_atoms].sum())
        num += num_atoms
        np.testing.assert_array_equal(before.species[num_atoms:], after.species[num_atoms:])
    assert 0.95 * num < different <= num  # one of 94 elements is the old one


def test_exchange_keeps_which_atoms_are_alike(changed, store):
    for number in range(0, 60, 7):
        before, after = changed(number, exchanged=True)
        pairs = {*zip(before.rank.tolist(), after.species.tolist(), strict=True)}
        real = {pair for pair in pairs if pair[0] or int(store.num_atoms[number])}
        assert len({one for one, _ in real}) == len({other for _, other in real}) == len(real)


def test_thinning_and_heat_are_as_stated(changed):
    before, after = changed(20, thinned=0.25, u_iso=0.01)
    ratio = np.asarray(after.occupancy)[np.asarray(before.occupancy) > 0]
    assert set(np.unique(ratio).tolist()) == {0.25, 1.0} or np.all(ratio == 0.25)
    thinned = np.asarray(before.rank)[: len(ratio)][ratio == 0.25]
    assert len(set(thinned.tolist())) == 1
    np.testing.assert_allclose(after.u_iso - before.u_iso, 0.01)


def test_spared_sites_are_left_alone(changed, store, crystals):
    number = int(np.flatnonzero(crystals.space_group == 225)[0])
    for target, kind in (("bcc", 1), ("fcc", 2)):
        before, after = changed(number, removed=1.0, spared=kind)
        stays = np.asarray(after.occupancy > 0)
        half = np.asarray(before.fract)[stays] / 2**31
        assert {tuple(np.rint(one).astype(int) % 2) for one in half} <= set(SITES[target])
        assert stays.any()


@pytest.fixture(scope="module")
def batch(store):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "NUM_BUCKETS", 1)  # takes less time to compile
        plan = make_plan(store, np.arange(60), PATTERN, AugmentConfig(strain=0.1), 4)  # with room for deformed cells
    return plan, sample_recipe(jax.random.key(1), plan, AugmentConfig(rotation_deg=180))


draw = jax.jit(draw_in_order, static_argnames=("buckets", "pattern"))


def drawn(recipe, store, plan):
    """Return pictures of recipes, by one program if something is stated and another one if not."""
    return np.asarray(draw(recipe, store, plan.buckets, PATTERN))


def deformed(recipe, matrix):
    nothing = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, 4), stated_changes())
    return replace(recipe, deformation=jnp.broadcast_to(jnp.asarray(matrix), (4, 3, 3)), changes=nothing)


def test_nothing_stated_draws_the_training_picture_bit_for_bit(store, batch):
    plan, recipe = batch
    np.testing.assert_array_equal(drawn(recipe, store, plan), drawn(deformed(recipe, jnp.eye(3)), store, plan))


def test_stretch_is_the_strain_of_the_training(store, batch):
    plan, recipe = batch
    strained = drawn(replace(recipe, strain=jnp.full(4, 0.0625)), store, plan)
    stretched = drawn(deformed(recipe, 1.0625 * jnp.eye(3)), store, plan)
    np.testing.assert_allclose(strained, stretched, atol=1e-4)  # a pixel's edge moves by some 1e-6 of 1/Å


def test_deformed_crystal_is_the_crystal_of_the_deformed_cell(crystals, store, batch):
    """A lower triangular matrix keeps a along x and b in the plane of x and y, so that the frames agree."""
    plan, recipe = batch
    matrix = np.array([[1.02, 0, 0], [0.01, 0.97, 0], [-0.015, 0.02, 1.01]], np.float32)
    pictures = drawn(deformed(recipe, matrix), store, plan)
    for n, number in enumerate(recipe.crystal[:1].tolist()):
        crystal = crystals.crystal(number)
        cell = cell_of(direct_basis(crystal.cell) @ matrix)
        expected = render_zone(
            replace(crystal, cell=cell),
            tuple(recipe.uvw[n].tolist()),
            PATTERN,
            angle_deg=float(np.degrees(recipe.angle[n])),
        )
        np.testing.assert_allclose(pictures[n], expected, atol=2e-3)


def cell_of(direct):
    edge = np.linalg.norm(direct, axis=1)
    cosine = [direct[i] @ direct[j] / (edge[i] * edge[j]) for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.concatenate([edge, np.degrees(np.arccos(cosine))])


def test_deformation_keeps_the_bases_dual():
    random = np.random.default_rng(0)
    direct = np.eye(3) * 5 + random.normal(size=(3, 3))
    reciprocal = np.linalg.inv(direct).T
    matrix = np.eye(3) + 0.05 * random.normal(size=(3, 3))
    new, dual = deform(*(jnp.asarray(part, jnp.float32) for part in (direct, reciprocal, matrix)))
    np.testing.assert_allclose(new, direct @ matrix, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(new) @ np.asarray(dual).T, np.eye(3), atol=1e-5)
