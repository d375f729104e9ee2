"""What the zero layer of a zone says of the space group by its symmetry and its absent reflections alone.

The layer perpendicular to [uvw] is a plane lattice. With Friedel's law its intensities have one of six symmetries, 2,
2mm, 4, 4mm, 6 or 6mm: the rotations of the Laue class that keep [uvw] or turn it round. What a centring or a glide
plane parallel to the layer extinguishes leaves no trace but a wider lattice: the lattice of a picture is that of its
visible spots, primitive or, with symmetry 2mm, perhaps centred. What else is seen is single rows through the centre
that show only every n-th of their spots: on mirror lines (glide planes upright on the layer, screw axes in it), or
between them (those that are no symmetry of the layer, such as a glide plane in a slanting view).

`zone_signs` is what a picture shows without its lengths and angles. `indexed_signs` is what those know who can name hkl
for each spot, and so the cell's axes.
"""

from dataclasses import dataclass
from math import gcd
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from xrdjax.config import Axis
from xrdjax.crystals.friedel import is_absent, laue_rotations
from xrdjax.crystals.symmetry import Operations
from xrdjax.diffraction.zone import zone_basis

PlaneSymmetry = Literal["2", "2mm", "4", "4mm", "6", "6mm"]
_SYMMETRY: dict[tuple[int, int], PlaneSymmetry] = {
    (2, 0): "2", (4, 2): "2mm", (4, 0): "4", (8, 4): "4mm", (6, 0): "6", (12, 6): "6mm",
}  # fmt: skip
_PERIOD = 24  # spots along any row after which absences repeat: shifts are twenty-fourths
_CELLS = np.stack(np.meshgrid(*[np.arange(_PERIOD)] * 2), axis=-1).reshape(-1, 2)


@dataclass(frozen=True, kw_only=True)
class ZoneSigns:
    """What a picture shows; groups with equal signs cannot be told apart by it."""

    symmetry: PlaneSymmetry
    is_centred: bool
    """Whether, with symmetry 2mm, a spot is in the middle of the smallest rectangle along the mirror lines."""
    mirror_rows: tuple[int, ...]
    """n of each row on a mirror line that shows only every n-th spot, ascending."""
    other_rows: tuple[int, ...]
    """The same of the rows between mirror lines."""


@dataclass(frozen=True, kw_only=True)
class IndexedSigns:
    """What is known where each spot has its name."""

    rotations: tuple[tuple[int, ...], ...]
    """Where each operation of the layer's symmetry takes a basis of it."""
    lattice: bytes
    """Which spots of 24 × 24 cells are visible but for single rows."""
    rows: tuple[tuple[int, int, int], ...]
    """Direction of each row that shows only every n-th spot, and n."""


@dataclass(frozen=True, kw_only=True)
class _Layer:
    rotations: Int[np.ndarray, "m 2 3"]
    mirrors: set[tuple[int, int]]
    visible: Bool[np.ndarray, "cells"]
    rows: dict[tuple[int, int], int]
    steps: dict[tuple[int, int], int]
    """How many of the plane's spots apart those of the lattice are, along each mirror line."""


def zone_signs(operations: Operations, uvw: Axis) -> ZoneSigns:
    """Return what a picture along a coprime axis shows of a group."""
    layer = _layer(operations, uvw)
    return ZoneSigns(
        symmetry=_SYMMETRY[len(layer.rotations), len(layer.mirrors)],
        is_centred=_is_centred(layer),
        mirror_rows=tuple(sorted(n for row, n in layer.rows.items() if row in layer.mirrors)),
        other_rows=tuple(sorted(n for row, n in layer.rows.items() if row not in layer.mirrors)),
    )


def indexed_signs(operations: Operations, uvw: Axis) -> IndexedSigns:
    """Return what a picture along a coprime axis shows of a group to somebody who can name its spots."""
    layer = _layer(operations, uvw)
    return IndexedSigns(
        rotations=tuple(map(tuple, layer.rotations.reshape(-1, 6).tolist())),
        lattice=np.packbits(layer.visible).tobytes(),
        rows=tuple(sorted((*row, n) for row, n in layer.rows.items())),
    )


def _layer(operations: Operations, uvw: Axis) -> _Layer:
    plane = zone_basis(uvw)[:2].astype(int)
    laue = laue_rotations(operations)
    turned = laue @ np.array(uvw)
    keeps = (turned == uvw).all(axis=1) | (turned == -np.array(uvw)).all(axis=1)
    rotations = np.unique(plane @ laue[keeps], axis=0)
    images = plane @ operations.rotation.astype(int)
    is_parallel = (images == plane).all(axis=(1, 2))
    parallel = Operations(rotation=operations.rotation[is_parallel], translation=operations.translation[is_parallel])
    mirrors = _fixed_rows(rotations, plane)
    steps = {row: _step(parallel, row, plane) for row in mirrors | _fixed_rows(images, plane)}
    periods = {row: _step(operations, row, plane) // step for row, step in steps.items()}
    return _Layer(
        rotations=rotations,
        mirrors=mirrors,
        visible=~is_absent(parallel, _CELLS @ plane),
        rows={row: n for row, n in periods.items() if n > 1},
        steps={row: steps[row] for row in mirrors},
    )


def _fixed_rows(images: Int[np.ndarray, "k 2 3"], plane: Int[np.ndarray, "2 3"]) -> set[tuple[int, int]]:
    """Return the directions i, j of the rows i g1 + j g2 that an operation leaves in place, and nothing else.

    Images are those of g1 and g2.
    """
    rows = set()
    for first, second in np.unique(images - plane, axis=0).tolist():
        moves = [(a, b) for a, b in zip(first, second, strict=True) if a or b]
        if moves and all(a * moves[0][1] == b * moves[0][0] for a, b in moves):
            a, b = moves[0]
            sign = gcd(a, b) if (b, -a) > (0, 0) else -gcd(a, b)
            rows.add((b // sign, -a // sign))
    return rows


def _step(operations: Operations, row: tuple[int, int], plane: Int[np.ndarray, "2 3"]) -> int:
    """Return the number of the first spot of a row that is visible."""
    hkl = np.arange(1, _PERIOD + 1)[:, None] * (np.array(row) @ plane)
    return 1 + int(np.argmin(is_absent(operations, hkl)))


def _is_centred(layer: _Layer) -> bool:
    if len(layer.mirrors) != 2:
        return False
    (a, b), (c, d) = layer.mirrors
    spots_in_rectangle = abs(a * d - b * c) * np.prod(list(layer.steps.values())) * layer.visible.mean()
    return round(float(spots_in_rectangle)) == 2
