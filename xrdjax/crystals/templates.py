"""Which positions of a group are occupied together such that a crystal has that group and no higher one.

A *template* is a space group and a list of sites: Wyckoff position and species rank. Sites of one rank hold the same
element, sites of different ranks different ones; that decides the symmetry too, for 1a and 1b of P m -3 m with one
element are I m -3 m. Every template of the library has been verified: crystals with random cells of the group's family,
random free coordinates and random elements have exactly the group, by spglib at 1e-3 Å
(`tools/build_site_library.py`). Some were made up at random; others occur in the embedded set.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt8, UInt16

from xrdjax.crystals.wyckoff import WyckoffTable, library_arrays

TemplateKey = tuple[tuple[int, ...], ...]
"""The positions of each species, sorted: equal for equal templates. Positions of one group are in no other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateLibrary:
    """Templates by group, then number of atoms; template i has the sites offset[i] to offset[i + 1].

    Attributes:
        group: space-group number.
        is_observed: occurs in the embedded set; otherwise made up, and independent of any crystal.
        position: index in the table of Wyckoff positions.
        rank: 0, 1, … for the different species.
    """

    group: UInt8[np.ndarray, "templates"]
    is_observed: Bool[np.ndarray, "templates"]
    offset: Int64[np.ndarray, "templates+1"]
    position: UInt16[np.ndarray, "sites"]
    rank: UInt8[np.ndarray, "sites"]

    def __len__(self) -> int:
        """Return the number of templates."""
        return len(self.group)

    @property
    def num_sites(self) -> Int64[np.ndarray, "templates"]:
        """Number of sites of the asymmetric unit."""
        return np.diff(self.offset)

    def num_atoms(self, table: WyckoffTable) -> Int64[np.ndarray, "templates"]:
        """Return the number of atoms in the conventional cell."""
        atoms = np.append(0, np.cumsum(table.multiplicity[self.position]))
        return np.diff(atoms[self.offset])

    def padded(self, values: Shaped[np.ndarray, "sites"], fill: int) -> Int64[np.ndarray, "templates most_sites"]:
        """Return values of sites as rows of equal length."""
        rows = np.full((len(self), int(self.num_sites.max(initial=1))), fill)
        rows[np.arange(rows.shape[1]) < self.num_sites[:, None]] = values
        return rows

    @cached_property
    def number(self) -> dict[TemplateKey, int]:
        """The index of each template by its key."""
        spans = zip(self.offset[:-1].tolist(), self.offset[1:].tolist(), strict=True)
        keys = (template_key(self.position[i:j].tolist(), self.rank[i:j].tolist()) for i, j in spans)
        return {key: index for index, key in enumerate(keys)}


def template_key(position: Sequence[int], species: Sequence[int]) -> TemplateKey:
    """Return what templates have in common that differ in the order of sites and in the names of species alone."""
    of_species: dict[int, list[int]] = {}
    for place, kind in zip(position, species, strict=True):
        of_species.setdefault(kind, []).append(place)
    return tuple(sorted(tuple(sorted(places)) for places in of_species.values()))


def make_library(keys: Iterable[TemplateKey], is_observed: Iterable[bool], table: WyckoffTable) -> TemplateLibrary:
    """Return templates in the library's order."""

    def rank_of(entry: tuple[TemplateKey, bool]) -> tuple[int, int, TemplateKey]:
        places = [place for places in entry[0] for place in places]
        return int(table.group[places[0]]), int(table.multiplicity[places].sum()), entry[0]

    entries = sorted(zip(keys, is_observed, strict=True), key=rank_of)
    sites = [[(place, rank) for rank, places in enumerate(key) for place in places] for key, _ in entries]
    flat = np.array([site for some in sites for site in some], int).reshape(-1, 2)
    return TemplateLibrary(
        group=np.array([table.group[some[0][0]] for some in sites], np.uint8),
        is_observed=np.array([observed for _, observed in entries], bool),
        offset=np.append(0, np.cumsum([len(some) for some in sites])).astype(np.int64),
        position=flat[:, 0].astype(np.uint16),
        rank=flat[:, 1].astype(np.uint8),
    )


@lru_cache(maxsize=1)
def template_library() -> TemplateLibrary:
    """Return the library that comes with the package."""
    arrays = library_arrays()
    return TemplateLibrary(
        group=arrays["template_group"],
        is_observed=arrays["template_is_observed"],
        offset=np.append(0, np.cumsum(arrays["template_sites"].astype(np.int64))),
        position=arrays["site_position"],
        rank=arrays["site_rank"],
    )
