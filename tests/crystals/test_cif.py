"""The CIF reader against gemmi's own expansion, and its refusals one by one."""

import pickle
from pathlib import Path

import gemmi
import numpy as np
import pytest
import reference

from xrdjax.crystals.cif import crystal_from_cif_text, read_cif
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import SPECIES, element_of, parse_species
from xrdjax.crystals.symmetry import metric_tensor
from xrdjax.errors import CifError

CIFS = sorted((Path(__file__).parents[1] / "data" / "cifs").glob("*.cif"))
CELL = """
_cell_length_a 4
_cell_length_b 4
_cell_length_c 5
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
"""
OPERATIONS = "loop_\n_space_group_symop_operation_xyz\n'x,y,z'\n'-x,-y,-z'\n"
ATOMS = """loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
"""
ATOM = "Fe1 Fe 0.1 0.2 0.3 1 0.01\n"
BARE = "Fe1 Fe 0.1 0.2 0.3 1 ?\n"
ANISO = """loop_
_atom_site_aniso_label
_atom_site_aniso_U_11
_atom_site_aniso_U_22
_atom_site_aniso_U_33
_atom_site_aniso_U_12
_atom_site_aniso_U_13
_atom_site_aniso_U_23
"""
TENSOR = "0.012 0.021 0.033 0.004 -0.006 0.008"


def cif(cell: str = CELL, symmetry: str = OPERATIONS, atoms: str = ATOMS + ATOM) -> str:
    return f"data_test{cell}{symmetry}{atoms}"


@pytest.mark.parametrize("path", CIFS, ids=lambda path: path.stem)
def test_atoms_are_those_of_gemmi(path):
    crystal = read_cif(path)
    structure = gemmi.make_small_structure_from_block(gemmi.cif.read(str(path)).sole_block())
    expected = structure.get_all_unit_cell_sites()
    assert crystal.num_atoms == len(expected)
    metric = metric_tensor(crystal.cell)
    elements = np.array([element_of(species) for species in crystal.species])
    for site in expected:
        difference = crystal.fract[elements == site.element.name] - site.fract.tolist()
        difference -= np.round(difference)
        assert np.einsum("ni,ij,nj->n", difference, metric, difference).min() < 1e-6**2


@pytest.mark.parametrize("path", CIFS, ids=lambda path: path.stem)
def test_group_is_the_declared_one(path):
    block = gemmi.cif.read(str(path)).sole_block()
    assert read_cif(path).space_group == int(block.find_value("_space_group_IT_number"))


@pytest.mark.parametrize("path", CIFS, ids=lambda path: path.stem)
def test_operation_carries_the_first_atom_to_each_image(path):
    crystal = read_cif(path)
    first = crystal.first_atoms[crystal.site]
    operations = crystal.operations
    images = np.einsum("nij,nj->ni", operations.rotation[crystal.operation], crystal.fract[first])
    difference = images + operations.translation[crystal.operation] / 24 - crystal.fract
    assert np.abs(difference - np.round(difference)).max() < 1e-12
    assert np.all(crystal.operation[crystal.first_atoms] == 0)


def test_special_positions_are_exact_when_written_coarsely():
    symmetry = "_space_group_IT_number 194\n"
    cell = CELL.replace("_c 5", "_c 6.5").replace("gamma 90", "gamma 120")
    crystal = crystal_from_cif_text(cif(cell, symmetry, ATOMS + "Mg1 Mg 0.3333 0.6667 0.25 1 0\n"), "Mg")
    assert crystal.num_atoms == 2
    np.testing.assert_allclose(crystal.fract, [[1 / 3, 2 / 3, 1 / 4], [2 / 3, 1 / 3, 3 / 4]], atol=1e-15)


def test_displacement_is_u_or_b_over_eight_pi_squared():
    atoms = ATOMS.replace("U_iso", "B_iso") + ATOM.replace("0.01", "0.5(1)")
    assert crystal_from_cif_text(cif(atoms=atoms), "b").u_iso[0] == pytest.approx(0.5 / (8 * np.pi**2))
    assert crystal_from_cif_text(cif(), "u").u_iso[0] == 0.01
    assert crystal_from_cif_text(cif(atoms=ATOMS + ATOM.replace("0.01", "?")), "none").u_iso[0] == 0


MONOCLINIC = cif(
    CELL.replace("_b 4", "_b 6").replace("beta 90", "beta 117"),
    "_space_group_name_H-M_alt 'C 1 2/c 1'\n",
    ATOMS
    + "Fe1 Fe 0 0.21 0.25 1 0.02\nO1 O 0.13 0.04 0.38 0.7 0.03\nO2 O 0.3 0.4 0.1 1 0.015\n"
    + ANISO
    + f"Fe1 0.012 0.021 0.033 0 -0.006 0\nO1 {TENSOR}\n",
)
TRIGONAL = cif(
    CELL.replace("_a 4", "_a 5").replace("_b 4", "_b 5").replace("_c 5", "_c 17").replace("gamma 90", "gamma 120"),
    "_space_group_name_H-M_alt 'R -3 c :H'\n",
    ATOMS
    + "Ca Ca 0 0 0 1 0.02\nC C 0 0 0.25 1 0.02\nO O 0.26 0 0.25 1 ?\n"
    + "Mg Mg 0.3 0.1 0.07 0.1 0.04\nH H 0.4 0.1 0.1 0.3 0.05\n"
    + ANISO
    + "Ca 0.02 0.02 0.01 0.01 0 0\nC 0.02 0.02 0.03 0.01 0 0\nO 0.02 0.036 0.03 0.018 -0.004 -0.008\n"
    + f"Mg {TENSOR}\n",
)
CUBIC = cif(
    CELL.replace("_c 5", "_c 4"),
    "_space_group_name_H-M_alt 'F m -3 m'\n",
    ATOMS + "Na Na 0 0 0 1 ?\nCl Cl 0.5 0.5 0.5 1 ?\nO O 0.5 0.2 0.2 0.1 ?\n" + ANISO + f"Na {TENSOR}\nO {TENSOR}\n",
)
HKL = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def damping(crystal: Crystal, hkl: np.ndarray) -> np.ndarray:
    """Return exp(−2π² Σ U_ij a*_i a*_j h_i h_j) for each reflection and atom."""
    reciprocal = gemmi.UnitCell(*crystal.cell).reciprocal()
    h, k, l = (hkl * [reciprocal.a, reciprocal.b, reciprocal.c]).T  # noqa: E741 (the field's letters)
    products = np.stack([h * h, k * k, l * l, 2 * h * k, 2 * h * l, 2 * k * l], axis=1)
    return np.exp(-2 * np.pi**2 * products @ crystal.u_aniso.T)


def squared_lengths(crystal: Crystal) -> np.ndarray:
    """Return |G|² = 1/d² of each of HKL in Å⁻²."""
    cell = gemmi.UnitCell(*crystal.cell)
    return np.array([cell.calculate_1_d2(hkl) for hkl in HKL.tolist()])


@pytest.mark.parametrize("text", [MONOCLINIC, TRIGONAL], ids=["monoclinic", "trigonal"])
def test_anisotropic_structure_factors_are_those_of_gemmi(text):
    crystal = crystal_from_cif_text(text, "anisotropic")
    structure = gemmi.make_small_structure_from_block(gemmi.cif.read_string(text).sole_block())
    structure.setup_cell_images()
    structure.change_occupancies_to_crystallographic()  # gemmi counts the images on one place apart
    calculator = gemmi.StructureFactorCalculatorX(structure.cell)
    expected = [calculator.calculate_sf_from_small_structure(structure, hkl) for hkl in HKL.tolist()]
    s2 = squared_lengths(crystal) / 4
    form_factors = np.stack([reference.form_factor(species, s2) for species in crystal.species], axis=1)
    waves = crystal.occupancy * form_factors * np.exp(2j * np.pi * HKL @ crystal.fract.T)
    tolerance = 2.0**-23 * reference.electrons(crystal)  # gemmi's form factors are in single precision
    np.testing.assert_allclose((waves * damping(crystal, HKL)).sum(axis=1), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("text", [MONOCLINIC, TRIGONAL, CUBIC], ids=["monoclinic", "trigonal", "cubic"])
def test_image_damps_as_its_site_does_the_equivalent_reflection(text):
    crystal = crystal_from_cif_text(text, "images")
    for first in crystal.first_atoms:
        images = crystal.operations.apply(crystal.fract[first])
        orbit = np.flatnonzero(crystal.site == crystal.site[first])
        for rotation, image in zip(crystal.operations.rotation, images, strict=True):
            difference = crystal.fract[orbit] - image
            atom = orbit[np.abs(difference - np.round(difference)).max(axis=1).argmin()]
            here, there = damping(crystal, HKL)[:, atom], damping(crystal, HKL @ rotation)[:, first]
            np.testing.assert_allclose(here, there, rtol=1e-12)


def test_tensor_on_a_special_position_obeys_its_symmetry():
    crystal = crystal_from_cif_text(CUBIC, "cubic")
    sodium, _, oxygen = crystal.first_atoms
    np.testing.assert_allclose(crystal.u_aniso[sodium], [0.022, 0.022, 0.022, 0, 0, 0], atol=1e-16)
    np.testing.assert_allclose(crystal.u_aniso[oxygen], [0.012, 0.027, 0.027, 0, 0, 0.008], atol=1e-16)


def test_tensor_that_obeys_its_place_stays_as_written():
    crystal = crystal_from_cif_text(TRIGONAL, "trigonal")
    written = [
        [0.02, 0.02, 0.01, 0.01, 0, 0],
        [0.02, 0.02, 0.03, 0.01, 0, 0],
        [0.02, 0.036, 0.03, 0.018, -0.004, -0.008],
    ]
    np.testing.assert_allclose(crystal.u_aniso[crystal.first_atoms[:3]], written, atol=1e-16)


def test_isotropic_atom_has_the_tensor_of_its_u_iso():
    crystal = crystal_from_cif_text(TRIGONAL, "trigonal")
    expected = np.exp(-2 * np.pi**2 * 0.05 * squared_lengths(crystal))
    assert crystal.species[-1] == "H"
    np.testing.assert_allclose(damping(crystal, HKL)[:, -1], expected, rtol=1e-12)


def test_u_iso_is_given_or_the_mean_over_directions():
    crystal = crystal_from_cif_text(MONOCLINIC.replace("1 0.02\n", "1 ?\n"), "monoclinic")
    cell = gemmi.UnitCell(*crystal.cell)
    edges = np.array(cell.reciprocal().parameters[:3])
    cartesian = np.array(cell.orth.mat.tolist()) * edges
    tensor = np.array([[0.012, 0, -0.006], [0, 0.021, 0], [-0.006, 0, 0.033]])
    expected = [np.trace(cartesian @ tensor @ cartesian.T) / 3, 0.03, 0.015]
    np.testing.assert_allclose(crystal.u_iso[crystal.first_atoms], expected, rtol=1e-12)


def test_anisotropic_displacement_is_u_or_b_over_eight_pi_squared():
    tensor = np.array([float(value) for value in TENSOR.split()])
    b = " ".join(f"{value:.17g}" for value in tensor * 8 * np.pi**2)
    from_u = crystal_from_cif_text(cif(atoms=ATOMS + BARE + ANISO + f"Fe1 {TENSOR}\n".replace("12 ", "12(3) ")), "u")
    from_b = crystal_from_cif_text(cif(atoms=ATOMS + BARE + ANISO.replace("_U_", "_B_") + f"Fe1 {b}\n"), "b")
    np.testing.assert_allclose(from_u.u_aniso, [tensor, tensor], rtol=1e-14)  # the same under inversion
    np.testing.assert_allclose(from_b.u_aniso, from_u.u_aniso, rtol=1e-14)
    np.testing.assert_allclose(from_b.u_iso, from_u.u_iso, rtol=1e-14)


@pytest.mark.parametrize(
    "rows", ["", "Fe1 ? ? ? ? ? ?\n", "Fe1 0.01 0.01 0.01 . 0 0\n", "Fe1 0 0 0 0 0 0\n", f"X {TENSOR}\n"]
)
def test_site_without_a_known_tensor_is_isotropic(rows):
    oxygen = "O1 O 0.5 0.1 0.4 1 0.02\n"
    loop = ANISO + rows if rows else ""
    alone = crystal_from_cif_text(cif(atoms=ATOMS + ATOM + oxygen + loop), "isotropic")
    assert alone.u_aniso is None
    mixed = crystal_from_cif_text(cif(atoms=ATOMS + ATOM + oxygen + ANISO + f"O1 {TENSOR}\n" + rows), "mixed")
    np.testing.assert_allclose(mixed.u_aniso[0], [0.01, 0.01, 0.01, 0, 0, 0], atol=1e-17)
    np.testing.assert_array_equal(mixed.u_iso, alone.u_iso)


def test_sites_that_share_a_label_share_a_tensor_or_have_one_each():
    sites = ATOMS + ATOM + ATOM.replace("0.3", "0.4")
    shared = crystal_from_cif_text(cif(atoms=sites + ANISO + f"Fe1 {TENSOR}\n"), "shared")
    each = crystal_from_cif_text(cif(atoms=sites + ANISO + f"Fe1 {TENSOR}\nFe1 0.1 0.2 0.3 0 0 0\n"), "each")
    np.testing.assert_array_equal(shared.u_aniso, each.u_aniso[[0, 0, 0, 0]])
    np.testing.assert_allclose(each.u_aniso[2:], [[0.1, 0.2, 0.3, 0, 0, 0]] * 2, rtol=1e-14)


def test_tensor_may_be_negative_by_rounding_only():
    for least, is_read in ((-0.0099, True), (-0.0101, False)):
        text = cif(atoms=ATOMS + BARE + ANISO + f"Fe1 0.01 0.01 {least} 0 0 0\n")
        if is_read:
            assert crystal_from_cif_text(text, "rounded").u_iso[0] == pytest.approx((0.02 + least) / 3)
        else:
            with pytest.raises(CifError, match=r"expected -0\.01 or more"):
                crystal_from_cif_text(text, "broken")


@pytest.mark.parametrize(("text", "occupancy"), [(".", 1), ("?", 1), ("0.5(1)", 0.5), ("5e-1", 0.5)])
def test_occupancy_is_a_number_or_one(text, occupancy):
    crystal = crystal_from_cif_text(cif(atoms=ATOMS + f"Fe1 Fe 0.1 0.2 0.3 {text} 0\n"), "occupied")
    assert crystal.occupancy.tolist() == [occupancy, occupancy]


def test_mixed_site_keeps_both_species():
    mixed = ATOMS + "Fe1 Fe2+ 0 0 0 0.25 0\nMg1 Mg 0 0 0 0.75 0\n"
    crystal = crystal_from_cif_text(cif(atoms=mixed), "mixed")
    assert crystal.species == ("Fe2+", "Mg")
    assert crystal.occupancy.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    "symmetry",
    ["_space_group_name_Hall '-P 1'\n", "_symmetry_space_group_name_H-M 'P -1'\n", "_symmetry_Int_Tables_number 2\n"],
)
def test_symmetry_from_any_tag_is_the_same(symmetry):
    np.testing.assert_array_equal(
        crystal_from_cif_text(cif(symmetry=symmetry), "a").fract, crystal_from_cif_text(cif(), "b").fract
    )


def test_block_without_atoms_is_passed_over():
    assert crystal_from_cif_text("data_global\n_publ_x y\n" + cif(), "two blocks").num_atoms == 2


REFUSED = {
    "not CIF syntax": "data_test\nloop_\n_a\n_b\n1\n",
    "no atoms (_atom_site_fract_x)": cif(atoms=""),
    "2 data blocks have atoms (test, other)": cif() + cif().replace("data_test", "data_other"),
    "_cell_length_a is absent": cif(cell=CELL.replace("_cell_length_a 4", "")),
    "_cell_length_c is ?": cif(cell=CELL.replace("_c 5", "_c ?")),
    "_cell_length_c is 0 Å; expected 0.5 to 10000 Å": cif(cell=CELL.replace("_c 5", "_c 0")),
    "_cell_length_c is 1e+200 Å; expected 0.5 to 10000 Å": cif(cell=CELL.replace("_c 5", "_c 1e200")),
    "cell 4 4 5 90 90 180 encloses no volume": cif(cell=CELL.replace("gamma 90", "gamma 180")),
    "no symmetry": cif(symmetry=""),
    "space-group symbol 'Q 7' is unknown": cif(symmetry="_symmetry_space_group_name_H-M 'Q 7'\n"),
    "'P 4/n' has two origins": cif(cell=CELL.replace(" 4", " 8"), symmetry="_symmetry_space_group_name_H-M 'P 4/n'\n"),
    "_space_group_IT_number is '231'": cif(symmetry=OPERATIONS + "_space_group_IT_number 231\n"),
    "_space_group_IT_number says space group 1, the": cif(symmetry="_space_group_IT_number 1\n" + OPERATIONS),
    "'P 1 21/c 1' says space group 14, the": cif(symmetry="_space_group_name_H-M_alt 'P 1 21/c 1'\n" + OPERATIONS),
    "'-P 4' says space group 83, the": cif(symmetry="_space_group_name_Hall '-P 4'\n" + OPERATIONS),
    "'-x,-y' cannot be read": cif(symmetry=OPERATIONS.replace("-x,-y,-z", "-x,-y")),
    "the 2 symmetry operations do not form a group": cif(symmetry=OPERATIONS.replace("-x,-y,-z", "-y,x,z")),
    "the cell contradicts space group 221": cif(symmetry="_space_group_IT_number 221\n"),
    "site Zz1: 'Zz' names no known element": cif(atoms=ATOMS + "Zz1 Zz 0 0 0 1 0\n"),
    "site Es1: 'Es' has no X-ray scattering factor": cif(atoms=ATOMS + "Es1 Es 0 0 0 1 0\n"),
    "site Wat1: 'Wat1' is a dummy atom": cif(atoms=ATOMS + "Wat1 ? 0 0 0 1 0\n"),
    "a coordinate of site Fe1 is unknown": cif(atoms=ATOMS + "Fe1 Fe 0 ? 0 1 0\n"),
    "coordinate -1001 of site Fe1; expected a fraction": cif(atoms=ATOMS + "Fe1 Fe 0 -1001 0 1 0\n"),
    "the atom loop has no _atom_site_fract_y; add": cif(atoms=ATOMS.replace("fract_y", "note") + ATOM),
    "the atom loop has no _atom_site_fract_z; add": cif(atoms=ATOMS.replace("fract_z", "note") + ATOM),
    "the atom loop has no _atom_site_fract_x; add": cif(
        atoms=ATOMS.replace("fract_x", "note") + ATOM + "loop_\n_atom_site_fract_x\n0.1\n"
    ),
    "_atom_site_occupancy is half at site Fe1; expected a number, or ? for 1": cif(
        atoms=ATOMS + "Fe1 Fe 0 0 0 half 0\n"
    ),
    "_atom_site_U_iso_or_equiv is 0.0.1 at site Fe1; expected": cif(atoms=ATOMS + "Fe1 Fe 0 0 0 1 0.0.1\n"),
    "_atom_site_B_iso_or_equiv is Uani at site Fe1; expected a number, or ? for 0": cif(
        atoms=ATOMS.replace("U_iso", "B_iso") + "Fe1 Fe 0 0 0 1 Uani\n"
    ),
    "sites Fe1, Mg1 share one place with occupancies of 1.02 in all": cif(
        atoms=ATOMS + "Fe1 Fe 0 0 0 0.5 0\nMg1 Mg 0 0 0.001 0.52 0\n"
    ),
    "occupancy 1.2 at site Fe1; expected (0, 1]": cif(atoms=ATOMS + "Fe1 Fe 0 0 0 1.2 0\n"),
    "occupancy 0 at site Fe1; expected (0, 1]": cif(atoms=ATOMS + "Fe1 Fe 0 0 0 0 0\n"),
    "u_iso -0.1 Å² at site Fe1": cif(atoms=ATOMS + "Fe1 Fe 0 0 0 1 -0.1\n"),
    "the atom loop has no _atom_site_label": cif(
        atoms=ATOMS.replace("_label", "_note").replace("_type_symbol", "_name") + ATOM
    ),
    "_atom_site_aniso_U_22 is 0.0l at site Fe1; expected a number, or ? for an isotropic site": cif(
        atoms=ATOMS + ATOM + ANISO + "Fe1 0.01 0.0l ? 0 0 0\n"
    ),
    "the loop of _atom_site_aniso_label has no _atom_site_aniso_U_23; add": cif(
        atoms=ATOMS + ATOM + ANISO.replace("U_23", "note") + f"Fe1 {TENSOR}\n"
    ),
    "of 0.01 0.02 0.03 0.04 0 0 at site Fe1 are a mean square of -0.02531 Å² along one axis": cif(
        atoms=ATOMS + ATOM + ANISO + "Fe1 0.01 0.02 0.03 0.04 0 0\n"
    ),
    "_atom_site_aniso_label Fe01 is no site's; expected that of a site, such as Fe1": cif(
        atoms=ATOMS + BARE + ANISO + f"Fe01 {TENSOR}\n"
    ),
    "_atom_site_aniso_label Fe1 has 2 rows; expected 1 or as many as sites, 1": cif(
        atoms=ATOMS + ATOM + ANISO + f"Fe1 {TENSOR}\n" * 2
    ),
    "hundreds of atoms share one place": cif(atoms=ATOMS + "Fe1 Fe 0 0 0 1 0\n" * 600),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refusal_is_one_line_that_names_file_and_reason(reason, tmp_path):
    path = tmp_path / "bad.cif"
    path.write_text(REFUSED[reason])
    with pytest.raises(CifError) as caught:
        read_cif(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_large_a_cell_is_refused(monkeypatch):
    monkeypatch.setattr("xrdjax.crystals.cell_contents.MAX_ATOMS", 1)
    with pytest.raises(CifError, match="more than 1 atoms in the cell"):
        crystal_from_cif_text(cif(), "large")


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(CifError, match="No such file"):
        read_cif(tmp_path / "absent.cif")
    with pytest.raises(CifError, match="Is a directory"):
        read_cif(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "noise.cif"
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(CifError):
        read_cif(path)


def test_error_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(CifError(Path("a.cif"), "no atoms")))
    assert (str(error), error.path, error.reason) == ("a.cif: no atoms", "a.cif", "no atoms")


def test_species_are_the_entries_of_gemmis_table():
    ignored = gemmi.IT92_get_ignore_charge()
    gemmi.IT92_set_ignore_charge(False)
    try:
        elements = [gemmi.Element(number) for number in range(1, 119)] + [gemmi.Element("D")]
        expected = {element.name for element in elements if gemmi.IT92_get_exact(element, 0)}
        for charge in (*range(-9, 0), *range(1, 10)):
            name = f"{abs(charge)}{'+' if charge > 0 else '-'}"
            expected |= {element.name + name for element in elements if gemmi.IT92_get_exact(element, charge)}
    finally:
        gemmi.IT92_set_ignore_charge(ignored)
    assert set(SPECIES) == expected
    assert [SPECIES.index(name) for name in ("H", "Cf", "D")] == [0, 97, 98]


@pytest.mark.parametrize(
    ("symbol", "species"),
    [
        ("Ca2+", "Ca2+"),
        ("Ca+2", "Ca2+"),
        ("CA", "Ca"),
        ("Na+", "Na1+"),
        ("Na1+", "Na1+"),
        ("O2-", "O2-"),
        ("Fe6+", "Fe"),
        ("Fe0+", "Fe"),
        ("D", "D"),
        ("Ow1", "O"),
        ("C13A", "C"),
        ("Co1", "Co"),
    ],
)
def test_symbol_is_understood(symbol, species):
    assert parse_species(symbol) == species


@pytest.mark.parametrize("symbol", ["", "?", "Xx", "X", "Va", "WatII", "DUM1", "Es", "Fe/Mg", "Fe0.5Mg0.5", "1"])
def test_symbol_is_refused(symbol):
    with pytest.raises(ValueError, match="'"):
        parse_species(symbol)
