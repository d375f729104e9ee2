"""Lists of spots and of reflections, from files: positions in the picture plane in 1/Å and intensities.

A list of spots is a CSV or text of x, y, intensity, named in a first line or in that order. A file of reflections
(SHELX .hkl, a CIF with a `_refln` loop or an embedded SHELX file, MTZ) gives h, k, l and intensities, structure factors
squared; of these one layer is taken, and seen from its zone axis as `zone_spots` sees it. Files list each reflection
once, so that they are spread by the symmetry that they state, or that is given, and by inversion.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import gemmi
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from xrdjax.config import Axis, PatternConfig
from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis
from xrdjax.diffraction.zone import coprime_axis, zone_frame
from xrdjax.errors import PictureError

SPOT_SUFFIXES = (".csv", ".txt", ".tsv", ".xy")
REFLECTION_SUFFIXES = (".hkl", ".cif", ".mtz", ".fcf")
MEASURED = (("F_squared_meas", 1), ("intensity_meas", 1), ("F_meas", 2), ("F_meas_au", 2))
"""Names of what was measured, and the power that makes an intensity of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reflections:
    """The reflections of a file."""

    hkl: Int[np.ndarray, "n 3"]
    intensity: Float[np.ndarray, "n"]
    cell: tuple[float, ...] | None = None
    """a, b, c in Å, α, β, γ in degrees, if the file tells."""
    space_group: gemmi.SpaceGroup | None = None
    """By whose symmetry the file has left out reflections, if it tells."""


def read_spots(path: Path) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
    """Return positions and intensities of a list of spots, in its own units. Raises PictureError."""
    rows = [re.split(r"[,;\s]+", line.strip()) for line in _text(path).splitlines() if line.strip(" \t,;")]
    rows = [row for row in rows if not row[0].startswith("#")]
    columns = [0, 1, 2]
    if rows and not _is_number(rows[0][0]):
        heading = [name.strip('"').lower() for name in rows.pop(0)]
        missing = [name for name in ("x", "y", "intensity") if name not in heading]
        if missing:
            raise PictureError(f"{path}: no column {', '.join(missing)} in its first line; expected x, y, intensity")
        columns = [heading.index(name) for name in ("x", "y", "intensity")]
    try:
        values = np.array([[float(row[column]) for column in columns] for row in rows], float).reshape(-1, 3)
    except (ValueError, IndexError):
        raise PictureError(f"{path}: expected lines of x, y, intensity, three numbers each") from None
    if not len(values) or not np.isfinite(values).all():
        raise PictureError(f"{path}: {len(values)} spots; expected at least one, and finite numbers")
    return values[:, :2], np.maximum(values[:, 2], 0)


def read_reflections(path: Path) -> Reflections:
    """Return the reflections of an .hkl, CIF or MTZ file. Raises PictureError."""
    try:
        if path.suffix.lower() == ".mtz":
            return _from_mtz(gemmi.read_mtz_file(str(path)), path)
        if path.suffix.lower() == ".hkl" and not _text(path).lstrip().startswith(("data_", "#")):
            return _from_shelx(_text(path), path)
        return _from_cif(gemmi.cif.read_string(_text(path)), path)
    except PictureError:
        raise
    except (RuntimeError, ValueError, OSError) as error:
        raise PictureError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None


def layer_of(
    reflections: Reflections,
    zone: Axis,
    cell: tuple[float, ...],
    space_group: gemmi.SpaceGroup | None,
    pattern: PatternConfig,
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
    """Return positions in 1/Å and intensities of the pattern's layer of reflections, seen from +[uvw]."""
    uvw = coprime_axis(zone)
    hkl, intensity = _spread(reflections, space_group)
    hkl_cell = np.asarray(cell, float)
    g = hkl @ reciprocal_basis(hkl_cell)
    chosen = (hkl @ np.array(uvw) == pattern.layer) & (np.linalg.norm(g, axis=1) < pattern.g_max) & hkl.any(1)
    frame = np.asarray(zone_frame(jnp.asarray(direct_basis(hkl_cell)), jnp.asarray(uvw)))
    return (g @ frame.T)[chosen, :2], np.maximum(intensity[chosen], 0)


def _spread(
    reflections: Reflections, space_group: gemmi.SpaceGroup | None
) -> tuple[Int[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Return all equivalents, each once, with the mean of what was measured of it."""
    rotations = [np.eye(3, dtype=int)]
    if space_group is not None:
        rotations = [np.array(operation.rot) // gemmi.Op.DEN for operation in space_group.operations()]
    hkl = np.concatenate([sign * reflections.hkl @ rotation for rotation in rotations for sign in (1, -1)])
    unique, place = np.unique(hkl, axis=0, return_inverse=True)
    intensity = np.tile(reflections.intensity, 2 * len(rotations))
    return unique, np.bincount(place.ravel(), intensity) / np.bincount(place.ravel())


def _from_shelx(text: str, path: Path) -> Reflections:
    """Read lines of three indices of four characters, F² and σ of eight each, up to 0 0 0."""
    rows = []
    for line in text.splitlines():
        try:
            hkl = tuple(int(line[start : start + 4]) for start in (0, 4, 8))
            intensity = float(line[12:20])
        except ValueError:
            break
        if not any(hkl):
            break
        rows.append((*hkl, intensity))
    if not rows:
        raise PictureError(f"{path}: its first line is no reflection in SHELX's columns (3I4, 2F8)")
    values = np.array(rows)
    return Reflections(hkl=values[:, :3].astype(int), intensity=values[:, 3])


def _from_mtz(mtz: gemmi.Mtz, path: Path) -> Reflections:
    for kind, power in (("J", 1), ("F", 2)):
        if columns := mtz.columns_with_type(kind):
            hkl, values = mtz.make_miller_array(), np.asarray(columns[0].array, float)
            return _finite(hkl, values**power, tuple(mtz.cell.parameters), mtz.spacegroup)
    raise PictureError(f"{path}: no column of intensities (J) or amplitudes (F)")


def _from_cif(document: gemmi.cif.Document, path: Path) -> Reflections:
    for block in document:
        small = gemmi.make_small_structure_from_block(block)
        cell, group = tuple(small.cell.parameters), small.spacegroup
        if (embedded := block.find_value("_shelx_hkl_file")) is not None:
            listed = _from_shelx(gemmi.cif.as_string(embedded).lstrip("\n"), path)
            return _finite(listed.hkl, listed.intensity, cell, group)
        for dot in ("_refln_", "_refln."):
            for name, power in MEASURED:
                table = block.find(dot, ["index_h", "index_k", "index_l", name])
                if len(table):
                    values = np.array([[gemmi.cif.as_number(cell) for cell in row] for row in table])
                    if dot == "_refln.":
                        refined = gemmi.as_refln_blocks(gemmi.cif.read_string(document.as_string()))[0]
                        cell, group = tuple(refined.cell.parameters), refined.spacegroup
                    return _finite(values[:, :3], values[:, 3] ** power, cell, group)
    raise PictureError(f"{path}: no measured reflections (_refln loop); a structure is drawn by `xrdjax render`")


def _finite(
    hkl: np.ndarray, intensity: np.ndarray, cell: tuple[float, ...], space_group: gemmi.SpaceGroup | None
) -> Reflections:
    known = np.isfinite(intensity) & np.isfinite(hkl).all(1)
    has_cell = min(cell) > 0 and cell != (1, 1, 1, 90, 90, 90)
    return Reflections(
        hkl=hkl[known].astype(int),
        intensity=intensity[known],
        cell=cell if has_cell else None,
        space_group=space_group,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror or error}") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
