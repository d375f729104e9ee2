"""Every setting in gemmi's table, written as operations, as a symbol and as a Hall symbol: one crystal comes back.

The reference is a direct sum over sites and operations of gemmi in the reference setting; the crystal is carried into
each setting by gemmi's change of basis, and the sum over the atoms that the reader returns has to be the same |F|.
"""

from functools import cache

import gemmi
import numpy as np
import pytest

from xrdjax.crystals.cif import crystal_from_cif_text
from xrdjax.crystals.crystal import Crystal

SETTINGS = list(gemmi.spacegroup_table())
REFERENCE = {group.number: group for group in SETTINGS if group.is_reference_setting()}
ELECTRONS = {"Fe": 26.0, "O": 8.0}
SITES = {"Fe": [0.112, 0.237, 0.371], "O": [0.421, 0.083, 0.194]}
TOLERANCE = 1e-7  # of some 3 electrons per Å³: phases are right to 2π·12·1e-10, as the coordinates are written
CELLS = {
    "triclinic": [8, 9, 11, 80, 95, 105],
    "monoclinic": [8, 9, 11, 90, 100, 90],
    "orthorhombic": [8, 9, 11, 90, 90, 90],
    "tetragonal": [9, 9, 11, 90, 90, 90],
    "trigonal": [9, 9, 14, 90, 90, 120],
    "hexagonal": [9, 9, 14, 90, 90, 120],
    "cubic": [12, 12, 12, 90, 90, 90],
}
HKL = np.random.default_rng(0).integers(-4, 5, size=(40, 3))


def axes(group: gemmi.SpaceGroup) -> np.ndarray:
    """Return the matrix that takes coordinates on the axes of the reference setting to those of another."""
    return np.array(group.basisop.rot) / gemmi.Op.DEN


def written(group: gemmi.SpaceGroup, symmetry: str) -> str:
    """Return the CIF of the crystal of the reference setting, carried into another."""
    edges = np.array(gemmi.UnitCell(*CELLS[group.crystal_system_str()]).orth.mat.tolist()) @ np.linalg.inv(axes(group))
    metric = edges.T @ edges
    lengths = np.sqrt(np.diag(metric))
    angles = [np.rad2deg(np.arccos(metric[i, j] / lengths[i] / lengths[j])) for i, j in ((1, 2), (0, 2), (0, 1))]
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    text = "data_s\n" + symmetry
    text += "".join(f"_cell_{name} {value:.10f}\n" for name, value in zip(names, [*lengths, *angles], strict=True))
    text += "loop_\n" + "".join(f"_atom_site_{name}\n" for name in ("label", "fract_x", "fract_y", "fract_z"))
    for label, fract in SITES.items():
        text += f"{label} " + " ".join(f"{value:.10f}" for value in group.basisop.apply_to_xyz(fract)) + "\n"
    return text


def amplitudes(crystal: Crystal, hkl: np.ndarray) -> np.ndarray:
    """Return |F| per volume."""
    electrons = np.array([ELECTRONS[species] for species in crystal.species])
    return np.abs(np.exp(2j * np.pi * hkl @ crystal.fract.T) @ electrons) / gemmi.UnitCell(*crystal.cell).volume


@cache
def expected(number: int) -> np.ndarray:
    """Return |F| per volume of HKL in the reference setting, by gemmi's operations."""
    group = REFERENCE[number]
    images = [
        (ELECTRONS[element], operation.apply_to_xyz(fract))
        for operation in group.operations()
        for element, fract in SITES.items()
    ]
    electrons, fract = (np.array(column) for column in zip(*images, strict=True))
    volume = gemmi.UnitCell(*CELLS[group.crystal_system_str()]).volume
    return np.abs(np.exp(2j * np.pi * HKL @ fract.T) @ electrons) / volume


def by_operations(group: gemmi.SpaceGroup) -> str:
    rows = "".join(f"'{operation.triplet()}'\n" for operation in group.operations())
    return f"loop_\n_space_group_symop_operation_xyz\n{rows}"


def by_symbol(group: gemmi.SpaceGroup) -> str:
    return f"_symmetry_space_group_name_H-M '{group.xhm()}'\n"


def by_hall(group: gemmi.SpaceGroup) -> str:
    return (
        f"_space_group_name_Hall '{group.hall}'\n" if '"' in group.hall else f'_space_group_name_Hall "{group.hall}"\n'
    )


@pytest.mark.parametrize("symmetry", [by_operations, by_symbol, by_hall])
def test_crystal_reads_back_in_every_setting(symmetry):
    for group in SETTINGS:
        crystal = crystal_from_cif_text(written(group, symmetry(group)), group.xhm())
        assert crystal.space_group == group.number, group.xhm()
        assert crystal.num_atoms == len(SITES) * len(group.operations()), group.xhm()
        hkl = HKL @ np.linalg.inv(axes(group))  # the same planes on the setting's axes
        is_whole = np.abs(hkl - hkl.round()).max(axis=1) < 1e-6
        amplitude = expected(group.number)
        assert amplitude[~is_whole].max(initial=0) < TOLERANCE, group.xhm()  # absent by centring that the setting lacks
        found = amplitudes(crystal, hkl[is_whole].round())
        np.testing.assert_allclose(found, amplitude[is_whole], rtol=0, atol=TOLERANCE, err_msg=group.xhm())
