"""What the crystals of a training split look like: shapes and fullness of their cells, occupied positions, elements.

All of it is worked out when a run starts, from the crystals that it is given and from no others. Cells and sites are
brought into the reference setting of their group. Elements have volumes such that their sum is that of the cell, as
nearly as may be; *fullness* is the cell's own volume over that sum. A shape is ln(b/a), ln(c/a), cos α, cos β, cos γ.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import gemmi
import numpy as np
from jaxtyping import Float64, Int64, Integer

from xrdjax.crystals.elements import NUM_ELEMENTS, covalent_radii, neutral_numbers
from xrdjax.crystals.store import Atoms, CrystalStore
from xrdjax.crystals.symmetry import Operations, find_setting
from xrdjax.crystals.templates import TemplateKey, TemplateLibrary, template_key
from xrdjax.crystals.wyckoff import WyckoffTable

FITS = 6  # rounds of reweighting
PRIOR_WEIGHT = 3.0  # crystals that an element's prior volume is worth, about
VOLUME_RANGE = (2.0, 80.0)  # Å³ an atom


@dataclass(frozen=True, kw_only=True, eq=False)
class CrystalStatistics:
    """One row per crystal, of those whose setting is known.

    Attributes:
        space_group: its number.
        shape: ln(b/a), ln(c/a), cos α, cos β, cos γ in the reference setting.
        fullness: cell volume over the volume of the atoms.
        element_volume: (98,) Å³ an atom, by atomic number − 1.
        template: number in the library; −1 for one that is not there, or shares or part-fills a place.
        element_count: (98,) how many crystals have each element, by atomic number − 1.
        num_without_setting: crystals left out, for their setting is not in gemmi's tables.
    """

    space_group: Int64[np.ndarray, "crystals"]
    shape: Float64[np.ndarray, "crystals 5"]
    fullness: Float64[np.ndarray, "crystals"]
    element_volume: Float64[np.ndarray, "98"]
    template: Int64[np.ndarray, "crystals"]
    element_count: Int64[np.ndarray, "98"]
    num_without_setting: int


def crystal_statistics(
    store: CrystalStore, crystals: Integer[np.ndarray, "crystals"], library: TemplateLibrary, table: WyckoffTable
) -> CrystalStatistics:
    """Return the statistics of these crystals of a store, in seconds for tens of thousands."""
    atoms = store.expand()
    settings = list(_by_setting(store, crystals))
    numbers = np.concatenate([*(members for members, _ in settings), np.zeros(0, int)]).astype(int)
    content = _content(atoms, numbers)
    volume = np.sqrt(np.linalg.det(_metrics(store.cell[numbers])))
    element_volume = _element_volume(content, volume)
    shapes = [_shapes(store.cell[members], setting.rotation) for members, setting in settings]
    keys = [key for some in settings for key in _keys(store, atoms, *some, table)]
    return CrystalStatistics(
        space_group=store.columns.space_group[numbers].astype(int),
        shape=np.concatenate([*shapes, np.zeros((0, 5))]),
        fullness=volume / (content @ element_volume),
        element_volume=element_volume,
        template=np.array([-1 if key is None else library.number.get(key, -1) for key in keys], int),
        element_count=(content > 0).sum(axis=0),
        num_without_setting=len(crystals) - len(numbers),
    )


def template_keys(
    store: CrystalStore, crystals: Integer[np.ndarray, "crystals"], table: WyckoffTable
) -> list[TemplateKey]:
    """Return the keys of all crystals whose setting is known and whose places are whole, in no particular order."""
    atoms = store.expand()
    keys = (key for some in _by_setting(store, crystals) for key in _keys(store, atoms, *some, table))
    return [key for key in keys if key is not None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """How coordinates x become those of the reference setting: R x + t.

    Attributes:
        rotation: R, with fractions where cells have other volumes.
        shift: t.
    """

    rotation: Float64[np.ndarray, "3 3"]
    shift: Float64[np.ndarray, "3"]


def reference_setting(operations: Operations) -> Setting | None:
    """Return the way to the reference setting, None where gemmi does not know this one."""
    group = find_setting(operations)
    if group is None:
        return None
    back = group.basisop.inverse()
    return Setting(rotation=np.array(back.rot) / gemmi.Op.DEN, shift=np.array(back.tran) / gemmi.Op.DEN)


def _by_setting(
    store: CrystalStore, crystals: Integer[np.ndarray, "crystals"]
) -> Iterator[tuple[Integer[np.ndarray, "members"], Setting]]:
    """Yield the crystals of each setting, and the way from there to the reference setting, where it is known."""
    for number in np.unique(store.setting[crystals]):
        members = crystals[store.setting[crystals] == number]
        setting = reference_setting(store.crystal(int(members[0])).operations)
        if setting is not None:
            yield members, setting


def _shapes(cell: Float64[np.ndarray, "n 6"], rotation: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "n 5"]:
    """Return the shapes of cells in the reference setting: edges there are those here times the inverse of R."""
    back = np.linalg.inv(rotation)
    metric = back.T @ _metrics(cell) @ back
    edge = np.sqrt(np.diagonal(metric, axis1=1, axis2=2))
    cosine = metric / (edge[:, :, None] * edge[:, None])
    ratio = np.log(edge[:, 1:] / edge[:, :1])
    return np.concatenate([ratio, np.stack([cosine[:, 1, 2], cosine[:, 0, 2], cosine[:, 0, 1]], axis=1)], axis=1)


def _metrics(cell: Float64[np.ndarray, "n 6"]) -> Float64[np.ndarray, "n 3 3"]:
    """Return the dot products of the edges of many cells in Å²."""
    cos_alpha, cos_beta, cos_gamma = np.cos(np.deg2rad(cell[:, 3:])).T
    one = np.ones_like(cos_alpha)
    rows = [[one, cos_gamma, cos_beta], [cos_gamma, one, cos_alpha], [cos_beta, cos_alpha, one]]
    return np.moveaxis(np.array(rows), -1, 0) * (cell[:, :3, None] * cell[:, None, :3])


def _keys(
    store: CrystalStore, atoms: Atoms, crystals: Integer[np.ndarray, "n"], setting: Setting, table: WyckoffTable
) -> list[TemplateKey | None]:
    """Return the template key of each crystal of one setting; None where a place is shared, part-filled or unknown."""
    group = int(store.columns.space_group[crystals[0]])  # the one of the operations, whatever the label
    atom = _ranges(atoms.offset[crystals], atoms.offset[crystals + 1])
    size = atoms.offset[crystals + 1] - atoms.offset[crystals]
    owner = np.repeat(np.arange(len(crystals)), size)
    is_first = np.diff(owner * 2**32 + atoms.site[atom], prepend=-1) != 0
    site = np.cumsum(is_first) - 1
    expansion = round(1 / np.linalg.det(setting.rotation)) or 1
    fract, of_atom = _in_reference(atoms.fract[atom] / 2.0**32, site, setting, expansion)
    found = table.find(group, fract, of_atom, _multiplicity(np.bincount(site), setting))
    first = atom[is_first]
    species = neutral_numbers()[atoms.species[first]]
    is_whole = np.ones(len(crystals), bool)
    is_whole[owner[is_first][(found < 0) | (atoms.occupancy[first] < 1)]] = False
    stops = np.cumsum(np.bincount(owner[is_first], minlength=len(crystals)))
    spans = zip(np.append(0, stops[:-1]).tolist(), stops.tolist(), is_whole, strict=True)
    place, kind = found.tolist(), species.tolist()
    return [template_key(place[i:j], kind[i:j]) if whole else None for i, j, whole in spans]


def _multiplicity(num_atoms: Int64[np.ndarray, "sites"], setting: Setting) -> Int64[np.ndarray, "sites"]:
    """Return atoms per cell of the reference setting."""
    return np.rint(num_atoms / np.linalg.det(setting.rotation)).astype(int)


def _in_reference(
    fract: Float64[np.ndarray, "n 3"], site: Int64[np.ndarray, "n"], setting: Setting, expansion: int
) -> tuple[Float64[np.ndarray, "m 3"], Int64[np.ndarray, "m"]]:
    """Return coordinates in the reference setting and their sites; of a smaller cell, atoms of its neighbours too."""
    steps = np.arange(expansion if expansion > 1 else 1)
    cells = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    moved = (fract[:, None] + cells) @ setting.rotation.T + setting.shift
    return moved.reshape(-1, 3), np.repeat(site, len(cells))


def _ranges(start: Integer[np.ndarray, "n"], stop: Integer[np.ndarray, "n"]) -> Int64[np.ndarray, "m"]:
    """Return start[0] … stop[0] − 1, start[1] … and so on."""
    size = (stop - start).astype(int)
    return np.arange(size.sum()) + np.repeat(start - np.append(0, np.cumsum(size)[:-1]), size)


def _content(atoms: Atoms, crystals: Integer[np.ndarray, "n"]) -> Float64[np.ndarray, "n 98"]:
    """Return how many atoms of each element are in each cell."""
    atom = _ranges(atoms.offset[crystals], atoms.offset[crystals + 1])
    owner = np.repeat(np.arange(len(crystals)), atoms.offset[crystals + 1] - atoms.offset[crystals])
    place = owner * NUM_ELEMENTS + neutral_numbers()[atoms.species[atom]]
    amount = np.bincount(place, weights=atoms.occupancy[atom], minlength=len(crystals) * NUM_ELEMENTS)
    return amount.reshape(-1, NUM_ELEMENTS)


def _element_volume(
    content: Float64[np.ndarray, "n 98"], volume: Float64[np.ndarray, "n"]
) -> Float64[np.ndarray, "98"]:
    """Fit volumes of the elements to those of cells, relative misfits beyond 15 % counting less and less.

    Elements of few crystals stay near a sphere 0.4 Å larger than the covalent one.
    """
    prior = 4 / 3 * np.pi * (covalent_radii()[:NUM_ELEMENTS] + 0.4) ** 3
    share, weight, fitted = content / volume[:, None], np.ones(len(volume)), prior
    for _ in range(FITS):
        weighted = share * weight[:, None] ** 2
        square = share.T @ weighted + np.diag((PRIOR_WEIGHT / prior) ** 2)
        target = weighted.sum(axis=0) + PRIOR_WEIGHT**2 / prior
        fitted = np.clip(np.linalg.solve(square, target), *VOLUME_RANGE)
        weight = 1 / np.sqrt(1 + ((share @ fitted - 1) / 0.15) ** 2)
    return fitted
