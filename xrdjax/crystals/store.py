"""Many crystals in one file, opened with `CrystalStore.open`: whole crystals, or the atoms of all cells at once.

`columns.py` says how crystals lie in arrays, `store_file.py` how those lie in the file. Arrays are memory-mapped: what
is not looked at is not read, apart from the checksum. Nothing is selected here; `selection.py` does that.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import pairwise
from os import cpu_count
from pathlib import Path
from typing import Literal, SupportsIndex

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int32, Int64, Shaped, UInt8, UInt32

from xrdjax.crystals.columns import Columns, Source
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import species_numbers
from xrdjax.crystals.store_file import read_file
from xrdjax.crystals.symmetry import Operations, Orbits, expand_tensors, into_cell, isotropic_tensors, metric_tensor

EMBEDDED = ("open",)
Label = Literal["declared", "found", "agreed"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Atoms:
    """Every atom of every cell of a store; those of crystal i are offset[i] to offset[i + 1].

    Attributes:
        fract: (m, 3) fixed-point cycles, x·2³² modulo 2³².
        species: (m,) index in `xrdjax.crystals.species.SPECIES`.
        occupancy: (m,) in (0, 1].
        u_iso: (m,) in Å².
        site: (m,) number of the site within its crystal.
        offset: (n + 1,) first atom of each crystal, then m.
    """

    fract: UInt32[np.ndarray, "m 3"]
    species: Int16[np.ndarray, "m"]
    occupancy: Float32[np.ndarray, "m"]
    u_iso: Float32[np.ndarray, "m"]
    site: Int32[np.ndarray, "m"]
    offset: Int64[np.ndarray, "offsets"]


class CrystalStore:
    """Crystals in arrays.

    Attributes:
        columns: the arrays.
        title: one line about the set.
        duplicate_of: (n,) the first crystal of the same structure; its own number where it is the first.
        checksum: SHA-256 of arrays and header as the file states it, equal for stores of equal content.
        label: whose space group `space_group` is.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        title: str = "",
        duplicate_of: Shaped[np.ndarray, "n"] | None = None,
        checksum: str = "",
        label: Label = "declared",
    ) -> None:
        """Wrap arrays."""
        self.columns = columns
        self.title = title
        self.duplicate_of = np.arange(len(columns)) if duplicate_of is None else duplicate_of
        self.checksum = checksum
        self.label = label

    @classmethod
    def open(cls, name_or_path: str | Path, label: Label = "declared") -> "CrystalStore":
        """Open the set that comes with the package ("open") or a file; raise StoreError if it cannot be trusted.

        `label` says whose space group counts: the one that a file's symmetry states, or the one that was found in its
        atoms where a search found one.
        """
        if name_or_path in EMBEDDED:
            with resources.as_file(resources.files("xrdjax") / "data" / f"{name_or_path}.safetensors") as path:
                return cls.open(path, label)
        columns, duplicate_of, header = read_file(Path(name_or_path))
        return cls(columns, title=header["title"], duplicate_of=duplicate_of, checksum=header["sha256"], label=label)

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.columns)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return all sources, with licence and attribution."""
        return self.columns.sources

    @property
    def cell(self) -> Float64[np.ndarray, "n 6"]:
        """Edges in Å and angles in degrees."""
        return self.columns.cell

    @cached_property
    def space_group(self) -> UInt8[np.ndarray, "n"]:
        """Space-group numbers, 1 to 230, by the store's label."""
        declared, found = self.columns.space_group, self.columns.found_group
        return np.where(found > 0, found, declared) if self.label == "found" else declared

    @property
    def structure_type(self) -> Shaped[np.ndarray, "n"]:
        """A hash of the structure type, the same for isostructural crystals."""
        return self.columns.structure_type

    @property
    def setting(self) -> Shaped[np.ndarray, "n"]:
        """Number of the list of all operations of each crystal's group: equal numbers are one group in one setting."""
        return self.columns.crystal_operations

    @cached_property
    def num_atoms(self) -> Int64[np.ndarray, "n"]:
        """Number of atoms in each crystal's cell; species that share a place count each."""
        return np.diff(self._first_atom[self.columns.crystal_offset])

    def names(self, index: SupportsIndex) -> str:
        """Return the name of crystal `index`."""
        index = range(len(self))[index]
        start, stop = self.columns.name_offset[index : index + 2]
        return self.columns.name[start:stop].tobytes().decode()

    def source(self, index: SupportsIndex) -> Source:
        """Return the source of crystal `index`."""
        return self.sources[self.columns.source[index]]

    def crystal(self, index: SupportsIndex) -> Crystal:
        """Return one crystal, coordinates right to 4e-10 of a cell edge."""
        columns, index = self.columns, range(len(self))[index]
        sites = slice(*columns.crystal_offset[index : index + 2].tolist())
        operations = self.operations(index)
        position = {number: i for i, number in enumerate(self._orbit(self.setting[index]).tolist())}
        orbits = [[position[number] for number in self._orbit(i).tolist()] for i in columns.site_orbit[sites]]
        site = np.repeat(np.arange(len(orbits)), [len(orbit) for orbit in orbits])
        first = columns.site_fract[sites] / 2.0**32
        images = [operations.apply(fract)[orbit] for fract, orbit in zip(first, orbits, strict=True)]
        fract, operation = into_cell(np.concatenate(images)), np.concatenate(orbits)
        u_iso = columns.site_u_iso[sites][site].astype(float)
        cell = self.cell[index].copy()
        return Crystal(
            name=self.names(index),
            cell=cell,
            fract=fract,
            species=tuple(columns.species[i] for i in columns.site_species[sites][site]),
            occupancy=columns.site_occupancy[sites][site].astype(float),
            u_iso=u_iso,
            space_group=int(self.space_group[index]),
            site=site,
            operation=operation,
            operations=operations,
            u_aniso=self._tensors(sites, _orbits(fract, site, operation, len(operations)), u_iso, operations, cell),
        )

    def operations(self, index: SupportsIndex) -> Operations:
        """Return all operations of the group of crystal `index`, in the crystal's own setting."""
        group = self._orbit(self.setting[index])
        return Operations(
            rotation=self.columns.operation_rotation[group], translation=self.columns.operation_translation[group]
        )

    def _tensors(
        self,
        sites: slice,
        orbits: Orbits,
        u_iso: Float64[np.ndarray, "n"],
        operations: Operations,
        cell: Float64[np.ndarray, "6"],
    ) -> Float64[np.ndarray, "n 6"] | None:
        """Return the displacement tensors of all atoms of one crystal, None if all its sites are isotropic."""
        first, last = np.searchsorted(self.columns.aniso_site, [sites.start, sites.stop])
        if first == last:
            return None
        metric = metric_tensor(cell)
        given = self.columns.aniso_site[first:last].astype(np.int64) - sites.start
        of_site = np.zeros((sites.stop - sites.start, 6))
        of_site[given] = self.columns.aniso_u[first:last]
        is_given = np.isin(orbits.site, given)[:, None]
        return np.where(is_given, expand_tensors(of_site, orbits, operations, metric), isotropic_tensors(u_iso, metric))

    def expand(self) -> Atoms:
        """Return the atoms of all cells as flat arrays; whole-array work only, by all cores."""
        offset = self._first_atom[self.columns.crystal_offset]
        cores = cpu_count() or 1
        cuts = np.unique(np.searchsorted(offset, np.linspace(0, offset[-1], 4 * cores + 1)))
        atoms = Atoms(
            fract=np.empty((offset[-1], 3), np.uint32),
            species=np.empty(offset[-1], np.int16),
            occupancy=np.empty(offset[-1], np.float32),
            u_iso=np.empty(offset[-1], np.float32),
            site=np.empty(offset[-1], np.int32),
            offset=offset,
        )
        with ThreadPoolExecutor(cores) as threads:
            list(threads.map(lambda stretch: self._expand_into(atoms, *stretch), pairwise(cuts.tolist())))
        return atoms

    def _expand_into(self, atoms: Atoms, first: int, last: int) -> None:
        """Fill in the atoms of crystals `first` to `last`."""
        columns = self.columns
        sites = slice(*columns.crystal_offset[[first, last]].tolist())
        first_atom = self._first_atom[sites.start : sites.stop + 1]
        num_images = np.diff(first_atom)
        orbit = columns.site_orbit[sites]
        site = np.repeat(np.arange(len(orbit), dtype=np.int32), num_images)
        image = np.arange(first_atom[0], first_atom[-1]) - np.repeat(first_atom[:-1], num_images)
        operation = columns.orbit_operation[np.repeat(columns.orbit_offset[orbit].astype(np.int64), num_images) + image]
        own = slice(first_atom[0], first_atom[-1])
        package_species = species_numbers(columns.species).astype(np.int16)
        num_sites = np.diff(columns.crystal_offset[first : last + 1].astype(np.int64))
        first_site = np.repeat(columns.crystal_offset[first:last].astype(np.int64) - sites.start, num_sites)
        atoms.fract[own] = self._images(columns.site_fract[sites], site, operation)
        atoms.species[own] = package_species[columns.site_species[sites]][site]
        atoms.occupancy[own] = columns.site_occupancy[sites][site]
        atoms.u_iso[own] = columns.site_u_iso[sites][site]
        atoms.site[own] = site - first_site.astype(np.int32)[site]

    def _images(
        self,
        fract: UInt32[np.ndarray, "s 3"],
        site: Int32[np.ndarray, "m"],
        operation: Shaped[np.ndarray, "m"],
    ) -> UInt32[np.ndarray, "m 3"]:
        """Return R x + t in fixed point; uint32 arithmetic wraps modulo 2³², which is modulo 1."""
        rotation = self.columns.operation_rotation.astype(np.uint32)
        translation = self.columns.operation_translation.astype(np.uint64)
        images = ((translation * 2**32 + 12) // 24).astype(np.uint32)[operation]
        for row in range(3):
            for column in range(3):
                images[:, row] += rotation[:, row, column][operation] * fract[:, column][site]
        return images

    def _orbit(self, number: SupportsIndex) -> Shaped[np.ndarray, "m"]:
        start, stop = self.columns.orbit_offset[int(number) : int(number) + 2]
        return self.columns.orbit_operation[start:stop]

    @cached_property
    def _first_atom(self) -> Int64[np.ndarray, "sites_1"]:
        """Number of the first atom of each site, then of all atoms."""
        num_images = np.diff(self.columns.orbit_offset.astype(np.int64))[self.columns.site_orbit]
        return np.concatenate([[0], np.cumsum(num_images)])


def _orbits(
    fract: Float64[np.ndarray, "n 3"],
    site: Int64[np.ndarray, "n"],
    operation: Int64[np.ndarray, "n"],
    num_operations: int,
) -> Orbits:
    """Return the images of sites whose tensors obey the symmetry of their places already."""
    stabiliser = np.zeros((site[-1] + 1, num_operations), bool)
    stabiliser[:, 0] = True
    return Orbits(fract=fract, site=site, operation=operation, stabiliser=stabiliser)
