"""Wyckoff positions: complete, each an orbit of its group, found again in crystals of any setting."""

import gemmi
import numpy as np
import pytest

from xrdjax.crystals.cif import crystal_from_cif_text
from xrdjax.crystals.statistics import reference_setting, template_keys
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import operations_from_triplets
from xrdjax.crystals.write import write_store
from xrdjax.crystals.wyckoff import LETTERS, annihilator, wyckoff_table

CORUNDUM = """data_corundum
_symmetry_space_group_name_H-M '{symbol}'
{cell}
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Al {aluminium}
O {oxygen}
"""
CELL_TAGS = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")


@pytest.fixture(scope="module")
def table():
    return wyckoff_table()


def triplets_of(setting):
    return tuple(operation.triplet() for operation in setting.operations())


def test_there_are_1731_positions(table):
    assert len(table.group) == 1731
    for group in range(1, 231):
        letters = table.letter[table.group == group]
        np.testing.assert_array_equal(letters, np.arange(len(letters)))
    assert max(table.letter) == len(LETTERS) - 1


def test_operations_are_those_of_the_reference_settings(table):
    for group in range(1, 231):
        theirs = operations_from_triplets(triplets_of(gemmi.get_spacegroup_reference_setting(group)))[0]
        np.testing.assert_array_equal(table.operations(group).rotation, theirs.rotation)
        np.testing.assert_array_equal(table.operations(group).translation, theirs.translation)


def test_multiplicities_grow_with_letters_up_to_the_general_position(table):
    for group in range(1, 231):
        multiplicity = table.multiplicity[table.group == group]
        assert (np.diff(multiplicity) >= 0).all()
        assert multiplicity[-1] == len(table.operations(group))
    assert (table.freedom[table.first[1:] - 1] == 3).all()


def test_images_are_the_whole_orbit_once(table):
    """Under all operations a generic point of a position has as many images as the multiplicity says, and those."""
    free, shift = table.images()
    random = np.random.default_rng(3)
    for position, start in enumerate(table.orbit_offset[:-1]):
        images = slice(start, table.orbit_offset[position + 1])
        p = random.random(3)
        listed = free[images] @ p + shift[images] / 24
        every = table.operations(int(table.group[position])).apply(listed[0])
        assert len(distinct(listed)) == len(listed), position
        np.testing.assert_array_equal(distinct(every), distinct(listed))
        assert not (every[0] - listed[0]).any()


def distinct(points):
    return np.unique(np.rint(points * 2**24).astype(int) % 2**24 // 16, axis=0)


def test_sites_are_found_at_the_position_they_were_put_at(table):
    free, shift = table.images()
    random = np.random.default_rng(4)
    parameters = np.repeat(random.random((len(table.group), 3)), table.multiplicity, axis=0)
    points = (free @ parameters[:, :, None])[..., 0] + shift / 24
    site = np.repeat(np.arange(len(table.group)), table.multiplicity)
    for group in range(1, 231):
        first, stop = table.first[group - 1 : group + 1].tolist()
        images = slice(table.orbit_offset[first], table.orbit_offset[stop])
        backwards = points[images][::-1], site[images][::-1] - first
        assert table.find(group, *backwards, table.multiplicity[first:stop]).tolist() == list(range(first, stop))


def test_directions_are_primitive(table):
    for position in range(len(table.group)):
        free = table.free[position][:, : table.freedom[position]].astype(int)
        across = annihilator(free)
        assert not (across @ free).any()
        assert len(across) + free.shape[1] == 3


def test_every_setting_of_the_tables_leads_to_the_reference_setting():
    for setting in gemmi.spacegroup_table():
        operations, number = operations_from_triplets(triplets_of(setting))
        way = reference_setting(operations)
        theirs = operations_from_triplets(triplets_of(gemmi.get_spacegroup_reference_setting(number)))[0]
        back = np.linalg.inv(way.rotation)
        moved = {
            tuple(
                np.rint(np.append(way.rotation @ r @ back, 24 * shift_of(way, r, t / 24, back) % 24)).astype(int) % 24
            )
            for r, t in zip(operations.rotation, operations.translation, strict=True)
        }
        expected = np.concatenate([theirs.rotation.reshape(-1, 9), theirs.translation.astype(int)], axis=1) % 24
        assert moved <= set(map(tuple, expected.tolist())) or moved >= set(map(tuple, expected.tolist())), setting.hm


def shift_of(way, rotation, shift, back):
    """Return the translation of x → R x + t as it is after x → A x + s: A t + s − A R A⁻¹ s."""
    return way.rotation @ shift + way.shift - way.rotation @ rotation @ back @ way.shift


def test_a_crystal_has_the_same_template_in_any_setting(tmp_path, table):
    hexagonal = "4.76 4.76 12.99 90 90 120", "0 0 0.352", "0.306 0 0.25"
    rhombohedral = "5.128 5.128 5.128 55.28 55.28 55.28", "0.352 0.352 0.352", "0.556 -0.056 0.25"
    crystals = [corundum("R -3 c:H", *hexagonal), corundum("R -3 c:R", *rhombohedral)]
    assert [crystal.num_atoms for crystal in crystals] == [30, 10]
    write_store(tmp_path / "both", crystals, title="Corundum twice")
    keys = template_keys(CrystalStore.open(tmp_path / "both"), np.arange(2), table)
    assert keys[0] == keys[1]
    assert [[LETTERS[table.letter[place]] for place in places] for places in keys[0]] == [["c"], ["e"]]


def corundum(symbol, cell, aluminium, oxygen):
    tags = "\n".join(f"_cell_{tag} {value}" for tag, value in zip(CELL_TAGS, cell.split(), strict=True))
    return crystal_from_cif_text(CORUNDUM.format(symbol=symbol, cell=tags, aluminium=aluminium, oxygen=oxygen), symbol)
