"""Direct and reciprocal bases of a unit cell, on the host in float64.

Rows are basis vectors in the Cartesian frame with a along x and b in the xy plane. Reciprocal vectors carry no 2π:
G = h a* + k b* + l c* = hkl @ reciprocal_basis(cell), in 1/Å.
"""

import numpy as np
from jaxtyping import Float


def direct_basis(cell: Float[np.ndarray, "*batch 6"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Return a, b, c (rows, Å) of cells given as a, b, c in Å and α, β, γ in degrees (ITB 2006, 3.3.1)."""
    lengths, angles = cell[..., :3], np.radians(cell[..., 3:])
    # Right angles give exact zeros, so that orthogonal axes stay exactly orthogonal.
    cosine = np.where(cell[..., 3:] == 90.0, 0.0, np.cos(angles))
    sine_gamma = np.sin(angles[..., 2])
    cos_alpha, cos_beta, cos_gamma = np.moveaxis(cosine, -1, 0)
    c_y = (cos_alpha - cos_beta * cos_gamma) / sine_gamma
    basis = np.zeros((*cell.shape[:-1], 3, 3))
    basis[..., 0, 0] = 1.0
    basis[..., 1, 0], basis[..., 1, 1] = cos_gamma, sine_gamma
    basis[..., 2, 0], basis[..., 2, 1] = cos_beta, c_y
    basis[..., 2, 2] = np.sqrt(1.0 - cos_beta**2 - c_y**2)
    return basis * lengths[..., None]


def reciprocal_basis(cell: Float[np.ndarray, "*batch 6"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Return a*, b*, c* (rows, 1/Å): the dual of `direct_basis`."""
    return np.swapaxes(np.linalg.inv(direct_basis(cell)), -1, -2)
