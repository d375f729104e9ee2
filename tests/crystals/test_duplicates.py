"""One structure in other words is the same; another structure is not."""

import itertools
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest

from xrdjax.crystals.cif import crystal_from_cif_text, read_cif
from xrdjax.crystals.columns import ColumnsBuilder
from xrdjax.crystals.duplicates import NUM_NEIGHBOURS, find_duplicates, neighbour_distances
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import metric_tensor

CIFS = Path(__file__).parents[1] / "data" / "cifs"
NAMES = ["albite_C-1", "calcite_rhomb", "gypsum", "fluorapatite", "FeSi_B20", "ZnO_wurtzite"]


def duplicates(*crystals):
    builder = ColumnsBuilder()
    for crystal in crystals:
        builder.add(crystal)
    return find_duplicates(CrystalStore(builder.build())).tolist()


def in_another_setting(crystal, setting: str):
    """Write a crystal's asymmetric unit in another setting of its group, and read that."""
    to = gemmi.SpaceGroup(setting)
    own = next(
        group
        for group in gemmi.spacegroup_table()
        if group.number == crystal.space_group and set(ops(group)) == set(rows(crystal))
    )
    change = to.basisop * own.basisop.inverse()  # from the own setting to the reference to the other
    new = change_of_basis(crystal, change)
    return crystal_from_cif_text(new.format(symbol=to.xhm()), "other")


def rows(crystal):
    return [
        (*r.ravel().tolist(), *t.tolist())
        for r, t in zip(crystal.operations.rotation, crystal.operations.translation, strict=True)
    ]


def ops(group):
    return [(*(e // 24 for row in op.rot for e in row), *(t % 24 for t in op.tran)) for op in group.operations()]


def change_of_basis(crystal, change: gemmi.Op) -> str:
    rotation = np.array(change.rot) / 24
    shift = np.array(change.tran) / 24
    inverse = np.linalg.inv(rotation)
    metric = inverse.T @ metric_tensor(crystal.cell) @ inverse
    edges = np.sqrt(np.diag(metric))
    angles = [np.degrees(np.arccos(metric[i, j] / edges[i] / edges[j])) for i, j in ((1, 2), (0, 2), (0, 1))]
    tags = [*(f"length_{x}" for x in "abc"), *(f"angle_{x}" for x in ("alpha", "beta", "gamma"))]
    lines = ["data_x", *(f"_cell_{tag} {value:.9f}" for tag, value in zip(tags, [*edges, *angles], strict=True))]
    lines += ["_symmetry_space_group_name_H-M '{symbol}'", "loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_fract_{x}" for x in "xyz"]
    for number, atom in enumerate(crystal.first_atoms):
        x, y, z = rotation @ crystal.fract[atom] + shift
        lines.append(f"A{number} {crystal.species[atom]} {x:.10f} {y:.10f} {z:.10f}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_name_and_order_of_sites_do_not_matter(name):
    crystal = read_cif(CIFS / f"{name}.cif")
    order = np.argsort(-crystal.site, kind="stable")
    reordered = replace(
        crystal,
        fract=crystal.fract[order],
        species=tuple(crystal.species[i] for i in order),
        site=crystal.site.max() - crystal.site[order],
        operation=crystal.operation[order],
        occupancy=crystal.occupancy[order],
        u_iso=crystal.u_iso[order],
    )
    assert duplicates(crystal, replace(crystal, name="again"), reordered) == [0, 0, 0]


@pytest.mark.parametrize(("name", "setting"), [("calcite_rhomb", "R -3 c:H"), ("gypsum", "C 1 2/c 1")])
def test_setting_and_cell_do_not_matter(name, setting):
    crystal = read_cif(CIFS / f"{name}.cif")
    other = in_another_setting(crystal, setting)
    assert other.num_atoms != crystal.num_atoms or not np.allclose(other.cell, crystal.cell)
    np.testing.assert_allclose(neighbour_distances(other), neighbour_distances(crystal), rtol=1e-6)
    assert duplicates(crystal, other) == [0, 0]


def test_half_a_per_cent_is_the_same_and_two_are_not():
    crystal = read_cif(CIFS / "gypsum.cif")
    scaled = [
        replace(crystal, cell=crystal.cell * np.array([factor] * 3 + [1.0] * 3)) for factor in (1.005, 1.02, 1.0205)
    ]
    assert duplicates(crystal, *scaled) == [0, 0, 2, 2]


def test_other_elements_and_moved_atoms_are_another_structure():
    crystal = read_cif(CIFS / "ZnO_wurtzite.cif")
    cadmium = replace(crystal, species=tuple("Cd" if name == "Zn" else name for name in crystal.species))
    fract = crystal.fract.copy()
    fract[np.array([name == "O" for name in crystal.species]), 2] += 0.03
    assert duplicates(crystal, cadmium, replace(crystal, fract=fract)) == [0, 1, 2]


def test_neighbour_distances_are_those_of_a_large_block():
    crystal = read_cif(CIFS / "FeSi_B20.cif")
    edge = crystal.cell[0]
    element = np.array(crystal.species)
    shift = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    found = neighbour_distances(crystal)
    for (i, own), (j, other) in itertools.product(enumerate(("Fe", "Si")), repeat=2):
        block = (crystal.fract[element == other] + shift[:, None]).reshape(-1, 3) * edge
        centre = crystal.fract[element == own][0] * edge
        distance = np.sort(np.linalg.norm(block - centre, axis=1))[own == other :][:NUM_NEIGHBOURS]
        np.testing.assert_allclose(found[i, j], [distance, distance], rtol=1e-9)


def test_orders_of_one_packing_are_told_apart():
    """Two ways to fill the places of one packing: every atom has its neighbours at the same distances."""
    rows = alternating("Li", "Ni")
    pairs = alternating("Li", "Li", "Ni", "Ni")
    fine = neighbour_distances(rows)[:, :, 0]
    assert np.abs(fine / neighbour_distances(pairs)[:, :, 0] - 1).max() > 0.05


def alternating(*elements: str):
    """Return a simple cubic packing whose layers are of these elements."""
    height = len(elements)
    layers = [f"A{n} {element} 0 0 {n / height:.4f}" for n, element in enumerate(elements)]
    cell = f"_cell_length_a 3\n_cell_length_b 3\n_cell_length_c {3 * height}\n"
    cell += "".join(f"_cell_angle_{x} 90\n" for x in ("alpha", "beta", "gamma"))
    loop = "_space_group_IT_number 1\nloop_\n_atom_site_label\n_atom_site_type_symbol\n"
    loop += "".join(f"_atom_site_fract_{x}\n" for x in "xyz")
    return crystal_from_cif_text(f"data_x\n{cell}{loop}" + "\n".join(layers) + "\n", "x")
