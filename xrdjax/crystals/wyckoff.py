"""The 1,731 Wyckoff positions of the 230 space groups, and at which of them the sites of crystals lie.

Groups are in the reference setting of ITC vol. A: unique axis b, cell choice 1, hexagonal axes, origin 2. A position is
the orbit of an affine subspace x = D p + s with d free coordinates p; D is integer and s a multiple of 1/24, so that
fixed-point coordinates are exact. `tools/build_site_library.py` derives the positions from the operations alone, and
takes their letters from spglib. A site of multiplicity m lies at the one position of multiplicity m of which a
representative passes through an atom of it: were there two, its stabiliser would be larger and m smaller.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64, Integer, UInt8, UInt16
from safetensors.numpy import load_file

from xrdjax.crystals.symmetry import Operations

FILE = "sites.safetensors"
ON_POSITION = 1e-6  # cycles; a store holds special positions to 1e-9
LETTERS = "abcdefghijklmnopqrstuvwxyzA"  # A stands for α, the 27th of P m m m


@dataclass(frozen=True, kw_only=True, eq=False)
class WyckoffTable:
    """All positions, by group and letter, with the operations of the groups.

    Attributes:
        group: space-group number, 1 to 230.
        letter: 0 for a, 1 for b, …
        free: D with columns of zeros beyond the free coordinates.
        shift: s in 1/24 of an edge.
        orbit_offset: position i has the images orbit_offset[i] to orbit_offset[i + 1], as many as its multiplicity.
        orbit_operation: the operation, within its group, that makes each image.
        operation_offset: group g has the operations operation_offset[g − 1] to operation_offset[g], the identity first.
        rotation: R of x → R x + t.
        translation: t in 1/24 of an edge.
    """

    group: UInt8[np.ndarray, "positions"]
    letter: UInt8[np.ndarray, "positions"]
    free: Int8[np.ndarray, "positions 3 3"]
    shift: UInt8[np.ndarray, "positions 3"]
    orbit_offset: Int64[np.ndarray, "positions+1"]
    orbit_operation: UInt8[np.ndarray, "images"]
    operation_offset: UInt16[np.ndarray, "231"]
    rotation: Int8[np.ndarray, "operations 3 3"]
    translation: UInt8[np.ndarray, "operations 3"]

    @cached_property
    def multiplicity(self) -> Int64[np.ndarray, "positions"]:
        """Number of atoms in the conventional cell."""
        return np.diff(self.orbit_offset)

    @cached_property
    def freedom(self) -> Int64[np.ndarray, "positions"]:
        """Number of free coordinates."""
        return (self.free != 0).any(axis=1).sum(axis=1)

    @cached_property
    def first(self) -> Int64[np.ndarray, "231"]:
        """First position of each group; those of group g are first[g − 1] to first[g]."""
        return np.searchsorted(self.group, np.arange(1, 232))

    def operations(self, group: int) -> Operations:
        """Return all operations of a group in its reference setting."""
        inside = slice(*self.operation_offset[group - 1 : group + 1].tolist())
        return Operations(rotation=self.rotation[inside], translation=self.translation[inside])

    def images(self) -> tuple[Int64[np.ndarray, "images 3 3"], Int64[np.ndarray, "images 3"]]:
        """Return D and s, in 1/24 of an edge, of every image of every position, in the order of `orbit_operation`."""
        position = np.repeat(np.arange(len(self.group)), self.multiplicity)
        operation = self.operation_offset[self.group[position] - 1].astype(int) + self.orbit_operation
        rotation = self.rotation[operation].astype(int)
        shift = (rotation @ self.shift[position].astype(int)[:, :, None])[..., 0] + self.translation[operation]
        return rotation @ self.free[position].astype(int), shift % 24

    def find(
        self,
        group: int,
        fract: Float64[np.ndarray, "atoms 3"],
        site: Integer[np.ndarray, "atoms"],
        multiplicity: Integer[np.ndarray, "sites"],
    ) -> Int64[np.ndarray, "sites"]:
        """Return the position of each site 0, 1, … by all of its atoms in the reference setting; −1 for none."""
        found = np.full(len(multiplicity), -1)
        for position in range(*self.first[group - 1 : group + 1].tolist()):
            of_kind = multiplicity == self.multiplicity[position]
            some = np.flatnonzero(of_kind[site])
            passes = self._contains(position, fract[some])
            found[np.unique(site[some[passes]])] = position
        return found

    @cached_property
    def _across(self) -> list[Int64[np.ndarray, "c 3"]]:
        """What tells where each representative lies, see `annihilator`."""
        columns = zip(self.free.astype(int), self.freedom.tolist(), strict=True)
        return [annihilator(free[:, :number]) for free, number in columns]

    def _contains(self, position: int, fract: Float64[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Tell which points lie on a position's representative, modulo the lattice."""
        off = (fract - self.shift[position] / 24) @ self._across[position].T
        return (np.abs(off - np.round(off)) < ON_POSITION).all(axis=1)


def annihilator(free: Integer[np.ndarray, "3 d"]) -> Int64[np.ndarray, "c 3"]:
    """Return a primitive basis of the integer rows that vanish on the directions: Q x tells where a subspace lies."""
    if free.shape[1] == 0:
        return np.eye(3, dtype=int)
    if free.shape[1] == 3:
        return np.zeros((0, 3), int)
    if free.shape[1] == 2:
        return primitive(np.cross(free[:, 0], free[:, 1]))[None]
    return complement(primitive(free[:, 0]))


def complement(vector: Integer[np.ndarray, "3"]) -> Int64[np.ndarray, "2 3"]:
    """Return a basis of all integer vectors perpendicular to a coprime one."""
    return _complement(tuple(vector.tolist()))


@lru_cache(maxsize=64)
def _complement(vector: tuple[int, ...]) -> Int64[np.ndarray, "2 3"]:
    entries = np.arange(-2, 3)
    vectors = np.stack(np.meshgrid(entries, entries, entries, indexing="ij"), -1).reshape(-1, 3)
    across = vectors[vectors @ np.array(vector) == 0]
    across = across[np.argsort(np.abs(across).sum(axis=1), kind="stable")][1:]
    crosses = np.cross(across[:, None], across[None])
    one, other = np.argwhere((crosses == vector).all(axis=-1))[0]
    return across[[one, other]]


def primitive(vector: Integer[np.ndarray, "3"]) -> Int64[np.ndarray, "3"]:
    """Return the shortest integer vector along a line, its first entry other than zero positive."""
    vector = np.asarray(vector, int) // np.gcd.reduce(np.abs(vector))
    return vector if vector[np.flatnonzero(vector)[0]] > 0 else -vector


@lru_cache(maxsize=1)
def library_arrays() -> dict[str, np.ndarray]:
    """Return the arrays of the file that comes with the package."""
    with resources.as_file(resources.files("xrdjax") / "data" / FILE) as path:
        return load_file(path)


@lru_cache(maxsize=1)
def wyckoff_table() -> WyckoffTable:
    """Return the table that comes with the package."""
    arrays = library_arrays()
    names = ("group", "letter", "free", "shift", "orbit_operation", "rotation", "translation")
    return WyckoffTable(
        orbit_offset=np.append(0, np.cumsum(arrays["multiplicity"].astype(np.int64))),
        operation_offset=arrays["operation_offset"],
        **{name: arrays[name] for name in names},
    )
