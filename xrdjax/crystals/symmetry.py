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
from functools import lru_cache

import gemmi
import numpy as np
import spglib
from jaxtyping import Float64, Int8, Int64, Integer, UInt8
from scipy.spatial import KDTree

CRYSTAL_SYSTEMS = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal", "cubic")
MERGE_DISTANCE = 0.05  # Å; images of a site closer than this are one atom
AS_WRITTEN = 2e-8  # cycles; 5e-9 of rounding in the eighth decimal moves an image by up to three times as much
MAX_OPERATIONS = 192  # of the face-centred cubic groups; no conventional cell has more
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


def crystal_system_index(space_group: int | Integer[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
    """Return the index in `CRYSTAL_SYSTEMS` of each space-group number, 1 to 230."""
    return np.asarray(np.searchsorted(_LAST_GROUP_OF_SYSTEM, space_group))


@lru_cache(maxsize=4096)
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
    return cosines * np.outer(cell[:3], cell[:3])


def metric_mismatch(operations: Operations, metric: Float64[np.ndarray, "3 3"]) -> float:
    """Return the largest relative change of a squared edge or edge product under the operations; 0 where they agree."""
    rotation = operations.rotation.astype(float)
    edge = np.sqrt(np.diag(metric))
    return float(np.max(np.abs(rotation.swapaxes(1, 2) @ metric @ rotation - metric) / np.outer(edge, edge)))


def expand_site(
    fract: Float64[np.ndarray, "3"], operations: Operations, metric: Float64[np.ndarray, "3 3"]
) -> tuple[Float64[np.ndarray, "m 3"], Int64[np.ndarray, "m"]]:
    """Return the distinct images of a site in [0, 1) and the operation that makes each; the identity's comes first."""
    images = operations.apply(_special_position(fract, operations, metric))
    close = _squared_length(_shortest(images[:, None] - images), metric) < MERGE_DISTANCE**2
    operation = np.flatnonzero(close.argmax(axis=1) == np.arange(len(images)))
    return into_cell(images[operation]), operation


def into_cell(fract: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """Return the coordinates modulo 1, in [0, 1)."""
    reduced = fract - np.floor(fract)
    return np.where(reduced < 1, reduced, 0.0)  # −1e-17 rounds up to 1


def site_symmetry(fract: Float64[np.ndarray, "3"], operations: Operations) -> Int64[np.ndarray, "s"]:
    """Return the operations that leave an exactly placed site where it is, modulo the lattice."""
    return np.flatnonzero(np.abs(_shortest(operations.apply(fract) - fract)).max(axis=1) < 1e-6)


def isotropic_tensor(u_iso: float, metric: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "6"]:
    """Return the displacement tensor that is u_iso in all directions; cosines of α* β* γ* stand off the diagonal."""
    return u_iso * (np.linalg.inv(metric) / _reciprocal_edges(metric))[_ROW, _COLUMN]


def principal_displacements(
    u_aniso: Float64[np.ndarray, "6"], metric: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "3"]:
    """Return the mean-square displacements in Å² along the three axes of the ellipsoid; their mean is U_eq."""
    edges = np.linalg.cholesky(metric)
    return np.linalg.eigvalsh(edges.T @ _u_star(u_aniso, metric) @ edges)


def expand_tensor(
    u_aniso: Float64[np.ndarray, "6"],
    fract: Float64[np.ndarray, "3"],
    operation: Int64[np.ndarray, "m"],
    operations: Operations,
    metric: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, "m 6"]:
    """Return the displacement tensors of a site's images, from the exact place of the site.

    The tensor is first averaged over the operations that leave the site where it is: an image has one tensor, whichever
    operation leads there.
    """
    rotation = operations.rotation.astype(float)
    own = rotation[site_symmetry(fract, operations)]
    u_star = (own @ _u_star(u_aniso, metric) @ own.swapaxes(1, 2)).mean(axis=0)
    images = rotation[operation] @ u_star @ rotation[operation].swapaxes(1, 2)
    return (images / _reciprocal_edges(metric))[:, _ROW, _COLUMN]


def coincident_pairs(fract: Float64[np.ndarray, "n 3"], metric: Float64[np.ndarray, "3 3"]) -> Int64[np.ndarray, "p 2"]:
    """Return the pairs of atoms closer than `MERGE_DISTANCE`, across the cell's faces too.

    Raises ValueError where so many atoms share one place that the pairs would not fit in memory.
    """
    tree = KDTree(fract, boxsize=1.0)
    reach = MERGE_DISTANCE * np.sqrt(np.diag(np.linalg.inv(metric)).max())
    if tree.count_neighbors(tree, reach, p=np.inf) > 256 * len(fract):
        raise ValueError("hundreds of atoms share one place")
    pairs = tree.query_pairs(reach, p=np.inf, output_type="ndarray")
    distance2 = _squared_length(_shortest(fract[pairs[:, 0]] - fract[pairs[:, 1]]), metric)
    return pairs[distance2 < MERGE_DISTANCE**2]


def _u_star(u_aniso: Float64[np.ndarray, "6"], metric: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    """Return the tensor on the basis of the cell's edges, dimensionless."""
    u_star = np.empty((3, 3))
    u_star[_ROW, _COLUMN] = u_star[_COLUMN, _ROW] = u_aniso
    return u_star * _reciprocal_edges(metric)


def _reciprocal_edges(metric: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    """Return the products a*_i a*_j of lengths in Å⁻²."""
    edges = np.sqrt(np.diag(np.linalg.inv(metric)))
    return np.outer(edges, edges)


def _special_position(
    fract: Float64[np.ndarray, "3"], operations: Operations, metric: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "3"]:
    """Return the mean of a site's images that lie on it; repeated, for the first set of images may not be a group."""
    tolerance = AS_WRITTEN
    for _ in range(20):
        shift = _shortest(operations.apply(fract) - fract)
        shift = shift[_squared_length(shift, metric) < MERGE_DISTANCE**2]
        if np.abs(shift).max() < tolerance:
            return fract
        fract, tolerance = fract + shift.mean(axis=0), 1e-12
    raise ValueError(f"the images of a site at {fract.round(4).tolist()} crowd together around no special position")


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
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"symmetry operation '{triplet}' cannot be read: {error}") from None
    entries = [entry for row in operation.rot for entry in row]
    if any(entry % gemmi.Op.DEN for entry in entries):
        raise ValueError(f"symmetry operation '{triplet}' has a fraction where a whole number is expected")
    return (*(entry // gemmi.Op.DEN for entry in entries), *(shift % gemmi.Op.DEN for shift in operation.tran))


def _ordered(rows: Iterable[tuple[int, ...]]) -> Operations:
    """Return the rows as operations without repeats, in their order except that the identity leads."""
    identity = (1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
    distinct = np.array(sorted(dict.fromkeys(rows), key=lambda row: row != identity))
    return Operations(
        rotation=distinct[:, :9].reshape(-1, 3, 3).astype(np.int8), translation=distinct[:, 9:].astype(np.uint8)
    )


def _is_group(operations: Operations) -> bool:
    """Tell whether the list has the identity and the product of any two, modulo the lattice."""
    rotation, translation = operations.rotation.astype(int), operations.translation.astype(int)
    products = rotation[:, None] @ rotation
    shifts = ((rotation[:, None] @ translation[None, :, :, None])[..., 0] + translation[:, None]) % 24
    rows = np.concatenate([products.reshape(-1, 9), shifts.reshape(-1, 3)], axis=1)
    has_identity = np.array_equal(rotation[0], np.eye(3)) and not translation[0].any()
    return has_identity and len(np.unique(rows, axis=0)) == len(operations)


def _gemmi_operation(rotation: list[list[int]], translation: list[int]) -> gemmi.Op:
    operation = gemmi.Op("x,y,z")
    operation.rot = [[entry * gemmi.Op.DEN for entry in row] for row in rotation]
    operation.tran = translation
    return operation
