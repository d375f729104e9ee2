"""Which crystals of a store are the same structure as an earlier one, whatever they are called.

Two crystals are the same if they share structure type and composition, and if for each pair of elements the distances
from atoms of the one to the first, second, … `NUM_NEIGHBOURS`th neighbour of the other agree within `TOLERANCE`, in
their mean and in their spread over the atoms. Such distances do not depend on setting, origin or cell; without
regard to elements their means are the average minimum distances of Widdowson et al., MATCH 87, 529 (2022), doi
10.46793/match.87-3.529W. Two hands of one structure count as the same where they share the space group. Crystals whose
volumes differ by more than the distances may are not compared.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from scipy.spatial import KDTree
from tqdm import tqdm

from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import SPECIES, element_of
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import MERGE_DISTANCE, metric_tensor

NUM_NEIGHBOURS = 12
TOLERANCE = 0.01  # of a distance; far below what sets polymorphs apart, above what redeterminations differ by
_VOLUME_TOLERANCE = (1 + TOLERANCE) ** 3 - 1


def find_duplicates(store: CrystalStore) -> Int64[np.ndarray, "n"]:
    """Return for each crystal the number of the first one of the same structure, its own where it is the first."""
    duplicate_of = np.arange(len(store))
    contents, volume = _contents(store), _volume_per_atom(store)

    @lru_cache(maxsize=1024)
    def distances(index: int) -> Float64[np.ndarray, "..."]:
        return neighbour_distances(store.crystal(index))

    def is_same(index: int, other: int) -> bool:
        near = abs(volume[index] / volume[other] - 1) < _VOLUME_TOLERANCE
        return bool(near and np.abs(distances(index) / distances(other) - 1).max() < TOLERANCE)

    # Said in a terminal only, and only where it takes seconds.
    for members in tqdm(_alike(store), desc="Comparing", unit="type", disable=None, leave=False, delay=2):
        first_with: dict[bytes, int] = {}
        for member in members.tolist():
            content = contents(member)
            if content not in first_with:
                earlier = sorted(set(first_with.values()))
                first_with[content] = next((other for other in earlier if is_same(member, other)), member)
            duplicate_of[member] = first_with[content]
    return duplicate_of


def neighbour_distances(crystal: Crystal) -> Float64[np.ndarray, "elements elements moments neighbours"]:
    """Return mean and root mean square, in Å, of the distances from one element's atoms to those of another.

    Elements are in alphabetical order. An atom is no neighbour of itself; another at its place is.
    """
    basis = np.linalg.cholesky(metric_tensor(crystal.cell))
    first = crystal.first_atoms
    element = np.array([element_of(name) for name in crystal.species])
    weight = np.bincount(crystal.site, minlength=len(first)) * crystal.occupancy[first]
    elements = np.unique(element)
    to_element = [_nearest(crystal.fract[element == name], crystal.fract[first], basis) for name in elements]
    moments = []
    for name in elements:
        own = element[first] == name
        for other, distance in zip(elements, to_element, strict=True):
            near = distance[own][:, 1:] if other == name else distance[own][:, :-1]
            near = np.maximum(near, MERGE_DISTANCE)  # of sharers of a place, so that ratios mean something
            moments.append([np.average(near**power, axis=0, weights=weight[own]) ** (1 / power) for power in (1, 2)])
    return np.array(moments).reshape(len(elements), len(elements), 2, NUM_NEIGHBOURS)


def _nearest(
    fract: Float64[np.ndarray, "atoms 3"], centre: Float64[np.ndarray, "sites 3"], basis: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "sites neighbours"]:
    """Return the distances from each site to its nearest atoms, itself included, one more than are compared.

    All images within a reach are looked at; one that does not hold enough neighbours is widened until it does.
    """
    height = 1 / np.linalg.norm(np.linalg.inv(basis), axis=0)
    reach = 1.5 * (NUM_NEIGHBOURS * abs(np.linalg.det(basis)) / len(fract)) ** (1 / 3)
    while True:
        around = [np.arange(-n, n + 1) for n in np.ceil(reach / height).astype(int)]
        shift = np.stack(np.meshgrid(*around, indexing="ij"), axis=-1).reshape(-1, 3)
        tree = KDTree((fract + shift[:, None]).reshape(-1, 3) @ basis)
        distance = tree.query(centre @ basis, k=NUM_NEIGHBOURS + 1)[0]
        if distance.max() <= reach:
            return distance
        reach = 1.01 * min(distance.max(), 2 * reach)


def _alike(store: CrystalStore) -> list[Int64[np.ndarray, "members"]]:
    """Return the groups of crystals, two or more each, that share structure type and composition."""
    key = np.stack([store.structure_type.astype(np.uint64), _composition(store)], axis=1)
    _, group, size = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.cumsum(size)[:-1])
    return [alike for alike in members if len(alike) > 1]


def _composition(store: CrystalStore) -> Shaped[np.ndarray, "n"]:
    """Return a number that equal compositions share: atomic fractions along a random direction, in hundredths."""
    columns = store.columns
    direction = np.random.default_rng(0).uniform(0, 100, len(SPECIES))
    element = np.array([SPECIES.index(element_of(name)) for name in columns.species])
    num_images = np.diff(columns.orbit_offset.astype(np.int64))[columns.site_orbit]
    amount = num_images * columns.site_occupancy.astype(float)
    first = columns.crystal_offset[:-1].astype(np.int64)
    projection = np.add.reduceat(amount * direction[element[columns.site_species]], first)
    return np.rint(100 * projection / np.add.reduceat(amount, first)).astype(np.uint64)


def _volume_per_atom(store: CrystalStore) -> Float64[np.ndarray, "n"]:
    cosine = np.cos(np.deg2rad(store.cell[:, 3:]))
    part = 1 - (cosine**2).sum(axis=1) + 2 * cosine.prod(axis=1)
    return store.cell[:, :3].prod(axis=1) * np.sqrt(part) / store.num_atoms


def _contents(store: CrystalStore) -> Callable[[int], bytes]:
    """Return a function that gives cell and sites of a crystal as they lie in the store."""
    columns = store.columns

    def content(index: int) -> bytes:
        sites = slice(*columns.crystal_offset[index : index + 2].tolist())
        by_site = (columns.site_fract, columns.site_species, columns.site_occupancy, columns.site_orbit)
        return columns.cell[index].tobytes() + b"".join(values[sites].tobytes() for values in by_site)

    return content
