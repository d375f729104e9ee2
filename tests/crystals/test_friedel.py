"""Absences against gemmi's, and the classes of groups against International Tables."""

from itertools import product

import gemmi
import numpy as np

from xrdjax.crystals.friedel import friedel_classes, is_absent, laue_rotations, reference_operations
from xrdjax.crystals.symmetry import crystal_system_index, operations_from_triplets

HKL = np.array(list(product(range(-4, 5), repeat=3)))
ENANTIOMORPHIC = [(76, 78), (91, 95), (92, 96), (144, 145), (151, 153), (152, 154), (169, 170), (171, 172),
                  (178, 179), (180, 181), (212, 213)]  # fmt: skip


def members(space_group: int) -> list[int]:
    """Return the groups of one class."""
    classes = friedel_classes()
    return (np.flatnonzero(classes == classes[space_group - 1]) + 1).tolist()


def test_absences_are_those_of_gemmi_in_every_setting():
    for setting in gemmi.spacegroup_table():
        operations = operations_from_triplets(tuple(operation.triplet() for operation in setting.operations()))[0]
        theirs = setting.operations().systematic_absences(HKL)
        assert np.array_equal(is_absent(operations, HKL), theirs), setting.xhm()


def test_friedel_leaves_122_classes_and_tells_50_groups():
    size = np.bincount(friedel_classes())
    assert len(size) == 122
    assert (size == 1).sum() == 50


def test_classes_are_those_of_international_tables():
    assert members(1) == [1, 2]
    assert members(4) == [4, 11]
    assert members(16) == [16, 25, 47]
    assert members(26) == [26, 28, 51]  # settings of one diffraction symbol, P c - - and P - - a
    assert members(33) == [33, 62]
    assert members(23) == [23, 24, 44, 71]
    assert members(195) == [195, 200]
    assert members(207) == [207, 215, 221]
    for alone in (14, 60, 61, 205, 206, 227, 230):
        assert members(alone) == [alone]


def test_enantiomorphic_pairs_share_a_class():
    for one, other in ENANTIOMORPHIC:
        assert other in members(one)


def test_a_class_has_one_laue_class():
    order = [len(laue_rotations(reference_operations(group))) for group in range(1, 231)]
    for values in (order, crystal_system_index(np.arange(1, 231))):
        pairs = set(zip(friedel_classes().tolist(), np.asarray(values).tolist(), strict=True))
        assert len(pairs) == 122
