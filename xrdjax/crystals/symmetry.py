"""Space-group operations: which group a list of them is, and what they make of a site and of its displacement.

An operation maps fractional coordinates x to R x + t, with R of small integers and t in twenty-fourths. A site within
`MERGE_DISTANCE` of a special position is moved onto it, so that sums over its orbit extinguish absent reflections;
one written to eight decimals or more is there already and stays as written. Numbers of groups are those of ITC vol. A.

A displacement tensor is U11 U22 U33 U12 U13 U23 in Å², as in a CIF. With U*_ij = U_ij a*_i a*_j the amplitude of hkl
falls by exp(−2π² hᵀ U* h), and the image under R has the tensor R U* Rᵀ (Grosse-Kunstleve & Adams, J. Appl. Cryst. 35,
477, doi 10.1107/S0021889802008580).
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import gemmi
import numpy as np
import spglib
from jaxtyping import Bool, Float64, Int8, Int16, Int64, Integer, UInt8
from scipy.spatial import KDTree

CRYSTAL_SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
MERGE_DISTANCE = 0.05  # Å; images of a site closer than this are one atom
AS_WRITTEN = 2e-8  # cycles; 5e-9 of rounding in the eighth decimal moves an image by up to three times as much
MAX_OPERATIONS = 192  # of the face-centred cubic groups; no conventional cell has more
_LARGEST_ENTRY = 7  # of a rotation; no setting in use has more than 2, and products must not collide as keys
_LETTERS = frozenset("xyzXYZ0123456789+-*/., ()")  # gemmi would also take h,k,l and a,b,c, which mean other things
_IMAGES_AT_ONCE = 100_000  # bounds the memory of the images of many sites to some 10 MB
_DENSE_PAIRS = 30_000  # distances computed directly; more are searched for with a tree
_MOST_PAIRS = 2_000_000
_MOST_IN_A_BOX = 512
_CROWD = "hundreds of atoms share one place"
_LAST_GROUP_OF_SYSTEM = (2, 15, 74, 142, 167, 194)
_ROW, _COLUMN = (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)  # of the six numbers in the tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Operations:
    """A list of symmetry operations, the identity first, centring translations multiplied in.

    Attributes:
        rotation: (k, 3, 3), acting on columns of fractional coordinates.
        translation: (k, 3) in 1/24 of a cell edge, 0 to 23.
    """

    rotation: Int8[np.ndarray, "k 3 3"]
    translation: UInt8[np.ndarray, "k 3"]

    def __len__(self) -> int:
        """Return the number of operations."""
        return len(self.rotation)

    def apply(self, fract: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "k 3"]:
        """Return the images of one point, not reduced modulo 1."""
        return self.rotation @ fract + self.translation / 24

    def images(self, fract: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n k 3"]:
        """Return the images of many points, not reduced modulo 1."""
        return (fract @ self._stacked).reshape(len(fract), len(self), 3) + self._shift

    @cached_property
    def products(self) -> Int16[np.ndarray, "k k"]:
        """Which operation it is to do first the column's, then the row's, modulo the lattice; −1 where it is none."""
        rotation, translation = self.rotation.astype(float), self.translation.astype(float)
        k = len(self)
        products = (rotation.reshape(3 * k, 3) @ rotation.swapaxes(0, 1).reshape(3, 3 * k)).reshape(k, 3, k, 3)
        shifts = (rotation.reshape(3 * k, 3) @ translation.T).reshape(k, 3, k).swapaxes(1, 2) + translation[:, None]
        keys = _keys(products.swapaxes(1, 2).reshape(k, k, 9), shifts)
        own = _keys(rotation.reshape(k, 9), translation)
        order = np.argsort(own)
        found = order[np.minimum(np.searchsorted(own, keys, sorter=order), k - 1)]
        return np.where(own[found] == keys, found, -1).astype(np.int16)

    def orbit(self, stabiliser: Bool[np.ndarray, "k"]) -> Int64[np.ndarray, "m"]:
        """Return the first operation that leads to each image of a point which the marked operations leave in place."""
        key = stabiliser.tobytes()
        if key not in self._orbits:
            first = self.products[:, stabiliser].min(axis=1)  # op and op·s, for s in the stabiliser, lead to one image
            self._orbits[key] = np.flatnonzero(first == np.arange(len(self)))
        return self._orbits[key]

    @cached_property
    def _orbits(self) -> dict[bytes, Int64[np.ndarray, "m"]]:
        return {}

    @cached_property
    def _stacked(self) -> Float64[np.ndarray, "3 m"]:
        return np.ascontiguousarray(self.rotation.reshape(-1, 3).T.astype(float))

    @cached_property
    def _shift(self) -> Float64[np.ndarray, "k 3"]:
        return self.translation / 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Orbits:
    """The images of n sites under k operations.

    Attributes:
        fract: (m, 3) in [0, 1), the images of one site together; the identity's comes first.
        site: (m,) number of the site.
        operation: (m,) the first operation that makes the image.
        stabiliser: (n, k) whether the operation leaves the site where it is.
    """

    fract: Float64[np.ndarray, "m 3"]
    site: Int64[np.ndarray, "m"]
    operation: Int64[np.ndarray, "m"]
    stabiliser: Bool[np.ndarray, "n k"]


def crystal_system_index(space_group: int | Integer[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
    """Return the index in `CRYSTAL_SYSTEMS` of each space-group number, 1 to 230."""
    return np.asarray(np.searchsorted(_LAST_GROUP_OF_SYSTEM, space_group))


@lru_cache(maxsize=1024)
def operations_from_triplets(triplets: tuple[str, ...]) -> tuple[Operations, int]:
    """Return the operations written as "-x,y+1/2,-z" and the number of their group, in whatever setting.

    Raises ValueError for a triplet that cannot be read and for a list that is not a group.
    """
    operations = _ordered([_parse_triplet(triplet) for triplet in triplets])
    if len(operations) > MAX_OPERATIONS:
        raise ValueError(f"{len(operations)} symmetry operations; a conventional cell has at most {MAX_OPERATIONS}")
    if not _is_group(operations):
        raise ValueError(f"the {len(operations)} symmetry operations do not form a group; list all of them")
    return operations, group_number(operations)


def group_number(operations: Operations) -> int:
    """Return the space-group number, 1 to 230; raise ValueError where none is found."""
    known = find_setting(operations)
    if known is not None:
        return known.number
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # spglib announces how it will fail
            found = spglib.get_spacegroup_type_from_symmetry(operations.rotation, operations.translation / 24)
    except spglib.SpglibError:
        found = None
    if found is None:
        raise ValueError("the symmetry operations are those of no space group")
    return found.number


def find_setting(operations: Operations) -> gemmi.SpaceGroup | None:
    """Return the setting in gemmi's tables that has these operations, None for one that is not there."""
    matrices = zip(operations.rotation.tolist(), operations.translation.tolist(), strict=True)
    return gemmi.find_spacegroup_by_ops(gemmi.GroupOps([_gemmi_operation(r, t) for r, t in matrices]))


def metric_tensor(cell: Float64[np.ndarray, "6"]) -> Float64[np.ndarray, "3 3"]:
    """Return the dot products of the cell's edges in Å², from lengths in Å and angles in degrees."""
    cos_alpha, cos_beta, cos_gamma = np.cos(np.deg2rad(cell[3:]))
    cosines = np.array([[1, cos_gamma, cos_beta], [cos_gamma, 1, cos_alpha], [cos_beta, cos_alpha, 1]])
    return cosines * (cell[:3, None] * cell[:3])


def metric_mismatch(operations: Operations, metric: Float64[np.ndarray, "3 3"]) -> float:
    """Return the largest relative change of a squared edge or edge product under the operations; 0 where they agree."""
    rotation = operations.rotation.astype(float)
    edge = np.sqrt(metric.diagonal())
    return float(np.max(np.abs(rotation.swapaxes(1, 2) @ metric @ rotation - metric) / (edge[:, None] * edge)))


def expand_sites(
    fract: Float64[np.ndarray, "n 3"], operations: Operations, metric: Float64[np.ndarray, "3 3"], *, most_atoms: int
) -> Orbits:
    """Return the distinct images of all sites in [0, 1). Raises ValueError where they are more than `most_atoms`."""
    step = max(1, _IMAGES_AT_ONCE // len(operations))
    images, stabilisers, orbits, num_atoms = [], [], [], 0
    for start in range(0, len(fract), step):
        all_images, stabiliser = _special_positions(fract[start : start + step], operations, metric)
        orbit = [operations.orbit(own) for own in stabiliser]
        index = np.repeat(np.arange(len(orbit)), [len(own) for own in orbit])
        images.append(into_cell(all_images[index, np.concatenate(orbit)]))
        orbits += orbit
        stabilisers.append(stabiliser)
        num_atoms += len(index)
        if num_atoms > most_atoms:
            raise ValueError(f"more than {most_atoms} atoms in the cell")
    return Orbits(
        fract=np.concatenate(images),
        site=np.repeat(np.arange(len(orbits)), [len(own) for own in orbits]),
        operation=np.concatenate(orbits),
        stabiliser=np.concatenate(stabilisers),
    )


def into_cell(fract: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """Return the coordinates modulo 1, in [0, 1)."""
    reduced = fract - np.floor(fract)
    return np.where(reduced < 1, reduced, 0.0)  # −1e-17 rounds up to 1


def stabilisers(fract: Float64[np.ndarray, "n 3"], operations: Operations) -> Bool[np.ndarray, "n k"]:
    """Return which operations leave exactly placed sites where they are, modulo the lattice."""
    return np.abs(_shortest(operations.images(fract) - fract[:, None])).max(axis=-1) < 1e-6


def isotropic_tensors(
    u_iso: Float64[np.ndarray, "n"], metric: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "n 6"]:
    """Return the displacement tensors that are u_iso in all directions; cosines of α* β* γ* stand off the diagonal."""
    return u_iso[:, None] * (np.linalg.inv(metric) / _reciprocal_edges(metric))[_ROW, _COLUMN]


def principal_displacements(
    u_aniso: Float64[np.ndarray, "n 6"], metric: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "n 3"]:
    """Return the mean-square displacements in Å² along the three axes of each ellipsoid; their mean is U_eq."""
    edges = np.linalg.cholesky(metric)
    return np.linalg.eigvalsh(edges.T @ _u_star(u_aniso, metric) @ edges)


def expand_tensors(
    u_aniso: Float64[np.ndarray, "n 6"],
    orbits: Orbits,
    operations: Operations,
    metric: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, "m 6"]:
    """Return the displacement tensors of the images of all sites.

    A tensor is first averaged over the operations that leave its site where it is: an image has one tensor, whichever
    operation leads there.
    """
    rotation = operations.rotation.astype(float)
    u_star = _u_star(u_aniso, metric)
    for site in np.flatnonzero(orbits.stabiliser.sum(axis=1) > 1):
        own = rotation[orbits.stabiliser[site]]
        u_star[site] = (own @ u_star[site] @ own.swapaxes(1, 2)).mean(axis=0)
    turn = rotation[orbits.operation]
    images = turn @ u_star[orbits.site] @ turn.swapaxes(1, 2)
    return (images / _reciprocal_edges(metric))[:, _ROW, _COLUMN]


def coincident_pairs(fract: Float64[np.ndarray, "n 3"], metric: Float64[np.ndarray, "3 3"]) -> Int64[np.ndarray, "p 2"]:
    """Return the pairs of atoms closer than `MERGE_DISTANCE`, each once. Raises ValueError as `close_pairs` does."""
    pairs = close_pairs(fract, fract, metric)
    return pairs[pairs[:, 0] < pairs[:, 1]]


def squared_distance(
    one: Float64[np.ndarray, "p 3"], other: Float64[np.ndarray, "p 3"], metric: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "p"]:
    """Return the squared distances in Å² of pairs, each coordinate across the cell's faces where that is shorter."""
    return _squared_length(_shortest(one - other), metric)


def close_pairs(
    points: Float64[np.ndarray, "n 3"],
    fract: Float64[np.ndarray, "m 3"],
    metric: Float64[np.ndarray, "3 3"],
    distance: float = MERGE_DISTANCE,
) -> Int64[np.ndarray, "p 2"]:
    """Return the pairs of a point and an atom closer than the distance in Å, across the cell's faces too.

    Raises ValueError where so many atoms share one place that the pairs would not fit in memory.
    """
    if len(points) * len(fract) <= _DENSE_PAIRS:
        return np.argwhere(_squared_length(_shortest(points[:, None] - fract), metric) < distance**2)
    reach = min(distance * np.sqrt(np.diag(np.linalg.inv(metric)).max()), 0.5)
    _refuse_crowd(points, reach)
    tree, atoms = KDTree(points, boxsize=1.0), KDTree(fract, boxsize=1.0)
    if tree.count_neighbors(atoms, reach, p=np.inf) > min(256 * (len(points) + 256), _MOST_PAIRS):
        raise ValueError(_CROWD)
    near = tree.sparse_distance_matrix(atoms, reach, p=np.inf, output_type="ndarray")
    pairs = np.stack([near["i"], near["j"]], axis=1).astype(np.int64)
    kept = pairs[squared_distance(points[pairs[:, 0]], fract[pairs[:, 1]], metric) < distance**2]
    return kept[np.lexsort((kept[:, 1], kept[:, 0]))]


def _refuse_crowd(points: Float64[np.ndarray, "n 3"], reach: float) -> None:
    """Refuse hundreds of points in one box of the reach: a tree cannot part them, and takes the square of the time."""
    boxes = np.floor(points / reach).astype(np.int64) @ np.array([1, 2**20, 2**40])
    if np.unique(boxes, return_counts=True)[1].max() > _MOST_IN_A_BOX:
        raise ValueError(_CROWD)


def _u_star(u_aniso: Float64[np.ndarray, "n 6"], metric: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "n 3 3"]:
    """Return the tensors on the basis of the cell's edges, dimensionless."""
    u_star = np.empty((len(u_aniso), 3, 3))
    u_star[:, _ROW, _COLUMN] = u_star[:, _COLUMN, _ROW] = u_aniso
    return u_star * _reciprocal_edges(metric)


def _reciprocal_edges(metric: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    """Return the products a*_i a*_j of lengths in Å⁻²."""
    edges = np.sqrt(np.diag(np.linalg.inv(metric)))
    return np.outer(edges, edges)


def _special_positions(
    fract: Float64[np.ndarray, "n 3"], operations: Operations, metric: Float64[np.ndarray, "3 3"]
) -> tuple[Float64[np.ndarray, "n k 3"], Bool[np.ndarray, "n k"]]:
    """Return the images of each site and which of them lie on it, once it is at the mean of those that do.

    Repeated, for the first set of images may not be a group.
    """
    images, near, mean, largest = _settle(fract, operations, metric)
    moving = np.flatnonzero(largest >= AS_WRITTEN)
    fract = fract.copy()
    for _ in range(19):
        if not len(moving):
            return images, near
        fract[moving] += mean[moving]
        images[moving], near[moving], mean[moving], largest[moving] = _settle(fract[moving], operations, metric)
        moving = moving[largest[moving] >= 1e-12]
    if not len(moving):
        return images, near
    raise ValueError(f"the images of a site at {fract[moving[0]].round(4).tolist()} crowd around no special position")


def _settle(
    fract: Float64[np.ndarray, "n 3"], operations: Operations, metric: Float64[np.ndarray, "3 3"]
) -> tuple[Float64[np.ndarray, "n k 3"], Bool[np.ndarray, "n k"], Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n"]]:
    """Return the images of each site, which lie on it, and the mean and the largest of the shifts to those."""
    images = operations.images(fract)
    shift = _shortest(images - fract[:, None])
    near = _squared_length(shift, metric) < MERGE_DISTANCE**2
    shift *= near[..., None]
    mean = shift.sum(axis=1) / near.sum(axis=1)[:, None]
    return images, near, mean, np.abs(shift).max(axis=(1, 2))


def _shortest(difference: Float64[np.ndarray, "... 3"]) -> Float64[np.ndarray, "... 3"]:
    return difference - np.round(difference)


def _squared_length(
    difference: Float64[np.ndarray, "... 3"], metric: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "..."]:
    return ((difference @ metric) * difference).sum(axis=-1)


def _parse_triplet(triplet: str) -> tuple[int, ...]:
    """Return rotation (9) and translation (3) of one operation as a row."""
    try:
        operation = gemmi.Op(triplet)
        entries = [entry for row in operation.rot for entry in row]
        if not _LETTERS.issuperset(triplet):
            raise ValueError("expected x, y and z")
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"symmetry operation '{triplet[:40]}' cannot be read: {error}") from None
    if any(entry % gemmi.Op.DEN for entry in entries):
        raise ValueError(f"symmetry operation '{triplet[:40]}' has a fraction where a whole number is expected")
    entries = [entry // gemmi.Op.DEN for entry in entries]
    if max(entries) > _LARGEST_ENTRY or min(entries) < -_LARGEST_ENTRY:
        raise ValueError(f"symmetry operation '{triplet[:40]}' has a number that no setting of a group needs")
    if abs(_determinant(*entries)) != 1:
        raise ValueError(f"symmetry operation '{triplet[:40]}' changes volumes; no symmetry does")
    return (*entries, *(shift % gemmi.Op.DEN for shift in operation.tran))


def _determinant(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, i: int) -> int:
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _ordered(rows: Iterable[tuple[int, ...]]) -> Operations:
    """Return the rows as operations without repeats, in their order except that the identity leads."""
    identity = (1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
    distinct = np.array(sorted(dict.fromkeys(rows), key=lambda row: row != identity))
    return Operations(
        rotation=distinct[:, :9].reshape(-1, 3, 3).astype(np.int8), translation=distinct[:, 9:].astype(np.uint8)
    )


def _is_group(operations: Operations) -> bool:
    """Tell whether the list has the identity and the product of any two, modulo the lattice."""
    has_identity = np.array_equal(operations.rotation[0], np.eye(3)) and not operations.translation[0].any()
    return has_identity and bool((operations.products >= 0).all())


def _keys(
    rotation: Float64[np.ndarray, "... 9"], translation: Float64[np.ndarray, "... 3"]
) -> Int64[np.ndarray, "..."]:
    """Return one number for each operation, equal where they agree modulo the lattice; −1 for entries out of range."""
    digits = rotation @ 16.0 ** np.arange(9) + 8 * (16.0**9 - 1) / 15
    keys = (translation % 24) @ np.array([1.0, 24, 24**2]) + 24**3 * digits  # below 2^51: exact
    return np.where(np.abs(rotation).max(axis=-1) <= _LARGEST_ENTRY, keys, -1).astype(np.int64)


def _gemmi_operation(rotation: list[list[int]], translation: list[int]) -> gemmi.Op:
    operation = gemmi.Op("x,y,z")
    operation.rot = [[entry * gemmi.Op.DEN for entry in row] for row in rotation]
    operation.tran = translation
    return operation
