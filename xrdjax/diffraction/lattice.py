"""Direct and reciprocal bases of a unit cell: on the host in float64, or traced and differentiable.

Rows are basis vectors in the Cartesian frame with a along x and b in the xy plane. Reciprocal vectors carry no 2π:
G = h a* + k b* + l c* = hkl @ reciprocal_basis(cell), in 1/Å.
"""

import math
from typing import TypeVar

import jax
import numpy as np

T = TypeVar("T", np.ndarray, jax.Array)


def direct_basis(cell: T) -> T:
    """Return a, b, c (*batch, 3, 3; rows, Å) of cells (*batch, 6) given as a, b, c in Å and α, β, γ in degrees.

    NumPy arrays and JAX arrays give their own kind (ITB 2006, 3.3.1).
    """
    xp = cell.__array_namespace__()
    # The sine of the complement: right angles give exact zeros, so that orthogonal axes stay so.
    cos_alpha, cos_beta, cos_gamma = (xp.sin((90.0 - cell[..., 3 + k]) * (math.pi / 180)) for k in range(3))
    sine_gamma = xp.sqrt(1.0 - cos_gamma**2)
    c_y = (cos_alpha - cos_beta * cos_gamma) / sine_gamma
    zero, one = xp.zeros_like(c_y), xp.ones_like(c_y)
    rows = ((one, zero, zero), (cos_gamma, sine_gamma, zero), (cos_beta, c_y, xp.sqrt(1.0 - cos_beta**2 - c_y**2)))
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2) * cell[..., :3, None]


def reciprocal_basis(cell: T) -> T:
    """Return a*, b*, c* (rows, 1/Å): the dual of `direct_basis`, b × c and its like over the volume."""
    xp = cell.__array_namespace__()
    direct = direct_basis(cell)
    rows = [xp.linalg.cross(direct[..., (k + 1) % 3, :], direct[..., (k + 2) % 3, :]) for k in range(3)]
    volume = (direct[..., 0, :] * rows[0]).sum(-1)
    return xp.stack(rows, axis=-2) / volume[..., None, None]


def star_tensor(u_aniso: T, reciprocal: T) -> T:
    """Return U*_ij = a*_i a*_j U_ij (atoms, 3, 3) of displacements U11 U22 U33 U12 U13 U23 in Å² (atoms, 6)."""
    length = (reciprocal**2).sum(-1) ** 0.5
    return u_aniso[:, np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])] * (length[:, None] * length)
