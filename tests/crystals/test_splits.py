"""The laws of the two splits, on made-up labels and on the set that comes with the package."""

import numpy as np
import pytest

from xrdjax.crystals.cif import crystal_from_cif_text
from xrdjax.crystals.splits import anonymous_formula, random_split, structure_type, type_split
from xrdjax.crystals.store import CrystalStore

PEROVSKITE = """data_p
_cell_length_a {edge}
_cell_length_b {edge}
_cell_length_c {edge}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_IT_number 221
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
SITES = {
    "SrTiO3": "Sr1 0 0 0 1\nTi1 .5 .5 .5 1\nO1 .5 .5 0 1\n",
    "BaZrO3, other origin": "Zr1 0 0 0 1\nBa1 .5 .5 .5 1\nO1 .5 0 0 1\n",
    "KMgF3, ions": "K1+ 0 0 0 1\nMg2+ .5 .5 .5 1\nF1- .5 .5 0 1\n",
    "SrTiO3, mixed": "Sr1 0 0 0 .5\nBa1 0 0 0 .5\nTi1 .5 .5 .5 1\nO1 .5 .5 0 1\n",
    "ReO3": "Re1 0 0 0 1\nO1 .5 0 0 1\n",
}


@pytest.fixture(scope="module")
def embedded():
    return CrystalStore.open("open")


def crystal_of(name: str, edge: float = 3.9):
    return crystal_from_cif_text(PEROVSKITE.format(edge=edge) + SITES[name], name)


def test_structure_type_forgets_elements_origin_charge_and_edges():
    expected = structure_type(crystal_of("SrTiO3"))
    assert structure_type(crystal_of("BaZrO3, other origin", edge=4.2)) == expected
    assert structure_type(crystal_of("KMgF3, ions")) == expected
    assert len({structure_type(crystal_of(name)) for name in SITES}) == 3


def test_formula_is_reduced_and_counts_occupancies():
    assert anonymous_formula(crystal_of("SrTiO3")) == (1, 1, 3)
    assert anonymous_formula(crystal_of("SrTiO3, mixed")) == (1, 1, 2, 6)


def test_random_split_is_70_20_10_in_every_group():
    space_group = np.repeat(np.arange(1, 231), np.arange(1, 231))
    part = random_split(space_group, seed=7)
    for group in range(1, 231):
        num_train, num_validation, num_test = np.bincount(part[space_group == group], minlength=3)
        assert abs(num_validation - 0.2 * group) <= 0.5
        assert abs(num_test - 0.1 * group) <= 0.5
        assert num_train > 0


def test_splits_follow_the_seed_and_nothing_else():
    space_group = np.random.default_rng(0).integers(1, 231, 5000)
    types = np.random.default_rng(1).integers(0, 900, 5000) * 231 + space_group
    assert np.array_equal(random_split(space_group, 1), random_split(space_group, 1))
    assert not np.array_equal(random_split(space_group, 1), random_split(space_group, 2))
    assert np.array_equal(type_split(types, space_group, 1), type_split(types, space_group, 1))
    without_group_1 = space_group != 1
    assert np.array_equal(random_split(space_group, 1)[without_group_1], random_split(space_group[without_group_1], 1))


def test_group_of_one_type_goes_to_train():
    assert not type_split(np.zeros(50, int), np.full(50, 225), seed=0).any()


def test_embedded_types_are_those_of_the_crystals(embedded):
    """Two crystals have equal numbers exactly when they have equal types."""
    picked = np.random.default_rng(0).choice(np.flatnonzero(embedded.space_group == 225), 60, replace=False)
    types = [structure_type(embedded.crystal(i)) for i in picked]
    numbers = embedded.structure_type[picked]
    for i in range(len(picked)):
        assert [other == types[i] for other in types] == (numbers == numbers[i]).tolist()
