"""Groups, orbits and extinctions over every setting in gemmi's table."""

import gemmi
import numpy as np
import pytest

from xrdjax.crystals.symmetry import (
    CRYSTAL_SYSTEMS,
    Operations,
    coincident_pairs,
    crystal_system_index,
    expand_sites,
    metric_mismatch,
    metric_tensor,
    operations_from_triplets,
    stabilisers,
)

SETTINGS = list(gemmi.spacegroup_table())
CELLS = {
    "triclinic": [5, 6, 7, 80, 95, 105],
    "orthorhombic": [5, 6, 7, 90, 90, 90],
    "tetragonal": [5, 5, 7, 90, 90, 90],
    "trigonal": [5, 5, 7, 90, 90, 120],
    "hexagonal": [5, 5, 7, 90, 90, 120],
    "cubic": [5, 5, 5, 90, 90, 90],
}


def triplets(group: gemmi.SpaceGroup) -> tuple[str, ...]:
    return tuple(operation.triplet() for operation in group.operations())


def cell_of(group: gemmi.SpaceGroup) -> np.ndarray:
    """Return a cell of the shape that the setting needs."""
    if group.ext == "R":
        return np.array([5, 5, 5, 85, 85, 85.0])
    system = group.crystal_system_str()
    if system == "monoclinic":
        angles = [100 if axis in group.qualifier else 90 for axis in "abc"]
        return np.array([5, 6, 7, *angles], float)
    return np.array(CELLS[system], float)


def expand_site(fract: list[float], operations: Operations, metric: np.ndarray) -> np.ndarray:
    """Return the images of one site."""
    return expand_sites(np.array([fract]), operations, metric, most_atoms=192).fract


def test_crystal_systems_are_those_of_gemmi():
    expected = [gemmi.find_spacegroup_by_number(number).crystal_system_str() for number in range(1, 231)]
    assert [CRYSTAL_SYSTEMS[i] for i in crystal_system_index(np.arange(1, 231, dtype=np.uint8))] == expected
    assert CRYSTAL_SYSTEMS[int(crystal_system_index(225))] == "cubic"


def test_group_is_found_from_the_operations_of_every_setting():
    for group in SETTINGS:
        operations, number = operations_from_triplets(triplets(group))
        assert (number, len(operations)) == (group.number, len(group.operations())), group.xhm()


def test_group_is_found_in_settings_that_no_table_has():
    shifted = gemmi.Op("x+1/8,y+1/6,z+1/24")
    for number in (2, 15, 62, 146, 194, 227):
        group = gemmi.find_spacegroup_by_number(number)
        moved = [shifted.inverse() * operation * shifted for operation in group.operations()]
        assert operations_from_triplets(tuple(operation.triplet() for operation in moved))[1] == number


def test_identity_leads_and_repeats_are_dropped():
    operations, number = operations_from_triplets(("-x,-y,-z", "x,y,z", "x,y,z+1"))
    assert (len(operations), number) == (2, 2)
    np.testing.assert_array_equal(operations.rotation[0], np.eye(3))


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        (("x,y,z", "-y,x,z"), "do not form a group"),
        (("-x,-y,-z",), "do not form a group"),
        (("x,y,z", "1/2*x,y,z"), "whole number is expected"),
        (("x,y,z", "up"), "'up' cannot be read"),
        (("x,y,z", "h,k,l"), "expected x, y and z"),
        (("x,y,z", "x,x,x"), "changes volumes"),
    ],
)
def test_lists_that_are_no_group_are_refused(listed, reason):
    with pytest.raises(ValueError, match=reason):
        operations_from_triplets(listed)


def test_metric_is_kept_by_the_right_group_only():
    hexagonal = metric_tensor(np.array([4, 4, 6, 90, 90, 120.0]))
    assert metric_mismatch(operations_from_triplets(triplets(gemmi.SpaceGroup("P 63/m m c")))[0], hexagonal) < 1e-12
    assert metric_mismatch(operations_from_triplets(triplets(gemmi.SpaceGroup("P 4")))[0], hexagonal) > 0.1


def test_absent_reflections_vanish_in_every_setting():
    hkl = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3)
    for group in SETTINGS:
        absent = group.operations().systematic_absences(hkl.astype(np.int32))
        operations = operations_from_triplets(triplets(group))[0]
        metric = metric_tensor(cell_of(group))
        for site in ([0.11, 0.23, 0.37], [0.001, 0.002, 0.24999], [0.33333, 0.66667, 0.25001]):
            fract = expand_site(site, operations, metric)
            amplitude = np.abs(np.exp(2j * np.pi * hkl @ fract.T).sum(axis=1))
            assert amplitude[absent].max(initial=0) < 1e-11 * len(fract), group.xhm()


def test_orbit_size_times_site_symmetry_is_the_group_order():
    for group in SETTINGS[::7]:
        operations = operations_from_triplets(triplets(group))[0]
        for site in ([0.001, 0.0, 0.002], [0.5, 0.25, 0.25], [0.11, 0.23, 0.37]):
            fract = expand_site(site, operations, metric_tensor(cell_of(group)))
            assert len(fract) * stabilisers(fract[:1], operations).sum() == len(operations), group.xhm()
            assert np.all((fract >= 0) & (fract < 1))


def test_site_on_a_special_position_stays_as_written():
    operations = operations_from_triplets(triplets(gemmi.SpaceGroup("P 63/m m c")))[0]
    written = [0.33333333, 0.66666667, 0.25]
    fract = expand_site(written, operations, metric_tensor(np.array([4, 4, 6, 90, 90, 120.0])))
    assert len(fract) == 2
    np.testing.assert_array_equal(fract[0], written)


def test_coincidence_is_found_across_the_faces_and_not_beyond_the_distance():
    metric = metric_tensor(np.array([10, 20, 5, 90, 90, 60.0]))
    fract = np.array([[0.001, 0.5, 0.5], [0.998, 0.5, 0.5], [0.006, 0.5, 0.5], [0.5, 0.5, 0.5]])
    assert coincident_pairs(fract, metric).tolist() in ([[0, 1]], [[1, 0]], [[0, 1], [0, 2]])
    assert len(coincident_pairs(fract[[1, 2, 3]], metric)) == 0
