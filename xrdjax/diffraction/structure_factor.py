"""Structure factors F(hkl) = Σ_j occ_j (f0_j(s²) + f′_j + i f″_j) T_j(hkl) exp(+2πi h·x_j) of one conventional cell.

T is exp(−8π² U s²), or exp(−2π² hᵀ U* h) where displacements are anisotropic. Reflections are given by integer
coefficients in a basis of two or three reflections: those of a plane have two, those of all space three.

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

    fract: Shaped[Array, "*batch atoms 3"]
    """Fractional coordinates: floating point in cell edges, or uint32 in 2⁻³² of them."""
    coefficients: Float[Array, "*batch atoms coefficients"]
    """Form factor: a1…, b1… in Å², c."""
    occupancy: Float[Array, "*batch atoms"]
    u_iso: Float[Array, "*batch atoms"] | None = None
    """Mean square displacement in Å²; None leaves the isotropic Debye–Waller factor out."""
    u_star: Float[Array, "*batch atoms 3 3"] | None = None
    """Anisotropic displacements in the basis of hkl, U*_ij = a*_i a*_j U_ij; None leaves them out."""
    anomalous: Float[Array, "*batch atoms 2"] | None = None
    """f′ and f″ in electrons; None leaves them out, and with them the difference of Friedel mates."""


def intensities(
    atoms: Scatterers,
    basis: Int[Array, "rank 3"],
    index: Int[Array, "spots rank"],
    s2: Float[Array, "spots"],
    num_atoms: int | Int[Array, ""],
    num_spots: int | Int[Array, ""],
) -> Float[Array, "spots"]:
    """Return |F|² in electrons squared at hkl = Σ_k index_k basis_k and s² in 1/Å², zero from `num_spots` on.

    Both lists are padded to whole blocks, and only the blocks that hold one of the first `num_atoms` or `num_spots`
    are worked through. Traced numbers let the padding of a batch cost nothing; Python integers keep reverse
    differentiation.
    """

    def over_spots(number: Int[Array, ""], intensity: Float[Array, "spots"]) -> Float[Array, "spots"]:
        some = block_intensities(
            atoms, basis, _block(index, number, SPOT_BLOCK), _block(s2, number, SPOT_BLOCK), num_atoms
        )
        return jax.lax.dynamic_update_slice_in_dim(intensity, some, number * SPOT_BLOCK, 0)

    return jax.lax.fori_loop(0, num_blocks(num_spots, SPOT_BLOCK), over_spots, jnp.zeros_like(s2))


def block_intensities(
    atoms: Scatterers,
    basis: Int[Array, "rank 3"],
    index: Int[Array, "spots rank"],
    s2: Float[Array, "spots"],
    num_atoms: int | Int[Array, ""],
) -> Float[Array, "spots"]:
    """Return |F|² in electrons squared of a list that is worked through at once, block by block of atoms."""

    def over_atoms(number: Int[Array, ""], total: Float[Array, "2 spots"]) -> Float[Array, "2 spots"]:
        some = jax.tree.map(lambda leaf: _block(leaf, number, ATOM_BLOCK), atoms)
        return total + structure_factors(some, basis, index, s2)

    start = jnp.zeros((2, len(s2)), s2.dtype)
    return (jax.lax.fori_loop(0, num_blocks(num_atoms, ATOM_BLOCK), over_atoms, start) ** 2).sum(0)


def _block(values: Array, number: Int[Array, ""], size: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(values, number * size, size)


def structure_factors(
    atoms: Scatterers, basis: Int[Array, "rank 3"], index: Int[Array, "spots rank"], s2: Float[Array, "spots"]
) -> Float[Array, "2 spots"]:
    """Return real and imaginary part of F, in electrons, at hkl = Σ_k index_k basis_k, s² in 1/Å²."""
    cosine, sine = jax.vmap(lambda fract: _cos_sin(_phase(fract, basis, index)))(atoms.fract)
    weight = atoms.occupancy[:, None]
    if atoms.u_iso is not None:
        weight = weight * jnp.exp(-8 * math.pi**2 * atoms.u_iso[:, None] * s2)
    if atoms.u_star is not None:
        weight = weight * _anisotropic(atoms.u_star, basis, index)
    f = form_factor(atoms.coefficients[:, None], s2)
    if atoms.anomalous is None:
        f = f * weight
        return jnp.stack([(f * cosine).sum(0), (f * sine).sum(0)])
    real, imaginary = (f + atoms.anomalous[:, :1]) * weight, atoms.anomalous[:, 1:] * weight
    return jnp.stack([(real * cosine - imaginary * sine).sum(0), (real * sine + imaginary * cosine).sum(0)])


def _anisotropic(
    u_star: Float[Array, "atoms 3 3"], basis: Int[Array, "rank 3"], index: Int[Array, "spots rank"]
) -> Float[Array, "atoms spots"]:
    """Return exp(−2π² hᵀ U* h)."""
    real = basis.astype(u_star.dtype)
    half = (real[:, :, None] * u_star[:, None]).sum(2)
    form = (half[:, :, None, :] * real).sum(-1)
    index = index.astype(u_star.dtype)
    pairs = [(k, m) for k in range(len(basis)) for m in range(len(basis))]
    exponent = sum((form[:, k, m, None] * (index[:, k] * index[:, m]) for k, m in pairs), jnp.zeros(()))
    return jnp.exp(-2 * math.pi**2 * exponent)


def num_blocks(number: int | Int[Array, ""], size: int) -> int | Int[Array, ""]:
    """Return how many blocks of `size` hold `number` entries."""
    return -(-number // size)


def _phase(
    fract: Shaped[Array, "3"], basis: Int[Array, "rank 3"], index: Int[Array, "spots rank"]
) -> Shaped[Array, "spots"]:
    """Return h·x as `fract` is represented: int32 in 2⁻³² cycles, or floating point in cycles within ±1/2."""
    if fract.dtype == jnp.uint32:
        fract = jax.lax.bitcast_convert_type(fract, jnp.int32)
        along = (basis * fract).sum(-1, dtype=jnp.int32)
        return _weighted(along, index.astype(jnp.int32))
    along = _wrap((basis.astype(fract.dtype) * fract).sum(-1))
    return _wrap(_weighted(along, index.astype(fract.dtype)))


def _weighted(along: Shaped[Array, "rank"], index: Shaped[Array, "spots rank"]) -> Shaped[Array, "spots"]:
    """Return Σ_k index_k along_k, as multiply-adds."""
    total = index[:, 0] * along[0]
    for k in range(1, len(along)):
        total = total + index[:, k] * along[k]
    return total


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
