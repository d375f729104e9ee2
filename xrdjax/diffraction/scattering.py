"""Atomic form factors f0(s²) = c + Σ a_k exp(−b_k s²), s = sinθ/λ in 1/Å, in electrons.

The table is IT92 (International Tables for Crystallography C, 1992, table 6.1.1.4), as gemmi carries it.
"""

from functools import cache

import gemmi
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xrdjax.crystals.species import SPECIES, element_of


@cache
def form_factor_table() -> Float[np.ndarray, "num_species 9"]:
    """Return a1…a4, b1…b4 (Å²), c of every name in `SPECIES`, in float64."""
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


def form_factor(coefficients: Float[Array, "*#atoms 9"], s2: Float[Array, "*#atoms"]) -> Float[Array, "*#atoms"]:
    """Return f0 in electrons at s² = |G|²/4 in 1/Å². Leading dimensions broadcast."""
    amplitude, exponent, constant = coefficients[..., :4], coefficients[..., 4:8], coefficients[..., 8]
    return constant + sum(amplitude[..., k] * jnp.exp(-exponent[..., k] * s2) for k in range(4))
