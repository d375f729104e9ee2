"""What a beam along any direction excites in a crystal at rest, on a flat detector: X-ray stills, electron patterns.

The crystal is seen from +t, a real-space direction u a + v b + w c of any real u, v, w: the beam runs along −t, with
wave vector k0 = −e3/λ, and hits a detector perpendicular to it behind the crystal. A reflection is excited as far as it
lies on the Ewald sphere: its excitation error s = 1/λ − |k0 + G| weakens it by exp(−s²/2σ²), which is 1 on the sphere,
with σ² = relrod² + (η |G| cos θ)². `relrod` is the width in 1/Å that the crystal's own size gives (0.38 over its
thickness fits the main peak of sinc²), η the mosaicity. Positions are those on the detector over λ times its distance,
in 1/Å: G·e1 and G·e2 for small angles, stretched by the flat detector at large ones.
"""

import math
import warnings
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xrdjax.config import CU_K_ALPHA1, DiffractionConfig, LorentzPolarization, Radiation, check_diffraction
from xrdjax.crystals.crystal import Crystal
from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis
from xrdjax.diffraction.scattering import lorentz_polarization
from xrdjax.diffraction.sphere import sphere_indices
from xrdjax.diffraction.spots import Precision, Spots, round_up, scatterers
from xrdjax.diffraction.structure_factor import Scatterers, intensities
from xrdjax.diffraction.zone import combine, zone_frame
from xrdjax.errors import XrdjaxError

REACH = 5.0  # widths; what is excited less, 4e-6, is left out


@dataclass(frozen=True, kw_only=True, eq=False)
class StillSpots(Spots):
    """Reflections of a still, sorted by h, k, l; `intensity` is weighted by how far each is excited."""

    excitation_error: Float[np.ndarray, "n"]
    """s = 1/λ − |k0 + G| in 1/Å, positive inside the Ewald sphere."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Excitation:
    """Where reflections hit the detector, and how far they are excited. Differentiable in all that it comes from."""

    xy: Float[Array, "spots 2"]
    error: Float[Array, "spots"]
    weight: Float[Array, "spots"]


def still_spots(
    crystal: Crystal,
    direction: tuple[float, float, float],
    *,
    wavelength: float = CU_K_ALPHA1,
    radiation: Radiation = "xray",
    d_min: float | None = None,
    relrod: float = 0.0,
    mosaicity_deg: float = 0.5,
    distance: float | None = None,
    lorentz_polarization: LorentzPolarization = "none",
    occupancy: bool = True,
    debye_waller: bool = False,
    anomalous: bool = False,
    ions: bool = True,
    precision: Precision = "float64",
) -> StillSpots:
    """Return the reflections that a beam against a real-space direction [uvw], of any real indices, excites.

    Those with |s| < 5 σ whose diffracted beam runs forward, to the detector. `relrod` in 1/Å and `mosaicity_deg` are
    the widths of the module's page; electrons (`radiation="electron"`, `electron_wavelength` of a voltage, a `d_min`)
    want a relrod of some 0.01. With a detector `distance` in mm, `xy` is in mm. Other options as in `zone_spots`. Warns
    if nothing is excited. Raises XrdjaxError for no direction and an option out of range.
    """
    config = DiffractionConfig(
        wavelength=wavelength, radiation=radiation, d_min=d_min, lorentz_polarization=lorentz_polarization,
        occupancy=occupancy, debye_waller=debye_waller, anomalous=anomalous, ions=ions,
    )  # fmt: skip
    if distance is not None and not 0 < distance < math.inf:
        raise XrdjaxError(f"distance {distance} mm: expected a positive length")
    spots = list_still(crystal, direction, config, relrod, mosaicity_deg, precision)
    return spots if distance is None else replace(spots, xy=spots.xy * (wavelength * distance))


def list_still(
    crystal: Crystal,
    direction: tuple[float, float, float],
    config: DiffractionConfig,
    relrod: float,
    mosaicity_deg: float,
    precision: Precision = "float64",
) -> StillSpots:
    """Return `still_spots` with its options in one object, of which layer, camera, frame and scale have no meaning."""
    config = check_diffraction(config)
    _check_widths(direction, relrod, mosaicity_deg)
    hkl = excited_indices(crystal, direction, config, relrod, mosaicity_deg)
    if not len(hkl):
        warnings.warn(f"direction {direction}: no reflection is excited; widen relrod or mosaicity_deg", stacklevel=3)
    with jax.enable_x64(precision == "float64"):
        columns = _still_columns(crystal, direction, hkl, config, relrod, mosaicity_deg, precision)
    xy, error, intensity, theta = (np.asarray(column)[: len(hkl)] for column in columns)
    return StillSpots(
        hkl=hkl,
        xy=xy,
        intensity=intensity,
        two_theta_deg=np.degrees(2 * theta),
        excitation_error=error,
    )


def _check_widths(direction: tuple[float, float, float], relrod: float, mosaicity_deg: float) -> None:
    if len(direction) != 3 or not np.all(np.isfinite(direction)) or not np.any(direction):
        raise XrdjaxError(f"direction {direction}: expected three numbers, not all zero, such as (0.1, 0, 1)")
    for name, value in (("relrod", relrod), ("mosaicity_deg", mosaicity_deg)):
        if not 0 <= value < 90:
            raise XrdjaxError(f"{name} {value}: expected 0 or more (1/Å, degrees)")
    if relrod == mosaicity_deg == 0:
        raise XrdjaxError("relrod 0 and mosaicity_deg 0: a perfect infinite crystal reflects nothing; give one a width")


def excited_indices(
    crystal: Crystal,
    direction: tuple[float, float, float],
    config: DiffractionConfig,
    relrod: float,
    mosaicity_deg: float,
) -> Int[np.ndarray, "spots 3"]:
    """Return hkl of all reflections within `REACH` widths of the Ewald sphere that reach a flat detector, sorted."""
    direct = direct_basis(crystal.cell)
    hkl = sphere_indices(direct, config.g_max)
    g = hkl @ np.linalg.inv(direct).T
    normal = np.asarray(direction, float) @ direct
    along = g @ (normal / np.linalg.norm(normal))
    length2 = (g**2).sum(1)
    error = 1 / config.wavelength - np.sqrt(
        np.maximum(length2 - 2 * along / config.wavelength + config.wavelength**-2, 0)
    )
    cosine2 = np.maximum(1 - length2 * config.wavelength**2 / 4, 0)
    width = np.hypot(relrod, np.radians(mosaicity_deg) * np.sqrt(length2 * cosine2))
    return hkl[(np.abs(error) < REACH * width) & (along < 1 / config.wavelength)]


def excitation(
    g: Float[Array, "spots 3"],
    frame: Float[Array, "3 3"],
    wavelength: float | Float[Array, ""],
    relrod: float | Float[Array, ""],
    mosaicity_deg: float | Float[Array, ""],
) -> Excitation:
    """Return where reflections G in 1/Å hit the detector and how far they are excited. `frame` is e1, e2, e3 (rows).

    Any rotation of `frame` is a continuous orientation of the crystal. Reflections scattered by 90° or more have no
    weight.
    """
    x, y, along = ((g * axis).sum(-1) for axis in frame)
    length2 = (g**2).sum(-1)
    forward = 1 / wavelength - along
    error = 1 / wavelength - jnp.sqrt(x**2 + y**2 + forward**2)
    cosine2 = jnp.maximum(1 - length2 * wavelength**2 / 4, 0)
    width2 = relrod**2 + (mosaicity_deg * (math.pi / 180)) ** 2 * length2 * cosine2
    is_seen = (forward > 0) & (width2 > 0)
    weight = jnp.where(is_seen, jnp.exp(-(error**2) / (2 * jnp.where(is_seen, width2, 1))), 0)
    scale = 1 / (wavelength * jnp.where(is_seen, forward, 1))
    return Excitation(xy=jnp.stack([x, y], axis=-1) * scale[:, None], error=error, weight=weight)


def still_intensities(
    atoms: Scatterers,
    reciprocal: Float[Array, "3 3"],
    frame: Float[Array, "3 3"],
    hkl: Int[Array, "spots 3"],
    num_atoms: int,
    config: DiffractionConfig,
    relrod: float | Float[Array, ""],
    mosaicity_deg: float | Float[Array, ""],
) -> tuple[Excitation, Float[Array, "spots"]]:
    """Return excitation and weighted intensity of a list of reflections. Traced and differentiable; 000 has none.

    `hkl` fills whole blocks; pad it with 000.
    """
    g = combine(hkl, reciprocal)
    s2 = (g**2).sum(-1) / 4
    excited = excitation(g, frame, config.wavelength, relrod, mosaicity_deg)
    intensity = intensities(atoms, jnp.eye(3, dtype=jnp.int32), hkl, s2, num_atoms, len(hkl)) * excited.weight
    if config.lorentz_polarization != "none":
        intensity = intensity * lorentz_polarization(s2, config.wavelength, config.lorentz_polarization)
    return excited, jnp.where(s2 > 0, intensity, 0)


_still_intensities = partial(jax.jit, static_argnames=("num_atoms", "config"))(still_intensities)


def _still_columns(
    crystal: Crystal,
    direction: tuple[float, float, float],
    hkl: Int[np.ndarray, "spots 3"],
    config: DiffractionConfig,
    relrod: float,
    mosaicity_deg: float,
    precision: Precision,
) -> tuple[Array, Array, Array, Array]:
    """Return position, excitation error, intensity and Bragg angle in radians of a list, padded."""
    reciprocal = jnp.asarray(reciprocal_basis(crystal.cell), precision)
    frame = zone_frame(jnp.asarray(direct_basis(crystal.cell), precision), jnp.asarray(direction, precision))
    padded = jnp.asarray(np.pad(hkl, ((0, round_up(len(hkl)) - len(hkl)), (0, 0))), jnp.int32)
    atoms = scatterers(crystal, precision, config)
    arguments = (atoms, reciprocal, frame, padded, len(atoms.occupancy), config, relrod, mosaicity_deg)
    excited, intensity = _still_intensities(*arguments)
    sine = jnp.sqrt((combine(padded, reciprocal) ** 2).sum(-1)) * (config.wavelength / 2)
    return excited.xy, excited.error, intensity, jnp.arcsin(jnp.minimum(sine, 1))
