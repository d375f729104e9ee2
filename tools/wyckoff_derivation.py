"""Derive the Wyckoff positions of a space group from its operations alone.

A position is an orbit of affine subspaces x = D p + s, each fixed point by point by its site-symmetry group. A plane
is fixed by a mirror, a line by a rotation (two mirrors that meet in a line make one), so both are fixed by single
operations with lattice translations. A point is fixed by an inversion or rotoinversion, or lies on a rotation axis.
Translations are whole numbers of twenty-fourths of an edge; every special position has a point among those.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from xrdjax.crystals.symmetry import Operations
from xrdjax.crystals.wyckoff import annihilator, complement, primitive

LARGEST_SHIFT = 4  # lattice translations along an edge that bring a fixed subspace into the first cell
UNIT = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Position:
    """One Wyckoff position by a representative.

    Attributes:
        free: (3, d) integer directions D of the d free coordinates; with p in [0, 1)^d they cover all of it.
        shift: (3,) s in 1/24 of an edge.
        orbit: (m,) the operations whose images of D p + s are all of them, each once; the identity first.
    """

    free: Int64[np.ndarray, "3 d"]
    shift: Int64[np.ndarray, "3"]
    orbit: Int64[np.ndarray, "m"]


def wyckoff_positions(operations: Operations) -> list[Position]:
    """Return all positions, by descending freedom, then multiplicity."""
    rotation, translation = operations.rotation.astype(int), operations.translation.astype(int)
    seen: set[tuple] = set()
    positions = []
    for free, shift in _candidates(rotation, translation):
        if _key(free, shift) not in seen:
            images = list(_images(free, shift, rotation, translation))
            seen.update(_key(*image) for image in images)
            positions.append(_nicest(images, rotation, translation))
    return sorted(positions, key=lambda position: (-position.free.shape[1], -len(position.orbit)))


def _candidates(rotation: np.ndarray, translation: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the whole of space, then planes, lines and points that operations fix, with repeats."""
    fixed: list[list[tuple[np.ndarray, np.ndarray]]] = [[], [], [], []]
    for r, t in zip(rotation, translation, strict=True):
        directions = _fixed_directions(r)
        for place in _fixed_places(r, t, annihilator(directions)):
            fixed[directions.shape[1]].append((directions, place))
    lines = {_key(*line): line for line in fixed[1]}
    for directions, place in lines.values():
        for step in range(UNIT):
            point = place + step * directions[:, 0]
            if _freedom(point, rotation, translation) == 0:
                fixed[0].append((np.zeros((3, 0), int), point))
    for dimension in (3, 2, 1, 0):
        yield from fixed[dimension]


def _fixed_directions(rotation: np.ndarray) -> Int64[np.ndarray, "3 d"]:
    """Return a primitive basis of the vectors that a rotation leaves as they are."""
    moved = rotation - np.eye(3, dtype=int)
    rank = np.linalg.matrix_rank(moved)
    if rank in (0, 3):
        return np.eye(3, dtype=int)[:, : 3 - rank]
    rows = moved[np.abs(moved).any(axis=1)]
    if rank == 1:
        return complement(primitive(rows[0])).T
    crosses = np.array([np.cross(one, other) for one in rows for other in rows])
    return primitive(crosses[np.abs(crosses).any(axis=1)][0])[:, None]


def _fixed_places(rotation: np.ndarray, translation: np.ndarray, q: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a point in 1/24 of each subspace that the operation, with any lattice translation, leaves in place."""
    order = next(m for m in (1, 2, 3, 4, 6) if np.array_equal(np.linalg.matrix_power(rotation, m), np.eye(3)))
    cells = np.arange(-LARGEST_SHIFT, LARGEST_SHIFT + 1)
    moves = translation + UNIT * np.stack(np.meshgrid(cells, cells, cells, indexing="ij"), -1).reshape(-1, 3)
    image, total = np.zeros_like(moves), np.zeros_like(moves)
    for _ in range(order):
        total += image
        image = image @ rotation.T + moves
    centres = total[~image.any(axis=1)]  # order times the mean of an orbit; where order steps lead back, it is fixed
    across = np.unique(centres @ q.T % (order * UNIT), axis=0)
    assert not (across % order).any(), "a fixed subspace without a point in twenty-fourths"
    inverse = np.rint(np.linalg.pinv(q)).astype(int) if len(q) == 3 else _right_inverse(q)
    yield from across // order @ inverse.T


def _right_inverse(q: np.ndarray) -> Int64[np.ndarray, "3 c"]:
    """Return integers X with Q X = 1; entries within ±2 do for the rows that occur."""
    entries = np.arange(-2, 3)
    vectors = np.stack(np.meshgrid(entries, entries, entries, indexing="ij"), -1).reshape(-1, 3)
    vectors = vectors[np.argsort(np.abs(vectors).sum(axis=1), kind="stable")]
    products = vectors @ q.T
    columns = [vectors[(products == row).all(axis=1)][0] for row in np.eye(len(q), dtype=int)]
    return np.array(columns, int).reshape(-1, 3).T


def _freedom(point: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> int:
    """Return the dimension of the subspace around a point that the point's own site symmetry leaves in place."""
    keeps = ((rotation @ point + translation - point) % UNIT == 0).all(axis=1)
    return round(np.trace(rotation[keeps], axis1=1, axis2=2).mean())


def _images(
    free: np.ndarray, shift: np.ndarray, rotation: np.ndarray, translation: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for r, t in zip(rotation, translation, strict=True):
        yield r @ free, (r @ shift + t) % UNIT


def _key(free: np.ndarray, shift: np.ndarray) -> tuple:
    """Return what all descriptions of one subspace modulo the lattice have in common."""
    q = annihilator(free)
    return free.shape[1], tuple(q.ravel().tolist()), tuple((q @ shift % UNIT).tolist())


def _nicest(images: list, rotation: np.ndarray, translation: np.ndarray) -> Position:
    """Return the position by its image with the smallest numbers, brought near the origin along its directions."""

    def near_origin(free: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        free = np.stack([primitive(column) for column in free.T], axis=1) if free.shape[1] else free
        q = annihilator(free)
        if not len(q):
            return np.eye(3, dtype=int), np.zeros(3, int)
        return free, (_right_inverse(q) @ (q @ shift % UNIT)) % UNIT

    def cost(image: tuple[np.ndarray, np.ndarray]) -> tuple:
        free, shift = image
        return np.count_nonzero(free), int((free < 0).sum()), np.count_nonzero(shift), shift.sum(), shift.tolist()

    free, shift = min((near_origin(*image) for image in images), key=cost)
    generic = np.concatenate([rotation @ free, ((rotation @ shift + translation) % UNIT)[:, :, None]], axis=2)
    _, first = np.unique(generic.reshape(len(rotation), -1), axis=0, return_index=True)
    return Position(free=free, shift=shift, orbit=np.sort(first))
