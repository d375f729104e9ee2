"""The Debye–Scherrer rings of a polycrystal as a picture, rings bright on a dark ground.

A ring's radius is |G| in 1/Å, as in the layers' pictures, or 2θ in degrees, as in the seed paper's. Its cross-section
is a Gaussian averaged over the width of a pixel, so that thin rings do not flicker. All rings are first added up on a
fine radial scale, from which every pixel is interpolated: the cost is that of the pixels, whatever the number of
reflections. The brightest place of all rings, in the picture or not, is 1: heights add up where rings overlap.

Texture: March's distribution f about a fibre axis in the picture plane, the beam perpendicular to it. Crystallites that
reflect at G are turned about G at random. With α the angle of G to the texture direction in the crystal, β that of G to
the fibre axis, cos β = cos θ cos(χ − χ_axis), and f(cos ψ) = Σ a_n P_n(cos ψ), their mean density is, by the addition
theorem, Σ a_n P_n(cos α) P_n(cos β) over even n. The sum over reflections is done once for every n.

Frame: x to the right, y upwards, origin in the middle of the picture.
"""

import itertools
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.ndimage import convolve1d, map_coordinates
from scipy.special import erf, roots_legendre

from xrdjax.config import LorentzPolarization, PatternConfig, check_pattern
from xrdjax.crystals.crystal import Crystal
from xrdjax.diffraction.powder import MarchDollase, PowderLines, sphere_reflections, texture_cosine, two_theta_of
from xrdjax.errors import XrdjaxError
from xrdjax.patterns.render import GAUSSIAN_REACH, disc_coverage, pixel_centres

Radius = Literal["g", "two_theta"]

SIGMA = {"g": 0.01, "two_theta": 0.5}  # 1/Å, degrees
FINE_STEPS = 32  # of the radial scale in a standard deviation or half a pixel: interpolated to 3e-4 of the height
ANGLE_STEPS = 24  # of β in the width of the density: interpolated to 3/8 of 1/24² of its height
TEXTURE_RANGE = 0.05, 20.0  # of r: beyond it, thousands of Legendre polynomials
LEFT_OUT = 1e-9  # of the strongest density, by which the Legendre series is cut off


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rings:
    """Where the rings are, in the unit of the picture, and how strong; of a texture the reflections one by one."""

    position: Float[np.ndarray, "n"]
    intensity: Float[np.ndarray, "n"]
    cosine: Float[np.ndarray, "n"] | None = None
    """Of the angle between G and the texture direction."""


def render_rings(
    source: Crystal | PowderLines,
    pattern: PatternConfig = PatternConfig(),  # noqa: B008 (frozen)
    *,
    radius: Radius = "g",
    sigma: float | None = None,
    lorentz_polarization: LorentzPolarization = "powder",
    march_dollase: MarchDollase | None = None,
    axis_deg: float = 90.0,
) -> Float[np.ndarray, "height width"]:
    """Return the picture of a powder of a crystal, or of given lines, 0 to 1.

    The size, the wavelength, `d_min` and what scatters are the pattern's; its zone axis, layer, spots and
    Lorentz–polarisation factor are ignored. Lines keep what they were calculated with. `pattern.extent`,
    `pattern.direct_beam` and `sigma`, the standard deviation across a ring, are in the unit of the radius: 1/Å, or
    degrees of 2θ; `sigma` is 0.01 1/Å or 0.5° unless given. `axis_deg` is the direction of the fibre axis,
    counter-clockwise from x. The powder factor has a pole at 2θ = 180°, which can outshine all else: `d_min` leaves out
    rings near it. Warns if no ring is in the picture. Raises XrdjaxError for options out of range, and for a texture of
    lines, which do not say where their reflections point.
    """
    pattern = check_pattern(replace(pattern, lorentz_polarization=lorentz_polarization))
    sigma = _check(radius, sigma, march_dollase, axis_deg)
    rings = _rings(source, pattern, radius, march_dollase)
    x, y = pixel_centres(pattern)
    distance = np.hypot(x, y[:, None])
    if rings.position.min(initial=np.inf) > distance.max():
        unit = "1/Å" if radius == "g" else "degrees"
        warnings.warn(f"no ring within {distance.max():.3g} {unit}: pattern.extent is in {unit}", stacklevel=2)
    step = max(sigma, pattern.pixel / 2) / FINE_STEPS
    table = _fine_table(rings, _cross_section(sigma, pattern.pixel, step), step, march_dollase)
    brightest = _brightest(table, _theta(np.arange(table.shape[1]) * step, radius, pattern))
    azimuth = np.arctan2(y[:, None], x) - math.radians(axis_deg)
    beta = np.arccos(np.abs(np.cos(_theta(distance, radius, pattern)) * np.cos(azimuth)))
    picture = _look_up(table, beta, distance / step) / brightest
    if pattern.direct_beam:
        beam = disc_coverage(jnp.asarray(distance), jnp.asarray(pattern.direct_beam), pattern.pixel)
        picture = np.maximum(picture, beam)
    return picture.astype(np.float32)


def _check(radius: str, sigma: float | None, march_dollase: MarchDollase | None, axis_deg: float) -> float:
    """Return the standard deviation across a ring. Raises XrdjaxError for what is out of range."""
    if radius not in SIGMA:
        raise XrdjaxError(f"radius = {radius!r}: expected 'g' or 'two_theta'")
    if sigma is not None and not 0 < sigma < math.inf:
        raise XrdjaxError(f"sigma = {sigma}: expected a finite number above 0, in the unit of the radius")
    if march_dollase is not None and not TEXTURE_RANGE[0] <= march_dollase.r <= TEXTURE_RANGE[1]:
        raise XrdjaxError(f"march_dollase.r = {march_dollase.r}: expected {TEXTURE_RANGE[0]} to {TEXTURE_RANGE[1]}")
    if not math.isfinite(axis_deg):
        raise XrdjaxError(f"axis_deg = {axis_deg}: expected an angle in degrees")
    return SIGMA[radius] if sigma is None else sigma


def _rings(
    source: Crystal | PowderLines, pattern: PatternConfig, radius: Radius, march_dollase: MarchDollase | None
) -> _Rings:
    if isinstance(source, PowderLines):
        if march_dollase is not None:
            raise XrdjaxError("march_dollase: lines do not say where their reflections point; give the crystal")
        return _Rings(position=1 / source.d if radius == "g" else source.two_theta_deg, intensity=source.intensity)
    reflections = sphere_reflections(source, pattern)
    return _Rings(
        position=reflections.g if radius == "g" else two_theta_of(reflections.g, pattern.wavelength),
        intensity=reflections.intensity,
        cosine=None if march_dollase is None else texture_cosine(source, reflections.hkl, march_dollase),
    )


def _theta(distance: Float[np.ndarray, "*n"], radius: Radius, pattern: PatternConfig) -> Float[np.ndarray, "*n"]:
    """Return θ in radians at a radius of the picture, at most 90°."""
    if radius == "two_theta":
        return np.radians(np.minimum(distance, 180) / 2)
    return np.arcsin(np.minimum(distance * pattern.wavelength / 2, 1))


def _fine_table(
    rings: _Rings, cross_section: Float[np.ndarray, "k"], step: float, texture: MarchDollase | None
) -> Float[np.ndarray, "angles radii"]:
    """Return brightness by β from 0 to 90° and radius in steps, none at the last; in one row without texture."""
    place = rings.position / step
    size = math.ceil(place.max(initial=0)) + len(cross_section)
    if texture is None or rings.cosine is None:
        table = _spread(place, rings.intensity, size)[None]
    else:
        series = _series(texture)
        cos_beta = np.cos(np.linspace(0, math.pi / 2, _num_angles(texture)))
        by_angle = [a * p for a, p in zip(series, _even_legendre(cos_beta), strict=False)]
        legendre = itertools.islice(_even_legendre(rings.cosine), len(series))
        by_radius = [_spread(place, rings.intensity * p, size) for p in legendre]
        table = np.maximum(np.stack(by_angle, axis=1) @ np.stack(by_radius), 0)
    return convolve1d(table, cross_section, mode="constant")


def _look_up(
    table: Float[np.ndarray, "angles radii"], beta: Float[np.ndarray, "*n"], place: Float[np.ndarray, "*n"]
) -> Float[np.ndarray, "*n"]:
    """Return brightness at β in radians and at a radius in steps, interpolated linearly."""
    row = beta * (2 / math.pi) * (len(table) - 1)
    return map_coordinates(table, np.stack([row, place]), order=1, mode="nearest")


def _brightest(table: Float[np.ndarray, "angles radii"], theta: Float[np.ndarray, "radii"]) -> float:
    """Return the largest brightness that a picture can show: where β ≥ θ, G being as far out of the picture plane."""
    beta = np.linspace(0, math.pi / 2, len(table))
    largest = np.max(table, where=beta[:, None] >= theta, initial=np.finfo(float).tiny)
    return float(max(largest, _look_up(table, theta, np.arange(len(theta), dtype=float)).max()))


def _num_angles(texture: MarchDollase) -> int:
    """Return how many β interpolate the density, a peak or a ridge of width r^3/2 or its inverse, to 1e-3."""
    width = min(texture.r, 1 / texture.r) ** 1.5
    return max(91, math.ceil(ANGLE_STEPS * (math.pi / 2) / width))


def _spread(place: Float[np.ndarray, "n"], weight: Float[np.ndarray, "n"], size: int) -> Float[np.ndarray, "radii"]:
    """Return weights shared linearly between the two nearest steps."""
    low = place.astype(int)
    upper = weight * (place - low)
    nothing = np.zeros(size)  # of no weights, bincount makes integers
    return nothing + np.bincount(low, weight - upper, size) + np.bincount(low + 1, upper, size)


def _cross_section(sigma: float, pixel: float, step: float) -> Float[np.ndarray, "k"]:
    """Return a Gaussian averaged over a pixel, about its centre, in steps."""
    half = math.ceil((GAUSSIAN_REACH * sigma + pixel / 2) / step)
    offset = np.arange(-half, half + 1) * step
    edge = math.sqrt(2) * sigma
    return erf((offset + pixel / 2) / edge) - erf((offset - pixel / 2) / edge)


def _series(texture: MarchDollase) -> Float[np.ndarray, "orders"]:
    """Return a_0, a_2, a_4 … of f(cos ψ) = Σ a_n P_n(cos ψ).

    f has a singularity where r² c² + (1 − c²)/r = 0; coefficients fall as ϱ⁻ⁿ, ϱ² = |1 + r^3/2| / |1 − r^3/2|.
    """
    q = texture.r**1.5
    if q == 1:
        return np.ones(1)
    strongest = max(q**-2, q)
    order = math.ceil(2 * math.log(strongest / LEFT_OUT) / math.log((1 + q) / abs(1 - q)))
    node, weight = roots_legendre(2 * order + 2)
    weighted = weight * texture.density(node)
    orders = range(0, order + 1, 2)
    return np.array([
        (n + 0.5) * (weighted * p).sum() for n, p in zip(orders, _even_legendre(node), strict=False)
    ])  # fmt: skip


def _even_legendre(x: Float[np.ndarray, "n"]) -> Iterator[Float[np.ndarray, "n"]]:
    """Yield P_0, P_2, P_4 … without end."""
    before, current = np.zeros_like(x), np.ones_like(x)
    for n in itertools.count():
        if n % 2 == 0:
            yield current
        before, current = current, ((2 * n + 1) * x * current - n * before) / (n + 1)
