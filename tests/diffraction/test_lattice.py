"""Bases of unit cells against gemmi's."""

import gemmi
import numpy as np
import pytest

from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis

CELLS = np.array([
    [3.6, 3.6, 3.6, 90, 90, 90],
    [4.91, 4.91, 5.41, 90, 90, 120],
    [6.36, 6.36, 6.36, 46.08, 46.08, 46.08],
    [5.68, 15.2, 6.53, 90, 118.5, 90],
    [8.16, 12.87, 7.11, 93.5, 116.5, 90.2],
    [3.1, 95.0, 40.0, 61.0, 72.0, 113.0],
])  # fmt: skip


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"a{cell[0]}")
def test_direct_basis_is_gemmi_s(cell):
    columns = np.array(gemmi.UnitCell(*cell).orth.mat.tolist())
    np.testing.assert_allclose(direct_basis(cell), columns.T, rtol=0, atol=1e-13 * cell[:3].max())


def test_reciprocal_basis_is_dual():
    products = np.einsum("nix,njx->nij", direct_basis(CELLS), reciprocal_basis(CELLS))
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), products.shape), atol=1e-13)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"a{cell[0]}")
def test_spacings_are_gemmi_s(cell):
    hkl = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 2, -3], [-4, 0, 7]])
    length = np.linalg.norm(hkl @ reciprocal_basis(cell), axis=1)
    unit_cell = gemmi.UnitCell(*cell)
    np.testing.assert_allclose(length, [1 / unit_cell.calculate_d(index) for index in hkl.tolist()], rtol=1e-12)


def test_right_angles_are_exact():
    basis = direct_basis(CELLS[0])
    assert np.count_nonzero(basis) == 3
