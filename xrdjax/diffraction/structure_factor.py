"""Structure factors F(hkl) = Σ_j occ_j f_j(s²) exp(−8π² U_j s²) exp(+2πi h·x_j) of one conventional cell.

Fractional coordinates come in one of two forms. Floating point: h·x is summed in that precision, differentiable, and
reduced modulo 1 before the sine. Fixed point, uint32 in units of 2⁻³² of a cell edge: h·x is an integer product that
wraps modulo one cycle by itself, so that phases stay exact to 2⁻³² |h| cycles for any |h| on any device (float32 would
lose 1e-4 rad at |h| = 60, TF32 0.24 rad), and sine and cosine need no range reduction (four times faster on a CPU).
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from xrdjax.diffraction.scattering import form_factor

ATOM_BLOCK, SPOT_BLOCK = 32, 64


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Scatterers:
    """Atoms of one cell, padded. Padding has zero occupancy and is inert in value and gradient."""

    fract: Shaped[Array, "atoms 3"]
    """Fractional coordinates: floating point in cell edges, or uint32 in 2⁻³² of them."""
    coefficients: Float[Array, "atoms 9"]
    """Form factor: a1…a4, b1…b4 in Å², c."""
    occupancy: Float[Array, "atoms"]
    u_iso: Float[Array, "atoms"] | None
    """Mean square displacement in Å²; None leaves the Debye–Waller factor out."""


def intensities(
    atoms: Scatterers,
    plane_hkl: Int[Array, "2 3"],
    ij: Int[Array, "spots 2"],
    s2: Float[Array, "spots"],
    num_atoms: int | Int[Array, ""],
    num_spots: int | Int[Array, ""],
) -> Float[Array, "spots"]:
    """Return |F|² in electrons squared at hkl = i g1 + j g2 and s² in 1/Å², zero from `num_spots` on.

    Both lists are padded to whole blocks, and only the blocks that hold one of the first `num_atoms` or `num_spots`
    are worked through. Traced numbers let the padding of a batch cost nothing; Python integers keep reverse
    differentiation.
    """

    def block(values: Array, number: Int[Array, ""], size: int) -> Array:
        return jax.lax.dynamic_slice_in_dim(values, number * size, size)

    def over_spots(number: Int[Array, ""], intensity: Float[Array, "spots"]) -> Float[Array, "spots"]:
        ij_block, s2_block = block(ij, number, SPOT_BLOCK), block(s2, number, SPOT_BLOCK)

        def over_atoms(number: Int[Array, ""], total: Float[Array, "2 block"]) -> Float[Array, "2 block"]:
            some = jax.tree.map(lambda leaf: block(leaf, number, ATOM_BLOCK), atoms)
            return total + structure_factors(some, plane_hkl, ij_block, s2_block)

        start = jnp.zeros((2, SPOT_BLOCK), s2.dtype)
        total = jax.lax.fori_loop(0, num_blocks(num_atoms, ATOM_BLOCK), over_atoms, start)
        return jax.lax.dynamic_update_slice_in_dim(intensity, (total**2).sum(0), number * SPOT_BLOCK, 0)

    return jax.lax.fori_loop(0, num_blocks(num_spots, SPOT_BLOCK), over_spots, jnp.zeros_like(s2))


def structure_factors(
    atoms: Scatterers, plane_hkl: Int[Array, "2 3"], ij: Int[Array, "spots 2"], s2: Float[Array, "spots"]
) -> Float[Array, "2 spots"]:
    """Return real and imaginary part of F, in electrons, at hkl = i g1 + j g2, s² in 1/Å²."""
    cosine, sine = jax.vmap(lambda fract: _cos_sin(_phase(fract, plane_hkl, ij)))(atoms.fract)
    f = form_factor(atoms.coefficients[:, None], s2)
    if atoms.u_iso is not None:
        f = f * jnp.exp(-8 * math.pi**2 * atoms.u_iso[:, None] * s2)
    f = f * atoms.occupancy[:, None]
    return jnp.stack([(f * cosine).sum(0), (f * sine).sum(0)])


def num_blocks(number: int | Int[Array, ""], size: int) -> int | Int[Array, ""]:
    """Return how many blocks of `size` hold `number` entries."""
    return -(-number // size)


def _phase(
    fract: Shaped[Array, "3"], plane_hkl: Int[Array, "2 3"], ij: Int[Array, "spots 2"]
) -> Shaped[Array, "spots"]:
    """Return h·x as `fract` is represented: int32 in 2⁻³² cycles, or floating point in cycles within ±1/2."""
    if fract.dtype == jnp.uint32:
        fract = jax.lax.bitcast_convert_type(fract, jnp.int32)
        along = (plane_hkl * fract).sum(-1, dtype=jnp.int32)
        ij = ij.astype(jnp.int32)
        return ij[:, 0] * along[0] + ij[:, 1] * along[1]
    along = _wrap((plane_hkl.astype(fract.dtype) * fract).sum(-1))
    return _wrap(ij[:, 0].astype(fract.dtype) * along[0] + ij[:, 1].astype(fract.dtype) * along[1])


def _wrap(cycles: Float[Array, "*n"]) -> Float[Array, "*n"]:
    return cycles - jnp.round(cycles)


def _cos_sin(phase: Shaped[Array, "*n"]) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Return cosine and sine of a phase in cycles, or in 2⁻³² cycles if it is int32 (then to 3e-8)."""
    if phase.dtype != jnp.int32:
        angle = 2 * math.pi * phase
        return jnp.cos(angle), jnp.sin(angle)
    quadrant = (phase + np.int32(1 << 29)) >> 30
    angle = (phase - (quadrant << 30)).astype(jnp.float32) * np.float32(2 * math.pi / 2**32)  # within ±π/4
    x2 = angle * angle
    sine = angle * (1 + x2 * (-1 / 6 + x2 * (1 / 120 + x2 * (-1 / 5040 + x2 / 362880))))
    cosine = 1 + x2 * (-1 / 2 + x2 * (1 / 24 + x2 * (-1 / 720 + x2 / 40320)))
    is_odd = (quadrant & 1) == 1
    cosine, sine = jnp.where(is_odd, sine, cosine), jnp.where(is_odd, cosine, sine)
    return (
        jnp.where(((quadrant + 1) & 2) == 0, cosine, -cosine),
        jnp.where((quadrant & 2) == 0, sine, -sine),
    )
