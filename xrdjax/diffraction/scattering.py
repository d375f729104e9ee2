"""What one atom scatters, X-rays or electrons, and the geometric factors that intensities take.

X-rays: f = f0(s²) + f′(λ) + i f″(λ) in electrons, s = sinθ/λ in 1/Å. f0 is International Tables C (1992), table
6.1.1.4, four Gaussians and a constant; f′ and f″ are Cromer and Liberman's (Acta Cryst. A37, 267 (1981)). Electrons:
f(s²) in Å for electrons at rest, five Gaussians of table 4.3.2.2. All tables are those that gemmi carries.
"""

import math
from functools import cache

import gemmi
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xrdjax.config import LorentzPolarization, Radiation
from xrdjax.crystals.species import SPECIES, element_of

_PLANCK, _ELECTRON_MASS, _CHARGE, _LIGHT = 6.62607015e-34, 9.1093837015e-31, 1.602176634e-19, 299792458.0  # CODATA 2018


@cache
def form_factor_table(radiation: Radiation = "xray") -> Float[np.ndarray, "num_species coefficients"]:
    """Return a1…, b1… (Å²), c of every name in `SPECIES`, in float64: 9 numbers for X-rays, 11 for electrons.

    The electron table has neutral atoms only; ions scatter like them there.
    """
    if radiation == "electron":
        rows = [gemmi.Element(element_of(name)).c4322 for name in SPECIES]
        return np.array([[*row.a, *row.b, 0.0] for row in rows])
    ignored = gemmi.IT92_get_ignore_charge()
    gemmi.IT92_set_ignore_charge(False)
    try:
        rows = [gemmi.IT92_get_exact(gemmi.Element(element_of(name)), _charge(name)) for name in SPECIES]
    finally:
        gemmi.IT92_set_ignore_charge(ignored)
    return np.array([[*row.a, *row.b, row.c] for row in rows])


def _charge(name: str) -> int:
    """Return 3 of "Fe3+", −1 of "F1-", 0 of "Fe"."""
    return int(name[-1] + name[-2]) if name[-1] in "+-" else 0


@cache
def anomalous_table(wavelength: float) -> Float[np.ndarray, "num_species 2"]:
    """Return f′ and f″ in electrons of every name in `SPECIES` at a wavelength in Å; 0 beyond uranium and for H, He."""
    energy = gemmi.hc / wavelength  # eV
    return np.array([gemmi.cromer_liberman(gemmi.Element(element_of(name)).atomic_number, energy) for name in SPECIES])


def form_factor(
    coefficients: Float[Array, "*#atoms coefficients"], s2: Float[Array, "*#atoms"]
) -> Float[Array, "*#atoms"]:
    """Return f0 at s² = |G|²/4 in 1/Å², in the table's unit. Leading dimensions broadcast."""
    gaussians = coefficients.shape[-1] // 2
    amplitude, exponent = coefficients[..., :gaussians], coefficients[..., gaussians:-1]
    return coefficients[..., -1] + sum(amplitude[..., k] * jnp.exp(-exponent[..., k] * s2) for k in range(gaussians))


def lorentz_polarization(
    s2: Float[Array, "*n"], wavelength: float | Float[Array, ""], form: LorentzPolarization
) -> Float[Array, "*n"]:
    """Return the Lorentz–polarisation factor at s² in 1/Å²; 0 where θ is none of 0 < θ < 90°.

    `powder` is (1 + cos² 2θ) / (sin² θ cos θ), `single_crystal` (1 + cos² 2θ) / (2 sin 2θ).
    """
    if form == "none":
        return jnp.ones_like(s2)
    sine2 = s2 * wavelength**2
    is_angle = (sine2 > 0) & (sine2 < 1)
    sine2 = jnp.where(is_angle, sine2, 0.5)
    polarization = 1 + (1 - 2 * sine2) ** 2
    cosine = jnp.sqrt(1 - sine2)
    factor = polarization / (sine2 * cosine if form == "powder" else 4 * jnp.sqrt(sine2) * cosine)
    return jnp.where(is_angle, factor, 0)


def electron_wavelength(voltage: float) -> float:
    """Return the relativistic wavelength in Å of electrons accelerated by a voltage in V."""
    energy = _CHARGE * voltage
    return 1e10 * _PLANCK / math.sqrt(2 * _ELECTRON_MASS * energy * (1 + energy / (2 * _ELECTRON_MASS * _LIGHT**2)))
