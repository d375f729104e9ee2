"""What augmentations do to the atoms of a cell."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from xrdjax.crystals.elements import FIRST_RUNG, NUM_RUNGS, RUNG_RATIO
from xrdjax.crystals.species import SPECIES
from xrdjax.diffraction.spots import zone_spots
from xrdjax.patterns.augment import LAST_ELEMENT, remove_atoms, substitute_atoms, substitute_species

KEYS = jax.random.split(jax.random.key(0), 500)
MANY = 20_000


def five_sigma(probability, number):
    return 5 * np.sqrt(probability * (1 - probability) / number)


def exchanged(rank, probability=1.0):
    """Return, for 500 keys, the species that stand for SPECIES numbers 1000, 1001, …"""
    species = jnp.arange(len(rank)) + 1000
    exchange = jax.jit(jax.vmap(lambda key: substitute_species(key, species, jnp.array(rank), probability)))
    return np.asarray(exchange(KEYS))


def test_each_species_becomes_one_other_element():
    """Three of one rank, and padding, whose rank is 0, go the same way; the element depends on the rank alone."""
    after = exchanged([0, 1, 1, 2, 1, 0, 0])
    assert np.all(after[:, [0, 0, 1, 1]] == after[:, [5, 6, 2, 4]])
    assert after.min() >= 0
    assert after.max() <= LAST_ELEMENT


def test_species_stay_distinct_and_clearly_so():
    """Rungs of one ladder, 5 to 82, grow by 1.25; rounding to whole numbers leaves an eighth in the worst case."""
    after = np.sort(exchanged(np.arange(NUM_RUNGS)) + 1.0, axis=1)
    ratio = after[:, 1:] / after[:, :-1]
    assert ratio.min() >= 9 / 8
    assert np.median(ratio) == pytest.approx(RUNG_RATIO, abs=0.02)
    ladder = np.round(FIRST_RUNG * RUNG_RATIO ** (np.arange(NUM_RUNGS) + np.linspace(0, 1, 10_001)[:-1, None]))
    assert (ladder[:, 1:] / ladder[:, :-1]).min() == pytest.approx(9 / 8)
    assert ladder.max() - 1 <= LAST_ELEMENT


def test_any_element_of_the_ladder_goes_to_any_rank():
    after = exchanged(np.arange(3))
    for rank in range(3):
        assert len(np.unique(after[:, rank])) > 50


def test_species_are_exchanged_with_the_given_probability():
    before = np.arange(2) + 1000
    after = exchanged(np.arange(2), probability=0.3)
    is_exchanged = np.all(after != before, axis=1)
    assert np.array_equal(is_exchanged, np.any(after != before, axis=1))
    assert is_exchanged.mean() == pytest.approx(0.3, abs=five_sigma(0.3, len(KEYS)))


def test_crystals_of_too_many_species_stay_as_they_are():
    rank = np.arange(NUM_RUNGS + 1)
    np.testing.assert_array_equal(exchanged(rank), np.broadcast_to(rank + 1000, (len(KEYS), len(rank))))


@pytest.mark.parametrize("name", ["calcite_rhomb", "FeSi_B20"])
def test_exchanged_species_keep_the_symmetry(name):
    """|F|² of h and h R stay equal; coordinates of eight decimals leave an error of 2π · 45 · 5e-9 F(000)."""
    crystal = reference.crystal(name)
    before = jnp.array([SPECIES.index(species) for species in crystal.species])
    rank = jnp.asarray(np.unique(before, return_inverse=True)[1])
    after = np.asarray(substitute_species(jax.random.key(5), before, rank, 1.0))
    assert np.all(after != np.asarray(before))
    crystal = replace(crystal, species=tuple(SPECIES[number] for number in after))
    spots = zone_spots(crystal, (0, 0, 1))
    in_file = 2 * np.pi * 45 * 5e-9 * reference.electrons(crystal)
    for rotation in crystal.operations.rotation.astype(int):
        hkl = spots.hkl @ rotation
        equal = reference.intensities(crystal, hkl, (spots.xy**2).sum(1) / 4)
        assert np.all(np.abs(spots.intensity - equal) <= 2 * np.sqrt(equal) * in_file + in_file**2)


def test_atoms_are_substituted_one_by_one():
    """One new element in LAST_ELEMENT + 1 is the old one by chance."""
    before = jnp.full(MANY, 25)
    after = np.asarray(substitute_atoms(jax.random.key(1), before, 0.3))
    changed = 0.3 * (1 - 1 / (LAST_ELEMENT + 1))
    assert (after != 25).mean() == pytest.approx(changed, abs=five_sigma(changed, MANY))
    count = np.bincount(after[after != 25], minlength=LAST_ELEMENT + 1)
    assert len(count) == LAST_ELEMENT + 1
    expected = 0.3 * MANY / (LAST_ELEMENT + 1)
    assert np.all(np.abs(np.delete(count, 25) - expected) < 5 * np.sqrt(expected))


def test_vacancies_empty_places_and_leave_the_others():
    before = jnp.linspace(0.5, 1, MANY)
    after = np.asarray(remove_atoms(jax.random.key(2), before, 0.2))
    assert (after == 0).mean() == pytest.approx(0.2, abs=five_sigma(0.2, MANY))
    np.testing.assert_array_equal(after[after > 0], np.asarray(before)[after > 0])


def test_probability_one_and_zero_are_certain():
    key, species, occupancy = jax.random.key(3), jnp.full(1000, 25), jnp.ones(1000)
    np.testing.assert_array_equal(substitute_atoms(key, species, 0.0), species)
    np.testing.assert_array_equal(remove_atoms(key, occupancy, 0.0), occupancy)
    assert not remove_atoms(key, occupancy, 1.0).any()
