"""Which space groups no diffraction pattern can tell apart by its symmetry and its absent reflections.

Where Friedel's law holds, |F(hkl)|² has the symmetry of the Laue class (the rotations of the group and their
opposites), and hkl is absent whatever the atoms are where an operation x → R x + t turns it into itself, hR = h, but
shifts its phase, h·t no whole number. Two groups are of one class if a change of axes makes both agree: mostly groups
with and without a centre, such as P222, Pmm2 and Pmmm, and all enantiomorphic pairs. All of reciprocal space leaves 122
classes, 50 of them of one group (the diffraction symbols of ITC vol. A, 5th edition, table 3.1.4.1).
"""

from functools import cache
from itertools import product

import gemmi
import numpy as np
from jaxtyping import Bool, Int, Integer

from xrdjax.crystals.symmetry import Operations, operations_from_triplets

_BOX = 4  # |h|, |k|, |l| that are compared: enough to tell periods of 2, 3, 4 and 6 along any row from each other


@cache
def friedel_classes() -> Int[np.ndarray, "230"]:
    """Return the number of each space group's class, 0 to 121 in the order of their first groups."""
    hkl = np.array([h for h in product(range(-_BOX, _BOX + 1), repeat=3) if h > (0, 0, 0)])
    number: dict[tuple[bytes, bytes], int] = {}
    classes = np.empty(230, int)
    for group in range(1, 231):
        operations = reference_operations(group)
        laue = laue_rotations(operations).tobytes()
        absences = b""
        if is_absent(operations, hkl).any():
            absences = min(is_absent(operations, hkl @ change).tobytes() for change in _changes_of_axes(laue))
        classes[group - 1] = number.setdefault((laue, absences), len(number))
    classes.flags.writeable = False
    return classes


@cache
def reference_operations(space_group: int) -> Operations:
    """Return the operations of a group in the standard setting of International Tables."""
    setting = gemmi.get_spacegroup_reference_setting(space_group)
    return operations_from_triplets(tuple(operation.triplet() for operation in setting.operations()))[0]


def laue_rotations(operations: Operations) -> Int[np.ndarray, "m 3 3"]:
    """Return the rotations of the Laue class in an order that depends on their set alone."""
    rotation = operations.rotation.reshape(-1, 9).astype(int)
    return np.unique(np.concatenate([rotation, -rotation]), axis=0).reshape(-1, 3, 3)


def is_absent(operations: Operations, hkl: Integer[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
    """Tell which reflections the symmetry extinguishes, wherever the atoms are."""
    turned = hkl @ operations.rotation.astype(int)
    shift = operations.translation.astype(int) @ hkl.T % 24
    return ((turned == hkl).all(axis=-1) & (shift != 0)).any(axis=0)


@cache
def _changes_of_axes(laue: bytes) -> Int[np.ndarray, "changes 3 3"]:
    """Return one of each kind of change of axes that leaves the rotations of a Laue class the same set.

    Entries of −1, 0 and 1 do for the conventional axes of all systems. Changes are of one kind if one is the other
    after an operation of the class.
    """
    rotations = np.frombuffer(laue, int).reshape(-1, 3, 3)
    changes, inverse = _unimodular()
    is_same = np.ones(len(changes), bool)
    for rotation in rotations:
        is_same &= np.isin(_keys(inverse @ rotation @ changes), _keys(rotations))
    kind = _keys(changes[is_same, None] @ rotations).min(axis=1)
    return changes[is_same][np.unique(kind, return_index=True)[1]]


@cache
def _unimodular() -> tuple[Int[np.ndarray, "m 3 3"], Int[np.ndarray, "m 3 3"]]:
    """Return all matrices of −1, 0 and 1 with determinant ±1, and their inverses."""
    matrices = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    matrices = matrices[np.abs(np.rint(np.linalg.det(matrices))) == 1]
    return matrices, np.rint(np.linalg.inv(matrices)).astype(int)


def _keys(matrices: Int[np.ndarray, "... 3 3"]) -> Int[np.ndarray, "..."]:
    """Return one number for each matrix, equal where they are; entries are at most 8."""
    return (matrices.reshape(*matrices.shape[:-2], 9) + 8) @ (17 ** np.arange(9))
