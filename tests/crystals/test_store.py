"""The store against the crystals that went into it, and its refusal of files that cannot be trusted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import spglib
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from xrdjax.crystals.cif import crystal_from_cif_text, read_cif
from xrdjax.crystals.columns import Source
from xrdjax.crystals.species import SPECIES
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.store_file import FORMAT
from xrdjax.crystals.symmetry import (
    coincident_pairs,
    crystal_system_index,
    metric_tensor,
)
from xrdjax.crystals.write import merge_stores, write_store
from xrdjax.errors import StoreError

CIFS = sorted((Path(__file__).parents[1] / "data" / "cifs").glob("*.cif"))
SOURCES = [
    Source(name=name, provider="tests", licence="CC0", attribution=f"drawn for the {name}") for name in ("odd", "even")
]
STEP = 2.0**-32  # of the fixed-point coordinates


@pytest.fixture(scope="module")
def crystals():
    return [read_cif(path) for path in CIFS]


@pytest.fixture
def path(tmp_path, crystals):
    path = tmp_path / "some.safetensors"
    write_store(path, iter(crystals), title="A few", sources=SOURCES, source=[1, 0] * (len(crystals) // 2))
    return path


@pytest.fixture(scope="module")
def embedded():
    return CrystalStore.open("open")


def circular(difference: np.ndarray) -> np.ndarray:
    return np.abs(difference - np.round(difference))


def test_anisotropic_displacements_come_back(tmp_path, crystals):
    """Of a crystal with isotropic and anisotropic sites, between others without."""
    text = (CIFS[0].parent / "gypsum.cif").read_text()
    loop = "loop_\n_atom_site_aniso_label\n" + "".join(f"_atom_site_aniso_U_{ij}\n" for ij in (11, 22, 33, 12, 13, 23))
    displaced = crystal_from_cif_text(text + f"\n{loop}Ca1 0.02 0.01 0.03 0.001 0.002 0.003\n", "displaced")
    assert displaced.u_aniso is not None
    write_store(tmp_path / "three", [crystals[0], displaced, crystals[1]], title="Three")
    store = CrystalStore.open(tmp_path / "three")
    np.testing.assert_allclose(store.crystal(1).u_aniso, displaced.u_aniso, rtol=1e-6, atol=1e-9)
    assert store.crystal(0).u_aniso is None
    assert store.crystal(2).u_aniso is None


def test_crystals_come_back(path, crystals):
    store = CrystalStore.open(path)
    assert len(store) == len(crystals)
    for i, crystal in enumerate(crystals):
        read = store.crystal(i)
        assert (read.name, read.species, read.space_group) == (crystal.name, crystal.species, crystal.space_group)
        for field in ("cell", "site", "operation"):
            np.testing.assert_array_equal(getattr(read, field), getattr(crystal, field))
        np.testing.assert_array_equal(read.operations.rotation, crystal.operations.rotation)
        np.testing.assert_array_equal(read.operations.translation, crystal.operations.translation)
        np.testing.assert_allclose(read.occupancy, crystal.occupancy, rtol=1e-7)
        assert circular(read.fract - crystal.fract).max() <= 1.5 * STEP  # half a step, in up to three terms


def test_names_sources_and_displacements_come_back(tmp_path, crystals):
    crystal = crystals[0]
    displaced = replace(crystal, name="Größe", u_iso=np.full(crystal.num_atoms, 0.02))
    write_store(tmp_path / "u", [crystal, displaced], title="Two", sources=SOURCES, source=[0, 1])
    store = CrystalStore.open(tmp_path / "u")
    assert [store.names(i) for i in range(2)] == [crystal.name, "Größe"]
    assert [store.source(i) for i in range(2)] == SOURCES
    assert store.title == "Two"
    np.testing.assert_allclose(store.crystal(1).u_iso, 0.02, rtol=1e-7)
    assert store.expand().u_iso[0] == 0


def test_expand_equals_crystal(path):
    store = CrystalStore.open(path)
    atoms = store.expand()
    for i in range(len(store)):
        crystal = store.crystal(i)
        own = slice(*atoms.offset[i : i + 2])
        assert tuple(SPECIES[number] for number in atoms.species[own]) == crystal.species
        np.testing.assert_array_equal(atoms.site[own], crystal.site)
        np.testing.assert_allclose(atoms.occupancy[own], crystal.occupancy)
        assert circular(atoms.fract[own] * STEP - crystal.fract).max() <= 0.5 * STEP  # of the translation
    assert atoms.offset[-1] == len(atoms.fract) == len(atoms.u_iso)


def test_index_counts_from_either_end_and_stops_there(path, crystals):
    store = CrystalStore.open(path)
    assert store.names(-1) == store.crystal(np.int64(-1)).name == crystals[-1].name
    with pytest.raises(IndexError):
        store.crystal(len(store))


def test_writing_twice_gives_the_same_bytes(path, tmp_path, crystals):
    again = tmp_path / "again.safetensors"
    write_store(again, crystals, title="A few", sources=SOURCES, source=[1, 0] * (len(crystals) // 2))
    assert again.read_bytes() == path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == [again.name, path.name]


def test_nothing_to_write_and_nowhere_to_write_are_refused(tmp_path, crystals):
    with pytest.raises(StoreError, match="no crystals to write"):
        write_store(tmp_path / "empty", [], title="")
    with pytest.raises(StoreError, match="cannot be written: No such file"):
        write_store(tmp_path / "absent" / "store", crystals[:1], title="")
    assert not list(tmp_path.iterdir())


def rewritten(path: Path, arrays: dict[str, np.ndarray] | None = None, **changed: object) -> Path:
    """Rewrite a store with another header or other arrays, the checksum left as it was."""
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()[FORMAT])
    save_file({**load_file(path), **(arrays or {})}, path, {FORMAT: json.dumps({**header, **changed})})
    return path


def test_other_versions_are_refused(path):
    with pytest.raises(StoreError, match="store version 3, but this xrdjax reads 2; upgrade xrdjax"):
        CrystalStore.open(rewritten(path, version=3))
    with pytest.raises(StoreError, match="store version 1, but this xrdjax reads 2; pack it again"):
        CrystalStore.open(rewritten(path, version=1))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("{", "its header is not JSON"),
        ("[1]", "its header's version is None, not an integer"),
        ('{"sha256": "0"}', "its header's version is None, not an integer"),
        ('{"version": "1", "sha256": "0"}', "its header's version is '1', not an integer"),
        ('{"version": 2}', r"its header has no checksum \(sha256\)"),
    ],
)
def test_broken_headers_are_refused_in_one_line(tmp_path, header, reason):
    save_file({"a": np.zeros(3)}, tmp_path / "broken", {FORMAT: header})
    with pytest.raises(StoreError, match=f"broken: {reason}.*; copy or pack it again$"):
        CrystalStore.open(tmp_path / "broken")


def test_checksum_is_the_headers_and_follows_the_content(path, tmp_path, crystals):
    with safe_open(path, framework="np") as file:
        assert CrystalStore.open(path).checksum == json.loads(file.metadata()[FORMAT])["sha256"]
    write_store(tmp_path / "fewer", crystals[:1], title="A few", sources=SOURCES)
    assert CrystalStore.open(tmp_path / "fewer").checksum != CrystalStore.open(path).checksum


def test_altered_arrays_and_altered_header_are_refused(path):
    whole = path.read_bytes()
    with pytest.raises(StoreError, match=r"some.safetensors: altered since it was written"):
        CrystalStore.open(rewritten(path, {"space_group": np.ones(len(CIFS), np.uint8)}))
    with pytest.raises(StoreError, match="altered since it was written"):
        CrystalStore.open(rewritten(path, title="Another title"))
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreError, match="altered since it was written"):
        CrystalStore.open(path)


@pytest.mark.parametrize(
    ("share", "complaint"),
    [(0.0, "half-written, it is empty"), (0.01, "half-written"), (0.9, "cut short, it has"), (0.9999, "cut short")],
)
def test_files_cut_short_are_refused(path, share, complaint):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(StoreError, match=complaint):
        CrystalStore.open(path)


def test_damage_of_any_byte_is_refused(path):
    """Whatever byte is altered, added or lost: a StoreError, and nothing else."""
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    places = np.concatenate([np.arange(24), rng.integers(0, 3000, 60), rng.integers(0, len(data), 60)])
    for place in np.minimum(places, len(data) - 1).tolist():
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :])
        with pytest.raises(StoreError):
            CrystalStore.open(path)
    path.write_bytes(data + b"x")
    with pytest.raises(StoreError, match="altered"):
        CrystalStore.open(path)


def test_numpy_alone_reads_a_store(path, crystals):
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    entry = json.loads(data[8:start])["cell"]
    first, last = entry["data_offsets"]
    cell = np.frombuffer(data[start + first : start + last], "<f8").reshape(entry["shape"])
    np.testing.assert_array_equal(cell, [crystal.cell for crystal in crystals])


def test_merged_stores_hold_the_crystals_of_all(tmp_path, crystals):
    write_store(tmp_path / "a", crystals[:4], title="A", sources=SOURCES, source=[0, 1, 1, 0])
    write_store(tmp_path / "b", crystals[2:], title="B", sources=SOURCES[1:])
    merge_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "c", title="C")
    store, whole = CrystalStore.open(tmp_path / "c"), [*crystals[:4], *crystals[2:]]
    assert len(store) == len(whole)
    assert [store.source(i) for i in range(5)] == [SOURCES[k] for k in (0, 1, 1, 0, 1)]
    assert store.names(4) == f"{crystals[2].name} (2)"
    np.testing.assert_array_equal(store.duplicate_of[4:6], [2, 3])
    atoms = store.expand()
    for i, crystal in enumerate(whole):
        own = slice(*atoms.offset[i : i + 2])
        assert tuple(SPECIES[number] for number in atoms.species[own]) == crystal.species
        assert circular(atoms.fract[own] * STEP - crystal.fract).max() <= 1.5 * STEP
        np.testing.assert_array_equal(store.crystal(i).operations.rotation, crystal.operations.rotation)


def test_a_store_that_is_still_being_packed_is_told_from_none(tmp_path):
    (tmp_path / "mine.partial").mkdir()
    with pytest.raises(StoreError, match=r"mine.partial beside it holds an unfinished `xrdjax pack`"):
        CrystalStore.open(tmp_path / "mine")


def test_other_files_are_refused(tmp_path):
    save_file({"a": np.zeros(3)}, tmp_path / "other")
    (tmp_path / "text").write_text("data_quartz\n" * 100)
    with pytest.raises(StoreError, match="not a crystal store"):
        CrystalStore.open(tmp_path / "other")
    with pytest.raises(StoreError, match="text: not a crystal store"):
        CrystalStore.open(tmp_path / "text")
    with pytest.raises(StoreError, match=r"opne: no such file; .*'open' is the one included"):
        CrystalStore.open("opne")


def test_embedded_set_covers_every_group_with_terms_for_every_crystal(embedded):
    groups, counts = np.unique(embedded.space_group, return_counts=True)
    assert groups.tolist() == list(range(1, 231))
    assert counts.max() <= 500
    assert all(source.licence and source.attribution for source in embedded.sources)
    assert not any("GPL" in source.licence for source in embedded.sources)


def test_embedded_atoms_are_whole_and_in_range(embedded):
    atoms = embedded.expand()
    assert atoms.offset[-1] == len(atoms.fract)
    assert np.diff(atoms.offset).min() >= 1
    assert 0 < atoms.occupancy.min() <= atoms.occupancy.max() == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # spglib announces how it will fail
def test_embedded_labels_are_those_of_spglib(embedded):
    system = crystal_system_index(embedded.space_group)
    rng = np.random.default_rng(0)
    for i in np.concatenate([rng.choice(np.flatnonzero(system == number), 6) for number in range(7)]):
        crystal = embedded.crystal(i)
        basis = np.linalg.cholesky(metric_tensor(crystal.cell))
        contents = mixed_species(crystal)
        kept = [atom for atom, content in enumerate(contents) if content]
        types = {content: number for number, content in enumerate(sorted(set(contents)))}
        numbers = [types[contents[atom]] for atom in kept]
        found = spglib.get_symmetry_dataset((basis, crystal.fract[kept], numbers), symprec=0.01)
        assert found is not None
        assert found.number == crystal.space_group, crystal.name


def mixed_species(crystal) -> list[str]:
    """Return for each place what stands there, empty for all but its first atom."""
    contents = [f"{s} {o:.4f}" for s, o in zip(crystal.species, crystal.occupancy, strict=True)]
    for first, other in np.sort(coincident_pairs(crystal.fract, metric_tensor(crystal.cell)), axis=1).tolist():
        if contents[first] and contents[other]:
            contents[first], contents[other] = " ".join(sorted([contents[first], contents[other]])), ""
    return contents
