"""The lines of a powder and their profile: the kernel of the layers, summed over all of the limiting sphere.

A line is all reflections of one spacing, equivalent by symmetry or not. Its intensity is Σ |F|² LP over them, so that
multiplicities need no table: 2θ = 2 arcsin(λ|G|/2) in degrees, |G| = 1/d in 1/Å. Indices, |G| and the merging are
worked out on the host in float64, |F|² on the device, chunk by chunk. Texture is March's distribution of one axis of
rotation (W. A. Dollase, J. Appl. Cryst. 19, 267 (1986)).
"""

import math
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xrdjax.config import CU_K_ALPHA1, DiffractionConfig, LorentzPolarization, Radiation, check_diffraction
from xrdjax.crystals.crystal import Crystal
from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis
from xrdjax.diffraction.scattering import form_factor, lorentz_polarization
from xrdjax.diffraction.sphere import sphere_indices
from xrdjax.diffraction.spots import Precision, round_up, scatterers
from xrdjax.diffraction.structure_factor import Scatterers, block_intensities
from xrdjax.errors import XrdjaxError

PeakShape = Literal["gaussian", "pseudo_voigt"]
Amplitude = Literal["height", "area"]

CHUNK = 1 << 14  # reflections worked out at once: 4 MB for each intermediate of a block of atoms
FEWEST = 1 << 10  # to which short lists are padded, so that few shapes are compiled
LINE_BLOCK = 64  # lines added to a profile at once
SAME_SPACING = 1e-10
"""Relative difference of |G| up to which neighbours are one line.

Rounding moves |G| by less than 1e-15 abc/V: 1e-13 in a cell of a hundredth of its edges' volume. The distinct |G| of
the longest list allowed, 2²⁴ reflections of a triclinic cell, are 4e-8 apart at the surface of the sphere.
"""
ABSENT = 1e-6
"""Amplitude, as part of F(000), up to which a reflection counts as absent.

That is what float32 rounding can leave of an extinct reflection, or coordinates of eight decimals at |h| of some tens.
"""
DEFAULT_SIGMA_DEG = 0.1  # the seed paper's


@dataclass(frozen=True, kw_only=True)
class MarchDollase:
    """Preferred orientation: the normal of planes hkl is gathered about one axis of the sample, or kept off it."""

    hkl: tuple[int, int, int]
    """Planes whose normal is the texture direction."""
    r: float
    """Above 0; below 1 for plates lying flat, above 1 for needles lying down, 1 for no texture."""

    def __post_init__(self) -> None:
        """Raise XrdjaxError for a direction that is none and a factor out of range."""
        if not any(self.hkl):
            raise XrdjaxError("march_dollase.hkl = (0, 0, 0) is no direction: give the indices of the planes")
        if not 0 < self.r < math.inf:
            raise XrdjaxError(f"march_dollase.r = {self.r}: expected a finite number above 0")

    def density(self, cosine: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Return (r² cos²α + sin²α / r)^(−3/2), whose mean over all directions is 1."""
        return (self.r**2 * cosine**2 + (1 - cosine**2) / self.r) ** -1.5


@dataclass(frozen=True, kw_only=True, eq=False)
class PowderLines:
    """Lines sorted by 2θ. Absent reflections count in none of them."""

    two_theta_deg: Float[np.ndarray, "n"]
    d: Float[np.ndarray, "n"]
    """Spacing in Å."""
    intensity: Float[np.ndarray, "n"]
    """|F|² in electrons squared (Å² for electrons) times the Lorentz–polarisation factor, summed over the line."""
    multiplicity: Int[np.ndarray, "n"]
    """Number of reflections in the line, both Friedel mates."""
    hkl: Int[np.ndarray, "n 3"]
    """One of the line's reflections: the last one in order of h, k, l."""

    @property
    def percent(self) -> Float[np.ndarray, "n"]:
        """Intensities in percent of the strongest line."""
        return 100 * self.intensity / self.intensity.max(initial=np.finfo(float).tiny)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reflections:
    """Reflections that are not absent, sorted by h, k, l; of Friedel mates of equal intensity the upper one only."""

    hkl: Int[np.ndarray, "n 3"]
    g: Float[np.ndarray, "n"]
    """|G| in 1/Å."""
    intensity: Float[np.ndarray, "n"]
    """|F|² times the Lorentz–polarisation factor, of both mates together where one stands for both."""
    mates: int
    """How many reflections each one stands for: 2, or 1 if Friedel's law does not hold."""


def powder_lines(
    crystal: Crystal,
    *,
    wavelength: float = CU_K_ALPHA1,
    radiation: Radiation = "xray",
    d_min: float | None = None,
    two_theta: tuple[float, float] = (0.0, 180.0),
    lorentz_polarization: LorentzPolarization = "powder",
    occupancy: bool = True,
    debye_waller: bool = False,
    anomalous: bool = False,
    ions: bool = True,
    march_dollase: MarchDollase | None = None,
    precision: Precision = "float64",
) -> PowderLines:
    """Return the lines with first ≤ 2θ < last of `two_theta` in degrees and spacing above `d_min` in Å.

    Options are those of `zone_spots`; electrons need `lorentz_polarization="none"`. `march_dollase` weighs reflections
    as a flat sample does whose texture axis is its normal, measured in reflection with symmetric incidence. `precision`
    is that of |F|²; positions are float64. Warns if no line is left. Raises XrdjaxError for an option out of range
    and for over `MOST_SPOTS` reflections.
    """
    config = check_diffraction(DiffractionConfig(
        wavelength=wavelength, radiation=radiation, d_min=d_min, lorentz_polarization=lorentz_polarization,
        occupancy=occupancy, debye_waller=debye_waller, anomalous=anomalous, ions=ions,
    ))  # fmt: skip
    reflections = sphere_reflections(crystal, config, two_theta, precision)
    if not len(reflections.g):
        warnings.warn(
            f"{crystal.name}: no reflection of 2θ from {two_theta[0]:g}° to {two_theta[1]:g}° "
            f"within |G| < {config.g_max:g} 1/Å",
            stacklevel=2,
        )
    density = 1.0
    if march_dollase is not None:
        density = march_dollase.density(texture_cosine(crystal, reflections.hkl, march_dollase))
    return _merge(reflections, reflections.intensity * density, config.wavelength)


def _merge(reflections: Reflections, intensity: Float[np.ndarray, "n"], wavelength: float) -> PowderLines:
    """Return reflections of equal |G| as lines."""
    order = np.argsort(reflections.g, kind="stable")
    g = reflections.g[order]
    first = np.flatnonzero(np.diff(g, prepend=-1.0) > SAME_SPACING * g)
    last = np.maximum.reduceat(order, first) if len(g) else first
    g_line = reflections.g[last]
    return PowderLines(
        two_theta_deg=two_theta_of(g_line, wavelength),
        d=1 / g_line,
        intensity=np.add.reduceat(intensity[order], first) if len(g) else intensity,
        multiplicity=reflections.mates * np.diff(first, append=len(g)),
        hkl=reflections.hkl[last],
    )


def two_theta_of(g: Float[np.ndarray, "n"], wavelength: float) -> Float[np.ndarray, "n"]:
    """Return 2θ in degrees at |G| in 1/Å and a wavelength in Å."""
    return np.degrees(2 * np.arcsin(np.minimum(g * wavelength / 2, 1)))


def texture_cosine(crystal: Crystal, hkl: Int[np.ndarray, "n 3"], texture: MarchDollase) -> Float[np.ndarray, "n"]:
    """Return the cosine of the angle between each G and the texture direction."""
    reciprocal = reciprocal_basis(crystal.cell)
    axis = np.array(texture.hkl) @ reciprocal
    g = hkl @ reciprocal
    return np.clip(g @ axis / (np.linalg.norm(g, axis=1) * np.linalg.norm(axis)), -1, 1)


def sphere_reflections(
    crystal: Crystal,
    config: DiffractionConfig,
    two_theta: tuple[float, float] = (0.0, 180.0),
    precision: Precision = "float64",
) -> Reflections:
    """Return the reflections with |G| < g_max of a checked configuration and 2θ from first to below last, in degrees.

    Raises XrdjaxError for limits out of order and for over `MOST_SPOTS` reflections.
    """
    low, high = two_theta
    if not 0 <= low < high <= 180:
        raise XrdjaxError(f"two_theta = {two_theta}: expected limits in degrees, 0 ≤ first < last ≤ 180")
    if precision not in ("float64", "float32"):
        raise XrdjaxError(f"precision = {precision!r}: expected 'float64' or 'float32'")
    g_low, g_high = (2 / config.wavelength * math.sin(math.radians(limit / 2)) for limit in (low, high))
    hkl = sphere_indices(direct_basis(crystal.cell), min(g_high, config.g_max))
    if not config.anomalous:
        h, k, l = hkl.T  # noqa: E741 (the field's letter)
        hkl = hkl[(h > 0) | ((h == 0) & ((k > 0) | ((k == 0) & (l > 0))))]
    g = np.linalg.norm(hkl @ reciprocal_basis(crystal.cell), axis=1)
    hkl, g = hkl[g >= g_low], g[g >= g_low]
    intensity = _list_intensities(crystal, hkl, g**2 / 4, config, precision)
    mates = 1 if config.anomalous else 2
    intensity *= mates * _list_factors(g**2 / 4, config)
    there = intensity > 0
    return Reflections(hkl=hkl[there], g=g[there], intensity=intensity[there], mates=mates)


def _list_intensities(
    crystal: Crystal,
    hkl: Int[np.ndarray, "n 3"],
    s2: Float[np.ndarray, "n"],
    config: DiffractionConfig,
    precision: Precision,
) -> Float[np.ndarray, "n"]:
    """Return |F|², 0 where a reflection is absent, in chunks: memory does not grow with the number of atoms."""
    intensity = np.zeros(len(hkl))
    with jax.enable_x64(precision == "float64"):
        atoms = scatterers(crystal, precision, config)
        for start in range(0, len(hkl), CHUNK):
            part = slice(start, min(start + CHUNK, len(hkl)))
            number = part.stop - start
            padding = max(round_up(number), FEWEST) - number
            index = jnp.asarray(np.pad(hkl[part].astype(np.int32), ((0, padding), (0, 0))))
            some_s2 = jnp.asarray(np.pad(s2[part], (0, padding)).astype(precision))
            intensity[part] = np.asarray(_chunk_intensities(atoms, index, some_s2, crystal.num_atoms))[:number]
    return intensity


@jax.jit
def _chunk_intensities(
    atoms: Scatterers, index: Int[Array, "spots 3"], s2: Float[Array, "spots"], num_atoms: int | Int[Array, ""]
) -> Float[Array, "spots"]:
    intensity = block_intensities(atoms, jnp.eye(3, dtype=jnp.int32), index, s2, num_atoms)
    f_000 = (atoms.occupancy * jnp.abs(form_factor(atoms.coefficients, jnp.zeros((), s2.dtype)))).sum()
    return jnp.where(intensity > (ABSENT * f_000) ** 2, intensity, 0)


def _list_factors(s2: Float[np.ndarray, "n"], config: DiffractionConfig) -> Float[np.ndarray, "n"]:
    """Return Lorentz–polarisation factors, in float64: rounding is magnified near their pole at 2θ = 180°."""
    with jax.enable_x64():
        padded = jnp.asarray(np.pad(s2, (0, max(round_up(len(s2)), FEWEST) - len(s2))))
        return np.asarray(_factors(padded, config.wavelength, config.lorentz_polarization))[: len(s2)]


_factors = partial(jax.jit, static_argnames="form")(lorentz_polarization)


def powder_profile(
    lines: PowderLines,
    two_theta_deg: Float[np.ndarray, "grid"],
    *,
    shape: PeakShape = "gaussian",
    sigma_deg: float | None = None,
    fwhm_deg: float | None = None,
    caglioti: tuple[float, float, float] | None = None,
    eta: float = 0.5,
    amplitude: Amplitude = "height",
) -> Float[np.ndarray, "grid"]:
    """Return the sum of all peaks at 2θ in degrees, in float64.

    The width is one of: the standard deviation of a Gaussian of the same half width, the full width at half maximum,
    or U, V, W of FWHM² = U tan²θ + V tan θ + W in degrees²; none is σ = 0.1°. A peak's height, or with "area" its
    integral over 2θ in degrees, is the line's intensity; `eta` is the Lorentzian's part of the area. Percent of the
    strongest line: times 100 / lines.intensity.max(). Raises XrdjaxError for an option out of range.
    """
    if shape not in ("gaussian", "pseudo_voigt") or amplitude not in ("height", "area"):
        raise XrdjaxError(
            f"shape '{shape}', amplitude '{amplitude}': expected gaussian or pseudo_voigt; height or area"
        )
    if not 0 <= eta <= 1:
        raise XrdjaxError(f"eta = {eta}: expected 0 to 1, the Lorentzian's part")
    width = _widths(lines.two_theta_deg, sigma_deg, fwhm_deg, caglioti)
    padding = (0, round_up(len(width)) - len(width))
    columns = [np.pad(column, padding, constant_values=fill) for column, fill in (
        (lines.two_theta_deg, 0), (lines.intensity, 0), (width, 1)
    )]  # fmt: skip
    with jax.enable_x64():
        arrays = [jnp.asarray(column, jnp.float64) for column in (*columns, two_theta_deg)]
        return np.asarray(_profile(*arrays, eta, shape=shape, amplitude=amplitude))


def _widths(
    two_theta_deg: Float[np.ndarray, "lines"],
    sigma_deg: float | None,
    fwhm_deg: float | None,
    caglioti: tuple[float, float, float] | None,
) -> Float[np.ndarray, "lines"]:
    """Return each line's full width at half maximum in degrees."""
    given = {"sigma_deg": sigma_deg, "fwhm_deg": fwhm_deg, "caglioti": caglioti}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) > 1:
        raise XrdjaxError(", ".join(f"{name} = {value}" for name, value in given.items()) + ": expected one width")
    if caglioti is not None:
        square = np.polyval(caglioti, np.tan(np.radians(two_theta_deg / 2)))
        if not np.all(square > 0):
            worst = two_theta_deg[np.argmin(square)]
            raise XrdjaxError(f"caglioti = {caglioti}: FWHM² = {square.min():.3g} at 2θ = {worst:.2f}°; expected > 0")
        return np.sqrt(square)
    width = 2 * math.sqrt(2 * math.log(2)) * (DEFAULT_SIGMA_DEG if sigma_deg is None else sigma_deg)
    width = width if fwhm_deg is None else fwhm_deg
    if not 0 < width < math.inf:
        name, value = next(iter(given.items()))
        raise XrdjaxError(f"{name} = {value}: expected a finite width in degrees above 0")
    return np.full(len(two_theta_deg), width)


def profile(
    two_theta: Float[Array, "lines"],
    intensity: Float[Array, "lines"],
    fwhm: Float[Array, "lines"],
    grid: Float[Array, "grid"],
    eta: float | Float[Array, ""] = 0.5,
    *,
    shape: PeakShape = "gaussian",
    amplitude: Amplitude = "height",
) -> Float[Array, "grid"]:
    """Return `powder_profile`, traced and differentiable in all arrays; positions and widths in one unit.

    Lines are added block by block, so that memory, that of a gradient too, is some blocks times the grid.
    """
    if amplitude == "height":
        intensity = intensity / _peak(jnp.zeros_like(fwhm), fwhm, eta, shape)
    padding = -len(two_theta) % LINE_BLOCK
    columns = ((two_theta, 0), (intensity, 0), (fwhm, 1))
    blocks = tuple(
        jnp.pad(column, (0, padding), constant_values=fill).reshape(-1, LINE_BLOCK, 1) for column, fill in columns
    )

    @jax.checkpoint
    def add(
        total: Float[Array, "grid"], block: tuple[Float[Array, "block 1"], ...]
    ) -> tuple[Float[Array, "grid"], None]:
        centre, weight, width = block
        return total + (weight * _peak(grid - centre, width, eta, shape)).sum(0), None

    return jax.lax.scan(add, jnp.zeros_like(grid), blocks)[0]


_profile = partial(jax.jit, static_argnames=("shape", "amplitude"))(profile)


def _peak(
    offset: Float[Array, "*n"], fwhm: Float[Array, "*#n"], eta: float | Float[Array, ""], shape: PeakShape
) -> Float[Array, "*n"]:
    """Return a peak of unit area (G. K. Wertheim et al., Rev. Sci. Instrum. 45, 1369 (1974))."""
    x2 = (offset / fwhm) ** 2
    gaussian = math.sqrt(4 * math.log(2) / math.pi) * jnp.exp(-4 * math.log(2) * x2)
    if shape == "gaussian":
        return gaussian / fwhm
    return (eta * (2 / math.pi) / (1 + 4 * x2) + (1 - eta) * gaussian) / fwhm
