"""What zones show of a group: against the projections in International Tables, and laws of equivalent descriptions."""

import numpy as np
import pytest

from xrdjax.config import SEEN_AXES, Axis
from xrdjax.crystals.friedel import laue_rotations, reference_operations
from xrdjax.crystals.symmetry import Operations, crystal_system_index
from xrdjax.diffraction.zone_symmetry import indexed_signs, zone_signs

PLANE_GROUPS = {
    "p2": ("2", False, ()), "p2mm": ("2mm", False, ()), "p2mg": ("2mm", False, (2,)), "p2gg": ("2mm", False, (2, 2)),
    "c2mm": ("2mm", True, ()), "p4": ("4", False, ()), "p4mm": ("4mm", False, ()), "p4gm": ("4mm", False, (2, 2)),
    "p6": ("6", False, ()), "p6mm": ("6mm", False, ()),
}  # fmt: skip
PROJECTIONS = [  # group, axis, plane group with the centre that Friedel's law adds (ITC vol. A)
    (2, (1, 2, 3), "p2"), (14, (0, 1, 0), "p2"), (14, (0, 0, 1), "p2mg"), (14, (1, 0, 0), "p2gg"),
    (15, (0, 0, 1), "c2mm"), (62, (0, 0, 1), "p2mg"), (62, (1, 0, 0), "c2mm"), (62, (0, 1, 0), "p2gg"),
    (75, (0, 0, 1), "p4"), (100, (0, 0, 1), "p4gm"), (122, (0, 0, 1), "p4gm"), (146, (0, 0, 1), "p6"),
    (167, (0, 0, 1), "p6mm"), (221, (1, 1, 0), "p2mm"), (225, (1, 1, 0), "c2mm"), (227, (0, 0, 1), "p4mm"),
    (227, (1, 1, 1), "p6mm"),
]  # fmt: skip
OTHERS = [  # what is no symmetry of the layer still empties rows of it: symmetry, mirror rows, other rows
    (76, (1, 0, 0), "2mm", (4,), ()), (178, (1, 0, 0), "2mm", (6,), ()), (180, (1, 0, 0), "2mm", (3,), ()),
    (227, (1, 1, 0), "2mm", (2,), ()), (144, (1, 0, 0), "2", (), (3,)), (205, (1, 1, 1), "6", (), (2, 2, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("group", "axis", "name"), PROJECTIONS)
def test_signs_are_those_of_the_projections_in_international_tables(group, axis, name):
    signs = zone_signs(reference_operations(group), axis)
    assert (signs.symmetry, signs.is_centred, signs.mirror_rows, signs.other_rows) == (*PLANE_GROUPS[name], ())


@pytest.mark.parametrize(("group", "axis", "symmetry", "mirror_rows", "other_rows"), OTHERS)
def test_screw_axes_and_glide_planes_beside_the_layer_show(group, axis, symmetry, mirror_rows, other_rows):
    signs = zone_signs(reference_operations(group), axis)
    assert (signs.symmetry, signs.mirror_rows, signs.other_rows) == (symmetry, mirror_rows, other_rows)


def test_equivalent_axes_and_other_cells_show_the_same():
    generator = np.random.default_rng(0)
    for group in (14, 61, 88, 96, 122, 161, 178, 205, 220, 230):
        operations = reference_operations(group)
        for axis in SEEN_AXES[::4]:
            signs = zone_signs(operations, axis)
            turned = generator.choice(laue_rotations(operations)) @ axis
            assert zone_signs(operations, _axis(turned)) == signs
            change = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]])[:, generator.permutation(3)]
            assert zone_signs(_in_other_cell(operations, change), _axis(change @ axis)) == signs


@pytest.mark.long
def test_as_many_classes_as_counted():
    """One zone tells some 13 classes, at most 17; 29 if the system is known; four zones 90."""
    groups = [reference_operations(number) for number in range(1, 231)]
    system = crystal_system_index(np.arange(1, 231)).tolist()
    signs = {axis: [zone_signs(operations, axis) for operations in groups] for axis in SEEN_AXES}
    one = [len(set(seen)) for seen in signs.values()]
    known = [len(set(zip(system, seen, strict=True))) for seen in signs.values()]
    assert (np.mean(one), max(one)) == (12.75, 17)
    assert (round(np.mean(known), 2), max(known)) == (29.1, 36)
    four = [signs[axis] for axis in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1))]
    assert len(set(zip(*four, strict=True))) == 90


def test_names_of_spots_tell_more():
    """P 4/m m m and I 4/m m m look alike along c until spots are named."""
    for tell, expected in ((zone_signs, True), (indexed_signs, False)):
        one, other = (tell(reference_operations(group), (0, 0, 1)) for group in (123, 139))
        assert (one == other) is expected


def _in_other_cell(operations: Operations, change: np.ndarray) -> Operations:
    """Return the operations on coordinates x' = P x, P of determinant ±1."""
    inverse = np.rint(np.linalg.inv(change)).astype(int)
    return Operations(
        rotation=(change @ operations.rotation @ inverse).astype(np.int8),
        translation=(operations.translation @ change.T % 24).astype(np.uint8),
    )


def _axis(values: np.ndarray) -> Axis:
    u, v, w = (int(value) for value in values)
    return u, v, w
