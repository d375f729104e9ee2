"""The reflections of one zone of one crystal, as a list: the same kernel that draws the training pictures.

Mode `layer`: the undistorted layer of reciprocal space through the origin, perpendicular to the real-space direction
[uvw], as a precession camera or a reconstruction from rotation data shows it, cut off at the limiting sphere
|G| < 2/λ. Systematically absent reflections are listed, 000 is not.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xrdjax.config import CU_K_ALPHA1
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import SPECIES, element_of
from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis
from xrdjax.diffraction.scattering import form_factor_table
from xrdjax.diffraction.structure_factor import Scatterers, intensities
from xrdjax.diffraction.zone import (
    ZonePlane,
    combine,
    coprime_axis,
    half_disc,
    list_spots,
    plane_heights,
    zone_basis,
    zone_plane,
)
from xrdjax.errors import XrdjaxError


@dataclass(frozen=True, kw_only=True, eq=False)
class Spots:
    """Reflections of a zone, sorted by h, k, l."""

    hkl: Int[np.ndarray, "n 3"]
    xy: Float[np.ndarray, "n 2"]
    """Position in the picture plane in 1/Å: x to the right, y upwards, the crystal seen from +[uvw]."""
    intensity: Float[np.ndarray, "n"]
    """|F|² in electrons squared, times the Lorentz–polarisation factor if one is asked for."""
    two_theta_deg: Float[np.ndarray, "n"]


def zone_spots(
    crystal: Crystal,
    uvw: tuple[int, int, int],
    *,
    wavelength: float = CU_K_ALPHA1,
    lorentz_polarization: Literal["none", "powder", "single_crystal"] = "none",
    occupancy: bool = True,
    debye_waller: bool = False,
    ions: bool = True,
    precision: Literal["float64", "float32"] = "float64",
) -> Spots:
    """Return all reflections hu + kv + lw = 0 with 0 < |G| < 2/wavelength.

    `wavelength` in Å. `occupancy`, `debye_waller` and `ions` switch site occupancies, exp(−8π²U s²) and the ions' own
    form factors on; without them every site is full, at rest and neutral. `precision` is that of the calculation:
    float32 is what training uses. Raises XrdjaxError for an axis without direction or a wavelength that is not
    positive.
    """
    _check_options(wavelength, lorentz_polarization, precision)
    uvw = coprime_axis(uvw)
    with jax.enable_x64(precision == "float64"):
        atoms = scatterers(crystal, precision, occupancy=occupancy, debye_waller=debye_waller, ions=ions)
        plane = crystal_plane(crystal, uvw, precision)
        num_rows, num_spots = half_disc_size(plane, 2 / wavelength)
        half = _half_zone(atoms, plane, 2 / wavelength, crystal.num_atoms, round_up(num_rows), round_up(num_spots))
        hkl, xy, intensity = (np.asarray(column)[:num_spots] for column in half)
    hkl, xy, intensity = np.concatenate([hkl, -hkl]), np.concatenate([xy, -xy]), np.tile(intensity, 2)
    theta = np.arcsin(np.minimum(np.linalg.norm(xy, axis=1) * wavelength / 2, 1))
    order = np.lexsort(hkl.T[::-1])
    return Spots(
        hkl=hkl[order],
        xy=xy[order],
        intensity=(intensity * _lorentz_polarization(theta, lorentz_polarization))[order],
        two_theta_deg=np.degrees(2 * theta)[order],
    )


def _check_options(wavelength: float, lorentz_polarization: str, precision: str) -> None:
    if not 0.01 <= wavelength < math.inf:
        raise XrdjaxError(f"wavelength {wavelength} Å: expected a length of at least 0.01 Å")
    for name, value, known in (
        ("lorentz_polarization", lorentz_polarization, ("none", "powder", "single_crystal")),
        ("precision", precision, ("float64", "float32")),
    ):
        if value not in known:
            raise XrdjaxError(f"{name} '{value}': expected one of {', '.join(known)}")


def scatterers(
    crystal: Crystal,
    precision: Literal["float64", "float32"],
    *,
    occupancy: bool = True,
    debye_waller: bool = False,
    ions: bool = True,
) -> Scatterers:
    """Return the crystal's atoms for the device, padded to few sizes; float32 goes with fixed-point coordinates."""
    names = crystal.species if ions else tuple(map(element_of, crystal.species))
    padding = round_up(crystal.num_atoms) - crystal.num_atoms
    weight = crystal.occupancy if occupancy else np.ones(crystal.num_atoms)
    table = form_factor_table()[[SPECIES.index(name) for name in names]]

    def pad(values: np.ndarray) -> Array:
        return jnp.asarray(np.pad(values, [(0, padding)] + [(0, 0)] * (values.ndim - 1)))

    real = np.dtype(precision)
    fract = crystal.fract if precision == "float64" else fixed_point(crystal.fract)
    return Scatterers(
        fract=pad(fract),
        coefficients=pad(table.astype(real)),
        occupancy=pad(weight.astype(real)),
        u_iso=pad(crystal.u_iso.astype(real)) if debye_waller else None,
    )


def fixed_point(fract: Float[np.ndarray, "*n"]) -> np.ndarray:
    """Return fractional coordinates as uint32 in units of 2⁻³² of a cell edge."""
    return np.round((fract % 1.0) * 2.0**32).astype(np.uint64).astype(np.uint32)


def crystal_plane(crystal: Crystal, uvw: tuple[int, int, int], precision: str) -> ZonePlane:
    """Return the reduced plane lattice of a coprime zone of one crystal."""
    direct, reciprocal = direct_basis(crystal.cell), reciprocal_basis(crystal.cell)
    return jax.jit(zone_plane)(
        jnp.asarray(direct, precision), jnp.asarray(reciprocal, precision), jnp.array(uvw, jnp.int32), zone_basis(uvw)
    )


def half_disc_size(plane: ZonePlane, g_max: float) -> tuple[int, int]:
    """Return the largest row and the number of reflections of a half disc."""
    max_row = int(g_max / plane_heights(plane.xy)[1]) + 1
    return max_row, int(_count_spots(plane.xy, g_max, round_up(max_row)))


@partial(jax.jit, static_argnames="max_row")
def _count_spots(xy: Float[Array, "2 2"], g_max: float | Float[Array, ""], max_row: int) -> Int[Array, ""]:
    return half_disc(xy, g_max, max_row).count


@partial(jax.jit, static_argnames=("max_row", "num_spots"))
def _half_zone(
    atoms: Scatterers,
    plane: ZonePlane,
    g_max: float | Float[Array, ""],
    num_atoms: int | Int[Array, ""],
    max_row: int,
    num_spots: int,
) -> tuple[Int[Array, "spots 3"], Float[Array, "spots 2"], Float[Array, "spots"]]:
    ij, _ = list_spots(half_disc(plane.xy, g_max, max_row), num_spots)
    xy = combine(ij, plane.xy)
    intensity = intensities(atoms, plane.hkl, ij, (xy**2).sum(-1) / 4, num_atoms, num_spots)
    return (ij[:, :, None] * plane.hkl).sum(1), xy, intensity


def round_up(number: int) -> int:
    """Return the next power of two, at least 64: whole blocks, and few shapes that are ever compiled."""
    return 1 << max(6, math.ceil(math.log2(max(number, 1))))


def _lorentz_polarization(theta: Float[np.ndarray, "n"], form: str) -> Float[np.ndarray, "n"]:
    polarization = 1 + np.cos(2 * theta) ** 2
    if form == "powder":
        return polarization / (np.sin(theta) ** 2 * np.cos(theta))
    if form == "single_crystal":
        return polarization / (2 * np.sin(2 * theta))
    return np.ones_like(theta)
