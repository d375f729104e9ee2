"""All atoms of one cell, from its sites and operations; what stands twice is told apart from what shares a place.

Sites within `MERGE_DISTANCE` of each other, or of each other's images, share one place. Different species share it with
occupancies that add to 1 or less. Sites of one species there are one atom: their occupancies add if they fit into one
place. If they do not, whole ones, and equal ones that are images, are one atom, listed twice; all else is refused.
Of two sites that are images of each other with occupancies that would fit, nobody can tell without the formula which it
is: `images_add` is the reading, and `Contents.is_ambiguous` says that there are two.
"""

from dataclasses import dataclass

import gemmi
import numpy as np
from jaxtyping import Bool, Float64, Int64

from xrdjax.crystals.cif_sites import MAX_OCCUPANCY, Sites, joined
from xrdjax.crystals.cif_symmetry import Setting
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import element_of
from xrdjax.crystals.symmetry import (
    MERGE_DISTANCE,
    Orbits,
    close_pairs,
    expand_sites,
    expand_tensors,
    isotropic_tensors,
    metric_tensor,
    squared_distance,
)

MAX_ATOMS = 100_000
_MOST_IMAGES = 10  # times MAX_ATOMS, before sites that are listed twice are merged
_OVERLAP = 0.5  # Å; no two whole atoms are closer
_HYDROGEN_LIKE = 0.35  # Å, a covalent radius; hydrogen is often drawn too close, and tells nothing
_EQUAL = 0.005  # occupancies that agree to two digits


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """A crystal, and whether sites that are images of each other could be read in another way."""

    crystal: Crystal
    is_ambiguous: bool


def fill_cell(
    name: str, cell: Float64[np.ndarray, "6"], setting: Setting, sites: Sites, *, images_add: bool = True
) -> Contents:
    """Return the crystal of all images of the sites. Raises ValueError where they cannot share their places."""
    metric = metric_tensor(cell)
    orbits = expand_sites(sites.fract, setting.operations, metric, most_atoms=_MOST_IMAGES * MAX_ATOMS)
    tensors = _image_tensors(sites, orbits, setting, metric)
    merger = _Merger(sites, orbits, metric)
    merger.run(images_add=images_add)
    kept = merger.is_kept[orbits.site]
    number = np.cumsum(merger.is_kept)[orbits.site[kept]] - 1
    if len(number) > MAX_ATOMS:
        raise ValueError(f"more than {MAX_ATOMS} atoms in the cell")
    site = orbits.site[kept]
    crystal = Crystal(
        name=name,
        cell=cell,
        fract=orbits.fract[kept],
        species=tuple([sites.species[i] for i in site.tolist()]),
        occupancy=merger.occupancy[site],
        u_iso=sites.u_iso[site],
        space_group=setting.space_group,
        site=number,
        operation=orbits.operation[kept],
        operations=setting.operations,
        u_aniso=None if tensors is None else tensors[kept],
        notes=(*sites.notes, *merger.notes()),
    )
    return Contents(crystal=crystal, is_ambiguous=merger.is_ambiguous)


def _image_tensors(
    sites: Sites, orbits: Orbits, setting: Setting, metric: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "m 6"] | None:
    if sites.u_aniso is None:
        return None
    is_isotropic = np.isnan(sites.u_aniso[:, 0])
    tensors = np.where(is_isotropic[:, None], 0.0, sites.u_aniso)
    images = expand_tensors(tensors, orbits, setting.operations, metric)
    return np.where(is_isotropic[orbits.site, None], isotropic_tensors(sites.u_iso[orbits.site], metric), images)


class _Merger:
    """Decides which sites stay and with what occupancy, from the pairs of a site and an atom that share a place."""

    def __init__(self, sites: Sites, orbits: Orbits, metric: Float64[np.ndarray, "3 3"]) -> None:
        self.sites = sites
        self.occupancy = sites.occupancy.copy()
        self.is_kept: Bool[np.ndarray, "n"] = np.ones(len(sites.labels), bool)
        self.is_ambiguous = False
        first = np.flatnonzero(np.diff(orbits.site, prepend=-1))
        close = close_pairs(orbits.fract[first], orbits.fract, metric, _OVERLAP)
        site, atom = close[first[close[:, 0]] != close[:, 1]].T
        other = orbits.site[atom]
        distance2 = squared_distance(orbits.fract[first[site]], orbits.fract[atom], metric)
        is_shared = (distance2 < MERGE_DISTANCE**2) & (site != other)
        self.overlaps: Int64[np.ndarray, "o 2"] = np.stack([site, other], axis=1)
        self.pairs: Int64[np.ndarray, "p 2"] = self.overlaps[is_shared]
        self.is_image: Bool[np.ndarray, "p"] = orbits.operation[atom[is_shared]] != 0
        self._twice: list[str] = []
        self._shared: list[str] = []

    def run(self, *, images_add: bool) -> None:
        """Merge sites of one species, then check that what is left fits its places."""
        if not len(self.pairs):
            return
        codes = {species: code for code, species in enumerate(dict.fromkeys(self.sites.species))}
        species = np.array([codes[name] for name in self.sites.species])
        later, earlier = self.pairs.T
        same = np.flatnonzero((species[later] == species[earlier]) & (earlier < later))
        total = self._totals()
        columns = (later[same], earlier[same], self.is_image[same])
        kept = [True] * len(species)  # a list, for there may be a million pairs
        for site, other, is_image in zip(*(column.tolist() for column in columns), strict=True):
            if kept[site] and kept[other]:
                kept[site] = not self._merge(site, other, is_image, total, images_add)
        self.is_kept = np.array(kept)
        self._refuse_overfull()

    def notes(self) -> list[str]:
        """Return what was merged and what is too close, a sentence a kind."""
        notes = []
        if self._twice:
            notes.append(f"one atom that is listed twice: sites {joined(self._twice)}")
        if self._shared:
            notes.append(f"one atom whose occupancies add: sites {joined(self._shared)}")
        if len(self.overlaps) and (crowded := self._crowded()):
            notes.append(f"whole atoms closer than {_OVERLAP} Å: sites {joined(crowded)}")
        return notes

    def _crowded(self) -> list[str]:
        """Return the pairs of sites that are on one another, more than one atom in all."""
        one, other = self.overlaps[self.is_kept[self.overlaps].all(axis=1)].T
        is_whole = self.occupancy[one] + self.occupancy[other] > MAX_OCCUPANCY
        pairs = np.unique(np.sort(np.stack([one, other], axis=1)[is_whole], axis=1), axis=0)
        return [f"{self.sites.labels[i]} and {self.sites.labels[j]}" for i, j in pairs.tolist()]

    def _merge(
        self, later: int, earlier: int, is_image: bool, total: Float64[np.ndarray, "n"], images_add: bool
    ) -> bool:
        """Tell whether two sites are one atom, which then has the place and the label of the earlier."""
        labels = f"{self.sites.labels[earlier]} and {self.sites.labels[later]}"
        first, second = self.sites.occupancy[[earlier, later]]
        is_equal = abs(first - second) < _EQUAL
        fits = total[later] <= MAX_OCCUPANCY
        is_whole = min(first, second) > 1 - _EQUAL
        self.is_ambiguous |= bool(is_equal and fits and is_image)
        if is_equal and ((not fits and (is_image or is_whole)) or (is_image and not images_add)):
            self._twice.append(labels)
        elif fits:
            self.occupancy[earlier] = min(self.occupancy[earlier] + second, 1.0)
            self._shared.append(labels)
        else:
            return False
        return True

    def _totals(self) -> Float64[np.ndarray, "n"]:
        """Return the occupancy of each site's place, over all that share it and are kept."""
        later, earlier = self.pairs[self.is_kept[self.pairs].all(axis=1)].T
        total = self.occupancy.copy()
        np.add.at(total, later, self.occupancy[earlier])
        return np.where(self.is_kept, total, 0.0)

    def _refuse_overfull(self) -> None:
        """Refuse a place that holds more than one atom in total."""
        total = self._totals()
        site = int(total.argmax())
        if total[site] > MAX_OCCUPANCY:
            sharing = self.pairs[(self.pairs[:, 0] == site) & self.is_kept[self.pairs[:, 1]], 1]
            labels = ", ".join(self.sites.labels[i] for i in np.unique([site, *sharing])[:5])
            raise ValueError(
                f"sites {labels} share one place with occupancies of {total[site]:.4g} in all; expected 1 or less"
            )


def tightness(crystal: Crystal) -> float:
    """Return the shortest distance over the sum of its atoms' covalent radii, infinity where it is 1 or more."""
    radius = np.array([gemmi.Element(element_of(species)).covalent_r for species in crystal.species])
    radius = np.where(radius < _HYDROGEN_LIKE, 0.0, radius)
    atom, other = _whole_pairs(crystal, 2 * float(radius.max()))
    distance = np.sqrt(squared_distance(crystal.fract[atom], crystal.fract[other], metric_tensor(crystal.cell)))
    span = radius[atom] + radius[other]
    is_bond = (distance < span) & (radius[atom] > 0) & (radius[other] > 0)
    return float((distance[is_bond] / span[is_bond]).min(initial=np.inf))


def have_same_atoms(one: Crystal, other: Crystal) -> bool:
    """Tell whether two crystals of one cell are the same atoms on the same places."""
    if one.num_atoms != other.num_atoms:
        return False
    pairs = close_pairs(one.fract, other.fract, metric_tensor(one.cell))
    same = [
        one.species[i] == other.species[j] and abs(one.occupancy[i] - other.occupancy[j]) < _EQUAL
        for i, j in pairs.tolist()
    ]
    return len(np.unique(pairs[same, 0])) == one.num_atoms


def _whole_pairs(crystal: Crystal, distance: float) -> tuple[Int64[np.ndarray, "p"], Int64[np.ndarray, "p"]]:
    """Return the pairs of different atoms within a distance that are more than one atom in all."""
    first = crystal.first_atoms
    try:
        pairs = close_pairs(crystal.fract[first], crystal.fract, metric_tensor(crystal.cell), distance)
    except ValueError:  # so many that some are too close
        pairs = np.zeros((1, 2), np.int64)
    atom, other = first[pairs[:, 0]], pairs[:, 1]
    is_whole = (atom != other) & (crystal.occupancy[atom] + crystal.occupancy[other] > MAX_OCCUPANCY)
    return atom[is_whole], other[is_whole]
