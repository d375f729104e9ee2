"""The reflections of one layer of one crystal, as a list: the same kernel that draws the training pictures.

Mode `layer`: the undistorted layer of reciprocal space perpendicular to the real-space direction [uvw], through the
origin unless another is asked for, as a reconstruction from rotation data shows it, cut off at the limiting sphere
|G| < 2/λ. Mode `precession`: what a precession camera records of it. Systematically absent reflections are listed, 000
is not.
"""

import math
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from xrdjax.config import CU_K_ALPHA1, DiffractionConfig, LorentzPolarization, Radiation, check_diffraction
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import species_numbers
from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis, star_tensor
from xrdjax.diffraction.layer import layer_intensities, layer_plane, layer_rows, make_scatterers, sphere_maximum
from xrdjax.diffraction.paper import PAPER_DECIMALS
from xrdjax.diffraction.sphere import MOST_SPOTS, row_box
from xrdjax.diffraction.structure_factor import Scatterers
from xrdjax.diffraction.zone import ZonePlane, combine, coprime_axis, plane_heights, zone_basis
from xrdjax.errors import XrdjaxError

Precision = Literal["float64", "float32"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Spots:
    """Reflections of a zone, sorted by h, k, l."""

    hkl: Int[np.ndarray, "n 3"]
    xy: Float[np.ndarray, "n 2"]
    """Position in the picture plane in 1/Å: x to the right, y upwards, the crystal seen from +[uvw]."""
    intensity: Float[np.ndarray, "n"]
    """|F|² in electrons squared (in Å² for electrons), times the Lorentz–polarisation factor if one is asked for, or
    percent of the strongest."""
    two_theta_deg: Float[np.ndarray, "n"]


def zone_spots(
    crystal: Crystal,
    uvw: tuple[int, int, int],
    *,
    wavelength: float = CU_K_ALPHA1,
    radiation: Radiation = "xray",
    d_min: float | None = None,
    layer: int = 0,
    precession_deg: float | None = None,
    lorentz_polarization: LorentzPolarization = "none",
    occupancy: bool = True,
    debye_waller: bool = False,
    anomalous: bool = False,
    ions: bool = True,
    frame: Literal["zone", "paper"] = "zone",
    normalize: Literal["none", "zone", "sphere"] | None = None,
    precision: Precision = "float64",
) -> Spots:
    """Return all reflections hu + kv + lw = `layer` with 0 < |G| < 2/wavelength, sorted by h, k, l.

    `wavelength` and the smallest spacing `d_min` in Å; `precession_deg` limits the list to what a precession camera of
    that angle records. `occupancy`, `debye_waller`, `anomalous` and `ions` switch site occupancies, the atoms'
    displacements, f′ and f″, and the ions' own form factors. `normalize` gives percent of the strongest reflection of
    the list or of the whole limiting sphere. `frame="paper"` is the seed paper's pipeline: its distorted, mirrored and
    turned positions, full occupancies, and unless said otherwise percent of the sphere. `precision` is that of the
    calculation: float32 is what training uses. Warns if nothing is left. Raises XrdjaxError for an axis without
    direction and an option out of range.
    """
    is_paper = frame == "paper"
    config = DiffractionConfig(
        wavelength=wavelength, radiation=radiation, d_min=d_min, layer=layer, precession_deg=precession_deg,
        lorentz_polarization=lorentz_polarization, occupancy=occupancy and not is_paper, debye_waller=debye_waller,
        anomalous=anomalous, ions=ions, frame=frame,
    )  # fmt: skip
    return layer_spots(crystal, uvw, config, normalize or ("sphere" if is_paper else "none"), precision)


def layer_spots(
    crystal: Crystal,
    uvw: tuple[int, int, int],
    config: DiffractionConfig,
    normalize: Literal["none", "zone", "sphere"] = "none",
    precision: Precision = "float64",
) -> Spots:
    """Return the reflections that a configuration draws of one zone: `zone_spots` with its options in one object."""
    config = check_diffraction(config)
    if normalize not in ("none", "zone", "sphere"):
        raise XrdjaxError(f"normalize '{normalize}': expected none, zone or sphere")
    if precision not in ("float64", "float32"):
        raise XrdjaxError(f"precision '{precision}': expected float64 or float32")
    with jax.enable_x64(precision == "float64"):
        hkl, xy, intensity, s2, strongest = _list_layer(crystal, coprime_axis(uvw), config, precision, normalize)
    if normalize != "none":
        intensity = intensity * (100 / strongest if strongest > 0 else 0)
    if not len(hkl):
        warnings.warn(nothing_left(uvw, config), stacklevel=3)
    order = np.lexsort(hkl.T[::-1])
    theta = np.arcsin(np.minimum(np.sqrt(s2) * config.wavelength, 1))
    return Spots(hkl=hkl[order], xy=xy[order], intensity=intensity[order], two_theta_deg=np.degrees(2 * theta)[order])


def nothing_left(uvw: tuple[int, int, int], config: DiffractionConfig) -> str:
    """Return the warning for a layer without reflections."""
    return f"zone {tuple(uvw)}, layer {config.layer}: no reflection within |G| < {config.g_max:g} 1/Å"


def _list_layer(
    crystal: Crystal, uvw: tuple[int, int, int], config: DiffractionConfig, precision: Precision, normalize: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Return hkl, position, intensity and s² of all reflections, and the intensity of the strongest."""
    atoms = scatterers(crystal, precision, config)
    reciprocal = jnp.asarray(reciprocal_basis(crystal.cell), precision)
    plane = crystal_plane(crystal, uvw, precision, config)
    max_row, num_spots = layer_size(plane, config)
    arguments = (atoms, plane, reciprocal, crystal.num_atoms, num_spots)
    columns = _layer_list(*arguments, round_up(max_row), round_up(num_spots), config)
    exists = np.asarray(columns[-1])
    hkl, xy, intensity, s2 = (np.asarray(column)[exists] for column in columns[:-1])
    if config.has_friedel_pairs:
        hkl, xy = np.concatenate([hkl, -hkl]), np.concatenate([xy, -xy])
        intensity, s2 = np.tile(intensity, 2), np.tile(s2, 2)
    strongest = intensity.max(initial=0.0)
    if normalize == "sphere":
        box = tuple(row_box(direct_basis(crystal.cell), config.g_max).tolist())
        strongest = float(_sphere_maximum(atoms, reciprocal, crystal.num_atoms, box, config))
    return hkl, xy, intensity, s2, float(strongest)


@partial(jax.jit, static_argnames=("max_row", "size", "config"))
def _layer_list(
    atoms: Scatterers,
    plane: ZonePlane,
    reciprocal: Float[Array, "3 3"],
    num_atoms: int | Int[Array, ""],
    num_spots: int | Int[Array, ""],
    max_row: int,
    size: int,
    config: DiffractionConfig,
) -> tuple[
    Int[Array, "spots 3"], Float[Array, "spots 2"], Float[Array, "spots"], Float[Array, "spots"], Bool[Array, "spots"]
]:
    rows = layer_rows(plane, max_row, config)
    index, exists, intensity = layer_intensities(atoms, plane, reciprocal, rows, size, num_atoms, num_spots, config)
    hkl = combine(index, plane.hkl)
    return hkl, combine(index, plane.drawn_xy), intensity, plane.s2(index), exists


_sphere_maximum = partial(jax.jit, static_argnames=("box", "config"))(sphere_maximum)


def scatterers(crystal: Crystal, precision: Precision, config: DiffractionConfig) -> Scatterers:
    """Return the crystal's atoms for the device, padded to few sizes; float32 goes with fixed-point coordinates."""
    padding = round_up(crystal.num_atoms) - crystal.num_atoms

    def pad(values: np.ndarray) -> Array:
        return jnp.asarray(np.pad(values, [(0, padding)] + [(0, 0)] * (values.ndim - 1)))

    real = np.dtype(precision)
    u_star = None if crystal.u_aniso is None else star_tensor(crystal.u_aniso, reciprocal_basis(crystal.cell))
    fract = np.round(crystal.fract, PAPER_DECIMALS) if config.frame == "paper" else crystal.fract
    return make_scatterers(
        fract=pad(fract if precision == "float64" else fixed_point(fract)),
        species=pad(species_numbers(crystal.species)),
        occupancy=pad(crystal.occupancy.astype(real)),
        u_iso=pad(crystal.u_iso.astype(real)),
        config=config,
        u_star=None if u_star is None else pad(u_star.astype(real)),
    )


def fixed_point(fract: Float[np.ndarray, "*n"]) -> np.ndarray:
    """Return fractional coordinates as uint32 in units of 2⁻³² of a cell edge."""
    return np.round((fract % 1.0) * 2.0**32).astype(np.uint64).astype(np.uint32)


def crystal_plane(
    crystal: Crystal, uvw: tuple[int, int, int], precision: Precision, config: DiffractionConfig
) -> ZonePlane:
    """Return the reduced plane lattice of a coprime zone of one crystal."""
    direct, reciprocal = direct_basis(crystal.cell), reciprocal_basis(crystal.cell)
    return _layer_plane(
        jnp.asarray(direct, precision),
        jnp.asarray(reciprocal, precision),
        jnp.array(uvw, jnp.int32),
        jnp.array(zone_basis(uvw)),
        config,
    )


_layer_plane = partial(jax.jit, static_argnames="config")(layer_plane)


def layer_size(plane: ZonePlane, config: DiffractionConfig) -> tuple[int, int]:
    """Return the largest row of a layer's list and how many reflections it has. Raises XrdjaxError for millions."""
    first, second = np.asarray(plane.xy[:2], float)
    if math.pi * config.g_max**2 > MOST_SPOTS * abs(np.linalg.det([first, second])):
        raise XrdjaxError(f"over {MOST_SPOTS:,} reflections within |G| < {config.g_max:g} 1/Å; give a larger d_min")
    max_row = int(config.g_max / plane_heights(plane.xy)[1]) + 2
    return max_row, int(_count_spots(plane, round_up(max_row), config))


@partial(jax.jit, static_argnames=("max_row", "config"))
def _count_spots(plane: ZonePlane, max_row: int, config: DiffractionConfig) -> Int[Array, ""]:
    return layer_rows(plane, max_row, config).count


def round_up(number: int) -> int:
    """Return the next power of two, at least 64: whole blocks, and few shapes that are ever compiled."""
    return 1 << max(6, math.ceil(math.log2(max(number, 1))))
