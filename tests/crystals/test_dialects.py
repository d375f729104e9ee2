"""How many hands write CIFs: what each way of saying a thing is read as, with which note, or why it is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from xrdjax.crystals.cif import crystal_from_cif_text, crystals_from_cif_text, decode_cif, read_cif
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.found_group import found_group
from xrdjax.errors import CifError

DIALECTS = Path(__file__).parents[1] / "data" / "dialects"
FIELDS = ("label", "fract_x", "fract_y", "fract_z", "occupancy", "U_iso_or_equiv")


def structure(
    sites: str, symmetry: str = "", *, cell: str = "5 5 5 90 90 90", more: str = "", fields: tuple[str, ...] = FIELDS
) -> str:
    """Return a CIF; the sites have as many of the fields as their first row."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    edges = "".join(f"_cell_{name} {value}\n" for name, value in zip(names, cell.split(), strict=True))
    columns = "".join(f"_atom_site_{name}\n" for name in fields[: len(sites.strip().split("\n")[0].split())])
    return f"data_x\n{edges}{symmetry}\n{more}\nloop_\n{columns}{sites}\n"


def named(symbol: str) -> str:
    return f"_symmetry_space_group_name_H-M '{symbol}'"


def operations(*triplets: str) -> str:
    return "loop_\n_symmetry_equiv_pos_as_xyz\n" + "\n".join(triplets)


def contents(crystal: Crystal) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for species, occupancy in zip(crystal.species, crystal.occupancy, strict=True):
        counts[species] += occupancy
    return {species: round(float(count), 6) for species, count in counts.items()}


def read(text: str) -> Crystal:
    return crystal_from_cif_text(text, "x")


def formula(text: str, num_units: int | None = None) -> str:
    return f"_chemical_formula_sum '{text}'\n" + (f"_cell_formula_units_Z {num_units}\n" if num_units else "")


@pytest.mark.parametrize(
    ("symbol", "group"),
    [
        *(("P 21 /m", 11), ("P2(1)/c", 14), ("P 2_1/c", 14), ("P 1 21/c 1 S", 14), ("C 2/m S", 12), ("P 2 1/c", 14)),
        *(("P 2~1~2~1~2~1~", 19), ("P 21/n 21/m 21/a", 62), ("P n m a (62)", 62), ("C m c e", 64), ("A e a 2", 41)),
        *(("P 4/m 2/m 2/m", 123), ("P 42/m n m", 136), ("P m 3 m", 221), ("F m 3- m", 225), ("F 4/m -3 2/m", 225)),
        *(("I a 3 d", 230), ("P a 3", 205), ("P bar 1", 2), ("P1-", 2), ("p -1", 2), ("PNMA", 62), ("P b n m", 62)),
    ],
)
def test_symbol_is_understood_however_written(symbol, group):
    edges = "5 6 7" if group < 75 else "5 5 7" if group < 195 else "5 5 5"
    assert read(structure("Fe 0.11 0.23 0.37", named(symbol), cell=f"{edges} 90 90 90")).space_group == group


SPINEL_1 = "Mg 0 0 0\nAl 0.625 0.625 0.625\nO 0.387 0.387 0.387"  # origin at -43m
SPINEL_2 = "Mg 0.125 0.125 0.125\nAl 0.5 0.5 0.5\nO 0.262 0.262 0.262"  # origin at -3m
SPINEL_CELL = "8.08 8.08 8.08 90 90 90"


@pytest.mark.parametrize("symmetry", [named("F d -3 m"), named("F d 3 m"), "_symmetry_Int_Tables_number 227"])
@pytest.mark.parametrize(("sites", "origin"), [(SPINEL_1, 1), (SPINEL_2, 2)])
@pytest.mark.parametrize("stated", [formula("Mg Al2 O4", 8), "_exptl_crystal_density_diffrn 3.58"])
def test_origin_is_told_by_formula_or_density(symmetry, sites, origin, stated):
    crystal = read(structure(sites, symmetry, cell=SPINEL_CELL, more=stated))
    assert contents(crystal) == {"Mg": 8, "Al": 16, "O": 32}
    assert f"origin {origin} of" in " ".join(crystal.notes)
    assert "told by the contents" in " ".join(crystal.notes)


@pytest.mark.parametrize(
    "suffix", [" Z", " :2", ":2", " (origin choice 2)", " O2", " [Origin choice 2]", "Z", " :2 (227)"]
)
def test_origin_that_the_symbol_states_is_taken(suffix):
    crystal = read(structure(SPINEL_2, named(f"F d -3 m{suffix}"), cell=SPINEL_CELL))
    assert contents(crystal) == {"Mg": 8, "Al": 16, "O": 32}


@pytest.mark.parametrize(("sites", "origin"), [(SPINEL_1, 1), (SPINEL_2, 2)])
def test_origin_is_told_by_distances_where_the_other_is_impossible(sites, origin):
    crystal = read(structure(sites, named("F d -3 m"), cell=SPINEL_CELL))
    assert contents(crystal) == {"Mg": 8, "Al": 16, "O": 32}
    assert f"origin {origin} of 'F d -3 m': told by the distances" in crystal.notes


def test_number_alone_is_the_standard_setting_unless_atoms_are_then_too_close():
    text = structure("Fe 0.2 0.1 0.3", "_space_group_IT_number 14", cell="5 6 7 90 100 90")
    crystal = read(text)
    assert crystal.num_atoms == 4
    assert "the standard setting P 1 21/c 1 of space group 14" in crystal.notes[0]
    with pytest.raises(CifError, match="in the standard setting of space group 14 atoms are too close"):
        read(text.replace("0.2 0.1 0.3", "0.03 0.03 0.03"))


@pytest.mark.parametrize(("code", "half"), [("b1", [0, 0, 1]), ("b2", [1, 0, 1]), ("b3", [1, 0, 0])])
def test_code_names_the_setting_of_a_number(code, half):
    text = structure("Fe 0.2 0.1 0.3", f"_space_group_IT_number 7\n_space_group_IT_coordinate_system_code {code}")
    crystal = read(text)
    assert (crystal.operations.translation[1] // 12).tolist() == half
    assert crystal.notes == ()


@pytest.mark.parametrize("symmetry", [named("F d -3 m"), "_space_group_IT_number 227"])
def test_code_names_the_origin(symmetry):
    text = structure(SPINEL_2, f"{symmetry}\n_space_group_IT_coordinate_system_code 2", cell=SPINEL_CELL)
    assert contents(read(text)) == {"Mg": 8, "Al": 16, "O": 32}
    assert read(text).notes == ()


def test_alternatives_without_occupancies_are_refused():
    fields = ("label", "fract_x", "fract_y", "fract_z", "disorder_group")
    assert read(structure("C1 0 0 0 .\nC2 0.4 0 0 1", named("P 1"), fields=fields)).num_atoms == 2
    with pytest.raises(CifError, match="add _atom_site_occupancy"):
        read(structure("C1 0 0 0 1\nC2 0.4 0 0 2", named("P 1"), fields=fields))


def test_origin_is_told_where_the_other_puts_two_atoms_on_one_place():
    crystal = read(structure("Mg 0 0 0\nAl 0.25 0.25 0.25", named("F d -3 m"), cell="10 10 10 90 90 90"))
    assert contents(crystal) == {"Mg": 16, "Al": 32}
    assert crystal.notes == ("origin 2 of 'F d -3 m': told by the distances",)


ROCK_SALT = "Na 0 0 0\nCl 0.5 0.5 0.5"
ALL_ROCK_SALT = ROCK_SALT + "\nNa 0 .5 .5\nNa .5 0 .5\nNa .5 .5 0\nCl .5 0 0\nCl 0 .5 0\nCl 0 0 .5"


@pytest.mark.parametrize("sites", [ROCK_SALT, ALL_ROCK_SALT], ids=["asymmetric unit", "whole cell"])
def test_operations_that_are_too_few_are_completed_from_the_symbol(sites):
    text = structure(sites, operations("x,y,z") + "\n" + named("F m -3 m"), more=formula("Na Cl", 4))
    crystal = read(text)
    assert (crystal.space_group, contents(crystal)) == (225, {"Na": 4, "Cl": 4})
    assert "of which the file lists 1" in " ".join(crystal.notes)
    with pytest.raises(CifError, match="'F m -3 m' says space group 225, the symmetry operations say 1"):
        read(structure(ROCK_SALT, operations("x,y,z") + "\n" + named("F m -3 m")))


def test_centring_that_the_operations_lack_is_asked_for_though_the_number_is_the_same():
    text = structure("Fe 0.1 0.2 0.3", operations("x,y,z", "-x,-y,-z") + "\n" + named("I -1"))
    with pytest.raises(CifError, match="lists 2 operations, its symbol has more"):
        read(text)
    assert read(text.replace("loop_", formula("Fe", 4) + "loop_", 1)).num_atoms == 4
    assert read(text.replace("loop_", formula("Fe", 2) + "loop_", 1)).num_atoms == 2


def test_listed_operations_win_over_a_symbol_that_does_not_fit_the_formula():
    text = structure("Fe 0.1 0.2 0.3\nO 0.4 0.1 0.7", operations("x,y,z", "x,-y,z+1/2") + "\n" + named("C 1 c 1"))
    assert read(text.replace("loop_", formula("Fe O", 2) + "loop_", 1)).space_group == 7
    assert read(text.replace("loop_", formula("Fe O", 4) + "loop_", 1)).space_group == 9


def test_whole_cell_beside_all_operations_is_merged():
    crystal = read(structure(ALL_ROCK_SALT, named("F m -3 m")))
    assert contents(crystal) == {"Na": 4, "Cl": 4}
    assert "listed twice" in " ".join(crystal.notes)
    mixed = "\n".join(
        f"{row} 0.5\n{row.replace('Na', 'K').replace('Cl', 'Br')} 0.5" for row in ALL_ROCK_SALT.split("\n")
    )
    assert contents(read(structure(mixed, named("F m -3 m")))) == {"Na": 2, "K": 2, "Cl": 2, "Br": 2}


def test_shared_place_of_one_species_adds():
    crystal = read(structure("C1 0.1 0.2 0.3 0.6\nC1' 0.1 0.202 0.3 0.4\nO 0.5 0.5 0.1 1", named("P 1")))
    assert contents(crystal) == {"C": 1, "O": 1}
    assert "occupancies add: sites C1 and C1'" in " ".join(crystal.notes)


@pytest.mark.parametrize("occupancies", [(0.75, 0.75), (0.4, 0.4, 0.4), (1, 0.5), (0.7, 0.6)])
def test_shared_place_of_one_species_is_not_overfilled(occupancies):
    rows = "\n".join(f"C{number} 0.1 0.2 0.3 {occupancy}" for number, occupancy in enumerate(occupancies))
    with pytest.raises(CifError, match="share one place with occupancies of"):
        read(structure(rows, named("P 1")))


@pytest.mark.parametrize(("stated", "expected"), [("Fe O", 1), ("Fe2 O", 2)])
def test_half_atom_and_its_image_are_told_by_the_formula(stated, expected):
    sites = "O 0 0 0 1\nFe1 0.1 0.2 0.3 0.5\nFe2 -0.1 -0.2 -0.3 0.5"
    assert contents(read(structure(sites, named("P -1"), more=formula(stated, 1)))) == {"O": 1, "Fe": expected}
    with pytest.raises(CifError, match="images of each other"):
        read(structure(sites, named("P -1")))


@pytest.mark.parametrize("symbol", ["R -3", "R-3", "R -3 :R", "R -3 R", "R3-"])
def test_rhombohedral_axes_are_told_by_the_angles(symbol):
    crystal = read(structure("Fe 0.11 0.23 0.37", named(symbol), cell="6 6 6 70 70 70"))
    assert (crystal.space_group, crystal.num_atoms) == (148, 6)
    hexagonal = structure(
        "Fe 0.11 0.23 0.37",
        named(symbol.replace("R", "H") if symbol[2:].endswith("R") else symbol),
        cell="6 6 15 90 90 120",
    )
    if not symbol.endswith("R"):
        assert read(hexagonal).num_atoms == 18


@pytest.mark.parametrize(
    "listed",
    [
        ("'x, y, z'", "'-x, -y, -z'"),
        ("X,Y,Z", "-X,-Y,-Z"),
        ("+x,+y,+z", "-x,-y,-z"),
        ("'  x ,  y ,  z'", '"-x,-y,-z"'),
        ("x,y,z", "1-x,1-y,2-z"),
        ("x, y, z", "-x, -y, -z"),
        (";\nx,y,z\n-x,-y,-z\n;",),
        ("'x,y,z; -x,-y,-z'",),
        ("x,y,z", "x,y,z", "-x,-y,-z"),
    ],
)
def test_operations_are_understood_however_written(listed):
    assert read(structure("Fe 0.1 0.2 0.3", operations(*listed))).space_group == 2


@pytest.mark.parametrize("half", ["1/2+x", "x+1/2", "x+.5", ".5000+x", "0.5+x", "-1/2+x", "x+0.50000"])
def test_shifts_are_understood_however_written(half):
    listed = operations("x,y,z", f"'{half},-y,z'")
    assert read(structure("Fe 0.1 0.2 0.3", listed)).space_group == 7


def test_operations_may_be_numbered_or_stand_alone():
    numbered = "loop_\n_symmetry_equiv_pos_site_id\n_symmetry_equiv_pos_as_xyz\n1 x,y,z\n2 -x,-y,-z"
    assert read(structure("Fe 0.1 0.2 0.3", numbered)).space_group == 2
    assert read(structure("Fe 0.1 0.2 0.3", "_symmetry_equiv_pos_as_xyz x,y,z")).space_group == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1/3", 1 / 3),
        (".25", 0.25),
        ("+0.25", 0.25),
        ("2.5e-1", 0.25),
        ("0.25(12)", 0.25),
        ("'0.25'", 0.25),
        ("5.", 0.0),
    ],
)
def test_coordinate_is_understood_however_written(text, value):
    assert read(structure(f"Fe {text} 0 0", named("P 1"))).fract[0, 0] == value


@pytest.mark.parametrize("text", ["0.25x", "0,25", "1/0", "0.25(?)", "1e999", "nan", "inf", "0x1", "1_0", "--1"])
def test_coordinate_that_is_no_number_is_refused(text):
    with pytest.raises(CifError, match="expected a"):
        read(structure(f"Fe {text} 0 0", named("P 1")))


@pytest.mark.parametrize(
    ("label", "stated", "species"),
    [
        ("Ow1^*^", "H2 O", "O"),
        ("OW2", "", "O"),
        ("OH3", "", "O"),
        ("Oh", "Al O2 H", "O"),
        ("HO1", "Ca H2 O2", "H"),
        ("Ho1", "Ca H2 O2", "H"),
        ("Ho1", "Ho2 O3", "Ho"),
        ("CA1", "Ca O", "Ca"),
        ("CA1", "C2 H6 O", "C"),
        ("SiT1", "Si O2", "Si"),
        ("Sia", "Si O2", "Si"),
        ("Ala", "Al2 O3", "Al"),
        ("SM1", "Pb S", "S"),
        ("D1", "D2 O", "D"),
        ("Fe(1)", "", "Fe"),
        ("FE1", "", "Fe"),
        ("C1'", "", "C"),
        ("O(2)A", "", "O"),
        ("U1", "U O2", "U"),
    ],
)
def test_label_means_an_element_of_the_formula(label, stated, species):
    more = formula(stated) if stated else ""
    crystal = read(structure(f'"{label}" 0 0 0' if "'" in label else f"{label} 0 0 0", named("P 1"), more=more))
    assert crystal.species == (species,)


@pytest.mark.parametrize(
    ("label", "stated", "reason"),
    [
        *(
            (dummy, "", "dummy|no known element")
            for dummy in ("Wat", "Wat1", "Cent", "Dum", "X", "X1", "Q1", "Cg1", "Lp2", "Va")
        ),
        ("Tm", "Al Si3 O8 K", "which the formula lacks"),
        ("HO1", "", "may mean Ho or H"),
        ("CD1", "", "may mean Cd or C"),
        ("CO1", "C O Co", "may mean Co or C"),
        ("SiAl1", "Si3 Al O8 K", "another element"),
        ("H2O", "", "molecule of water"),
        ("M1", "Mg O", "no known element|formula lacks"),
        ("Fe/Mg", "", "not one element"),
        ("Fe0.5Mg0.5", "", "not one element"),
        ("(Fe)", "", "not one element"),
    ],
)
def test_label_that_is_no_certain_element_is_refused(label, stated, reason):
    with pytest.raises(CifError, match=reason):
        read(structure(f"{label} 0 0 0", named("P 1"), more=formula(stated) if stated else ""))


@pytest.mark.parametrize(
    "symbol", ["H2O", "OH2O", "Fe,Mg", "Fe0.5Mg0.5", "FeMg", "Fe3+Fe2+", "M", "R", "Ln", "Wat", "NH4+"]
)
def test_type_symbol_that_is_no_element_is_refused(symbol):
    fields = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")
    with pytest.raises(CifError, match="site A1"):
        read(structure(f"A1 {symbol} 0 0 0", named("P 1"), fields=fields))


@pytest.mark.parametrize(
    ("symbol", "species"),
    [
        ("Fe3+", "Fe3+"),
        ("FE+3", "Fe3+"),
        ("Fe2.67+", "Fe"),
        ("Fe+2.5", "Fe"),
        ("O-2", "O2-"),
        ("Fe0+", "Fe"),
        ("d", "D"),
    ],
)
def test_type_symbol_is_an_element_or_ion(symbol, species):
    fields = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")
    assert read(structure(f"A1 {symbol} 0 0 0", named("P 1"), fields=fields)).species == (species,)


def test_type_symbols_do_for_labels():
    fields = ("type_symbol", "fract_x", "fract_y", "fract_z")
    assert read(structure("Na+ 0 0 0\nCl- .5 .5 .5", named("P 1"), fields=fields)).species == ("Na1+", "Cl1-")


def test_dummy_by_its_flag_is_refused():
    fields = ("label", "fract_x", "fract_y", "fract_z", "calc_flag")
    with pytest.raises(CifError, match="dummy atom"):
        read(structure("C1 0 0 0 dum", named("P 1"), fields=fields))


def test_displacement_may_be_negative_by_rounding_only():
    crystal = read(structure("Fe 0 0 0 1 -0.004(3)", named("P 1")))
    assert crystal.u_iso[0] == 0
    assert "just below 0" in " ".join(crystal.notes)
    with pytest.raises(CifError, match=r"u_iso -0\.02"):
        read(structure("Fe 0 0 0 1 -0.02", named("P 1")))


def test_tag_that_stands_twice_must_say_the_same():
    text = structure("Fe 0 0 0", named("P 1"))
    assert read(text.replace("data_x", "data_x\n_cell_length_a 5\n_chemical_formula_sum ''")).num_atoms == 1
    assert read(text.replace("data_x", "data_x\n_publ_x 1\n_publ_x 2")).num_atoms == 1
    with pytest.raises(CifError, match="_cell_length_a stands twice"):
        read(text.replace("data_x", "data_x\n_cell_length_a 6"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_in_any_encoding_and_with_any_line_ends(encoding, end):
    text = structure("Fe1 0.1 0.2 0.3", named("P 1"), more="_publ_author_name 'Müller, Å.'\n_publ_title Größe")
    crystal = read(decode_cif(text.replace("\n", end).encode(encoding)))
    np.testing.assert_array_equal(crystal.fract, [[0.1, 0.2, 0.3]])


def test_typographic_signs_are_read_as_plain_ones():
    assert read(structure("Fe1 \u22120.25 0 0", named("P \u20131"))).fract[:, 0].tolist() == [0.75, 0.25]


@pytest.mark.parametrize("data", [b"data_x\0", "data_x".encode("utf-32"), bytes(range(1, 32)) * 9, b"\xff\xfe\0\0"])
def test_bytes_that_are_no_text_are_refused(data, tmp_path):
    (tmp_path / "x.cif").write_bytes(data)
    with pytest.raises(CifError, match="binary data"):
        read_cif(tmp_path / "x.cif")


def test_blocks_are_read_one_by_one(tmp_path):
    path = tmp_path / "two.cif"
    path.write_bytes((DIALECTS / "vesta_two_phases.cif").read_bytes())
    assert read_cif(path, block="VESTA_phase_2").name == "two#VESTA_phase_2"
    with pytest.raises(CifError, match=r"VESTA_phase_1, VESTA_phase_2.*block="):
        read_cif(path)
    with pytest.raises(CifError, match="no data block 'no'"):
        read_cif(path, block="no")
    names = [
        crystal.name for crystal in crystals_from_cif_text(path.read_text(), "two") if isinstance(crystal, Crystal)
    ]
    assert names == ["two#VESTA_phase_1", "two#VESTA_phase_2"]


@pytest.mark.parametrize("text", ["", "data_", "%PDF", "data_x\n_cell_length_a 5", "data_x\nloop_\n_a\n"])
def test_text_without_atoms_gives_one_error(text):
    (error,) = crystals_from_cif_text(text, "nothing")
    assert isinstance(error, CifError)


EXPECTED = {
    "amcsd_lawsonite": (63, {"Ca": 4, "Al": 8, "Si": 8, "O": 40, "H": 16}),
    "ddlm_quartz": (152, {"Si": 3, "O": 6}),
    "icsd_spinel": (227, {"Mg2+": 8, "Al3+": 16, "O": 32}),
    "pymatgen_NaCl": (1, {"Na1+": 1, "Cl1-": 1}),
    "shelx_glycine": (14, {"C": 8, "H": 20, "N": 4, "O": 8}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_dialect_is_read(name):
    crystal = read_cif(DIALECTS / f"{name}.cif")
    group, expected = EXPECTED[name]
    assert crystal.space_group == group
    assert contents(crystal) == {
        "O2-" if name == "icsd_spinel" and key == "O" else key: n for key, n in expected.items()
    }
    assert not any("formula says" in note for note in crystal.notes)


SUPERSPACE = "loop_\n_space_group_symop_ssg_operation_algebraic\nx1,x2,x3,x4\n-x1,-x2,-x3,-x4"
REFUSED = {
    "magnetic structure": structure("Fe 0 0 0", "_space_group_symop_magn_operation.xyz x,y,z,+1"),
    "modulated structure (superspace": structure("Fe 0 0 0", SUPERSPACE),
    "modulated structure (operations in x1": structure("Fe 0 0 0", operations("x1,x2,x3,x4")),
    "modulated structure (superspace group)": structure("Fe 0 0 0", named("P 1"), more="_cell_modulation_dimension 1"),
    "only Cartesian coordinates": "data_x\nloop_\n_atom_site_label\n_atom_site_Cartn_x\nFe 0\n",
    "lists, tables and triple quotes of CIF 2.0": "#\\#CIF_2.0\ndata_x\n_a [1 2]\n",
    "'h,k,l' cannot be read": structure("Fe 0 0 0", operations("x,y,z", "h,k,l")),
    "space-group symbol 'D4h' is unknown": structure("Fe 0 0 0", named("D4h")),
    "space-group symbol 'P 31 2' is unknown": structure("Fe 0 0 0", named("P 31 2"), cell="5 5 7 90 90 120"),
    "lists 20000 operations": structure("Fe 0 0 0", operations(*["x,y,z"] * 20_000)),
    "says space group 15, the symmetry operations say 14": structure(
        "Fe 0 0 0", named("P 1 21/c 1") + "\n_symmetry_Int_Tables_number 15"
    ),
    "two origins": structure("Si 0.1 0.1 0.1", named("F d -3 m"), cell="20 20 20 90 90 90"),
    "no reading fits": structure(SPINEL_1, named("F d -3 m"), cell=SPINEL_CELL, more=formula("Mg Al2 O4", 5)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refusal_says_why(reason):
    with pytest.raises(CifError) as caught:
        read(REFUSED[reason])
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("more", "note"),
    [
        (formula("Fe2 O3", 1), "the cell holds Fe1, the formula says Fe2 O3 times 1"),
        (formula("Fe H2", 1), "hydrogen"),
        ("_cell_volume 130", "volume is 125"),
    ],
)
def test_doubt_is_noted(more, note):
    assert note in " ".join(read(structure("Fe 0 0 0", named("P 1"), more=more)).notes)


def test_found_group_is_that_of_the_atoms():
    assert found_group(read(structure(ALL_ROCK_SALT, named("P 1")))) == 225
    half = structure("Fe 0 0 0 0.5\nCo 0 0 0 0.5\nFe .5 .5 .5 0.5\nCo .5 .5 .5 0.5", named("P 1"))
    assert found_group(read(half)) == 229
    assert found_group(read(half.replace("Co .5 .5 .5 0.5", "Co .5 .5 .5 0.4"))) == 221
