"""Divide crystals into train, validation and test, 70/20/10 within every space group.

Two ways. `random_split` deals crystals out one by one. `type_split` deals out whole structure types, so that no
isostructural compounds stand on two sides. A structure type is: space group, anonymised formula, and the multiset of
the occupied positions, each told by its site symmetry. Wyckoff letters are not used: they depend on the choice of
origin (perovskite is 1a 1b 3c or 1b 1a 3d), so crystals that share group, formula and letters share the type here too.
"""

from collections.abc import Hashable
from typing import Literal

import numpy as np
from jaxtyping import Integer, UInt8

from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import element_of
from xrdjax.crystals.symmetry import coincident_pairs, metric_tensor, stabilisers

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
SHARES = (0.7, 0.2, 0.1)


def random_split(space_group: Integer[np.ndarray, "n"], seed: int) -> UInt8[np.ndarray, "n"]:
    """Return the part of each crystal as its index in `PARTS`.

    A group of n crystals gives 0.2 n to validation and 0.1 n to test, halves rounded up, and the rest to train: groups
    of one and two go to train whole, test begins at five.
    """
    part = np.zeros(len(space_group), np.uint8)
    for group in np.unique(space_group):
        members = np.random.default_rng([seed, int(group)]).permutation(np.flatnonzero(space_group == group))
        num_validation, num_test = (int(share * len(members) + 0.5) for share in SHARES[1:])
        part[members[:num_validation]] = 1
        part[members[num_validation : num_validation + num_test]] = 2
    return part


def type_split(
    structure_type: Integer[np.ndarray, "n"], space_group: Integer[np.ndarray, "n"], seed: int
) -> UInt8[np.ndarray, "n"]:
    """Return the part of each crystal as its index in `PARTS`; no structure type is in two.

    Within each group the types go one by one, the largest first and equal ones in random order, to the part that
    lacks most of its share. A group of one type goes to train whole.
    """
    part = np.zeros(len(space_group), np.uint8)
    for group in np.unique(space_group):
        members = np.flatnonzero(space_group == group)
        types, type_of_member, size = np.unique(structure_type[members], return_inverse=True, return_counts=True)
        order = np.random.default_rng([seed, int(group)]).permutation(len(types))
        part_of_type = np.zeros(len(types), np.uint8)
        lacking = np.array(SHARES) * len(members)
        for i in order[np.argsort(-size[order], kind="stable")]:
            part_of_type[i] = lacking.argmax()
            lacking[part_of_type[i]] -= size[i]
        part[members] = part_of_type[type_of_member]
    return part


def structure_type(crystal: Crystal) -> Hashable:
    """Return what crystals of one structure type have in common, whatever their elements, origin and cell edges."""
    return crystal.space_group, anonymous_formula(crystal), _occupied_positions(crystal)


def anonymous_formula(crystal: Crystal) -> tuple[int, ...]:
    """Return the sorted amounts of the elements, in hundredths of an atom a cell, divided by their common divisor."""
    amount: dict[str, float] = {}
    for species, occupancy in zip(crystal.species, crystal.occupancy, strict=True):
        element = element_of(species)
        amount[element] = amount.get(element, 0.0) + occupancy
    hundredths = np.sort(np.rint(100 * np.array(list(amount.values()))).astype(int))
    return tuple((hundredths // max(1, np.gcd.reduce(hundredths))).tolist())


def _occupied_positions(crystal: Crystal) -> tuple[tuple[int, ...], ...]:
    """Return the site symmetry of each position, as sorted codes of its rotations; sharers of a place count once."""
    first = crystal.first_atoms
    if crystal.occupancy.min() < 1:
        pairs = crystal.site[coincident_pairs(crystal.fract, metric_tensor(crystal.cell))]
        first = np.delete(first, np.unique(pairs.max(axis=1)))
    operations = crystal.operations
    rotation = operations.rotation.astype(int)
    code = 10 * np.rint(np.linalg.det(rotation)).astype(int) + np.trace(rotation, axis1=1, axis2=2)
    stabiliser = stabilisers(crystal.fract[first], operations)
    return tuple(sorted(tuple(sorted(code[own].tolist())) for own in stabiliser))
