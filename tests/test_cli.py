"""The command line as a user meets it: what it prints and writes, and one line for each mistake."""

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import xrdjax
from xrdjax.cli import exit_on_error, main
from xrdjax.crystals import ingest
from xrdjax.crystals.store_file import FORMAT

CIFS = Path(__file__).parent / "data" / "cifs"
GOOD = sorted(CIFS.glob("*.cif"))
WURTZITE = CIFS / "ZnO_wurtzite.cif"


@pytest.fixture
def failure(capsys):
    """Return a function that runs a command which must fail, and returns the one line that it says."""

    def run(*arguments: object, status: int = 2) -> str:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert stop.value.code == status
        assert captured.out == ""
        assert captured.err.startswith("xrdjax: error: ")
        assert captured.err.count("\n") == 1
        return captured.err

    return run


@pytest.fixture
def folder(tmp_path):
    """Return a directory of good and bad CIFs, in two levels."""
    folder = tmp_path / "mine"
    (folder / "deep").mkdir(parents=True)
    for cif in GOOD:
        (folder / cif.name).write_bytes(cif.read_bytes())
    (folder / "deep" / "Cu.CIF").write_bytes((CIFS / "Cu.cif").read_bytes())
    (folder / "notes.txt").write_text("not a crystal")
    (folder / "broken.cif").write_text("%PDF-1.5")
    (folder / "deep" / "strange.cif").write_text(WURTZITE.read_text().replace("Zn", "Zz"))
    return folder


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = WURTZITE.read_text()
    assert old in text
    path = tmp_path / "edited.cif"
    path.write_text(text.replace(old, new))
    return path


def rendering(out: Path, cif: Path = WURTZITE, zone: str = "1 1 1") -> list[str]:
    return ["render", str(cif), "--zone", *zone.split(), "--out", str(out), "--size", "64"]


def test_info_describes_the_embedded_store(capsys):
    main(["info"])
    text = capsys.readouterr().out
    store = xrdjax.open_store()
    for fact in (store.title, f"{len(store):,}", "230 of 230", "trigonal", "validation", "elements; crystals"):
        assert fact in text
    for source in store.sources:
        assert f"{source.name}: {source.provider}; licence {source.licence}" in text
    histogram = "".join(
        line[7:] for line in text.splitlines() if line[:5].strip().isdigit() and line[7:8] in "·▁▂▃▄▅▆▇█"
    )
    assert len(histogram.replace(" ", "")) == 230


def test_docs_list_the_sources_of_the_embedded_store():
    store = xrdjax.open_store()
    crystals = Counter(map(store.source, range(len(store))))  # those that repeat an earlier one, too
    rows = [f"| {source.name} | {source.provider} | {source.licence} | {n:,} |" for source, n in crystals.most_common()]
    assert "\n".join(rows) in (Path(__file__).parents[1] / "docs" / "crystals.md").read_text()


def test_num_atoms_is_that_of_the_expanded_cells():
    store = xrdjax.open_store()
    np.testing.assert_array_equal(store.num_atoms, np.diff(store.expand().offset))


def test_pack_writes_the_store_and_lists_what_it_refused(folder, tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    main(["pack", str(folder), str(out), "--licence", "CC0-1.0", "--attribution", "me, 2025"])
    text = capsys.readouterr().out
    assert f"{len(GOOD) + 1} crystals from {len(GOOD) + 3} files" in text
    assert "2 files refused" in text
    store = xrdjax.open_store(out)
    names = [store.names(i) for i in range(len(store))]
    assert names == sorted(names, key=lambda name: Path(name).parts)
    assert {"Cu", "deep/Cu"} < set(names)
    assert (store.title, store.source(0).name) == ("Crystals from mine", "mine")
    assert (store.source(0).licence, store.source(0).attribution) == ("CC0-1.0", "me, 2025")
    report = json.loads((tmp_path / "mine.report.json").read_text())
    assert (report["num_files"], report["num_crystals"]) == (len(GOOD) + 3, len(GOOD) + 1)
    assert [Path(entry["path"]).name for entry in report["refused"]] == ["broken.cif", "strange.cif"]
    assert "Zz" in report["refused"][1]["reason"]
    assert "broken.cif" in (tmp_path / "mine.report.md").read_text()
    main(["info", str(out)])
    assert "me, 2025" in capsys.readouterr().out


def test_pack_refuses_before_it_works(folder, tmp_path, failure):
    out = tmp_path / "mine.safetensors"
    (tmp_path / "empty").mkdir()
    assert "no such file or directory" in failure("pack", tmp_path / "nowhere", out)
    assert "name one input or more" in failure("pack", folder)
    assert "expected i/n" in failure("pack", folder, out, "--shard", "3/2")
    assert "no *.cif" in failure("pack", tmp_path / "empty", out)
    assert "is a directory" in failure("pack", folder, tmp_path)
    assert "does not exist" in failure("pack", folder, tmp_path / "nowhere" / "mine.safetensors")
    assert "does not exist" in failure("pack", folder, folder / "notes.txt" / "mine.safetensors")
    assert not out.exists()


def test_pack_replaces_a_store_only_when_asked(folder, tmp_path, failure, capsys):
    out = tmp_path / "mine.safetensors"
    out.write_text("precious")
    assert "--overwrite" in failure("pack", folder, out)
    assert out.read_text() == "precious"
    main(["pack", str(folder), str(out), "--overwrite"])
    assert len(xrdjax.open_store(out)) == len(GOOD) + 1
    capsys.readouterr()


@pytest.mark.parametrize(("copies", "empty"), [(2, "validation and test empty"), (4, "test empty"), (5, "")])
def test_pack_says_which_parts_are_empty(tmp_path, capsys, copies, empty):
    folder = tmp_path / "one_group"
    folder.mkdir()
    for number in range(copies):  # each its own structure
        (folder / f"{number}.cif").write_text(WURTZITE.read_text().replace("5.2066", f"5.{number + 2}066"))
    main(["pack", str(folder), str(tmp_path / "store")])
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("random split: ")]
    rule = "a space group needs 3 crystals to give one to validation, 5 to give one to test"
    assert said == ([f"random split: {empty}; {rule}"] if empty else [])


def test_shards_are_named_and_merged(folder, tmp_path, capsys):
    for number in (1, 2):
        main(["pack", str(folder), str(tmp_path / "mine.safetensors"), "--shard", f"{number}/2"])
    shards = [str(tmp_path / f"mine.{number}-of-2.safetensors") for number in (1, 2)]
    main(["merge", *shards, str(tmp_path / "mine.safetensors")])
    assert f"{len(GOOD) + 1} crystals of 2 stores, of which 1 repeat an earlier one" in capsys.readouterr().out
    assert len(xrdjax.open_store(tmp_path / "mine.safetensors")) == len(GOOD) + 1


def test_info_selects_draws_and_lists(folder, tmp_path, capsys):
    main(["pack", str(folder), str(tmp_path / "mine.safetensors")])
    capsys.readouterr()
    picture = tmp_path / "groups.png"
    main(["info", str(tmp_path / "mine.safetensors"), "--elements", "Zn", "O", "--picture", str(picture)])
    assert f"1 of {len(GOOD) + 1} (left out duplicates: 1; elements: {len(GOOD) - 1})" in capsys.readouterr().out
    assert np.asarray(Image.open(picture)).std() > 10
    main(["info", str(tmp_path / "mine.safetensors"), "--names", "--max-atoms", "4"])
    assert "ZnO_wurtzite,train" in capsys.readouterr().out.splitlines()


def test_pack_of_nothing_readable_fails_and_says_why(folder, tmp_path, failure):
    for cif in GOOD:
        (folder / cif.name).unlink()
    (folder / "deep" / "Cu.CIF").unlink()
    assert "none of 2 CIFs" in failure("pack", folder, tmp_path / "mine.safetensors")
    assert not (tmp_path / "mine.safetensors").exists()
    assert "Zz" in (tmp_path / "mine.report.md").read_text()


def test_pack_reports_a_directory_that_is_not_writable(folder, tmp_path, failure, monkeypatch):
    monkeypatch.setattr(ingest.os, "access", lambda *_: False)  # root may write anywhere
    assert "not writable" in failure("pack", folder, tmp_path / "mine.safetensors")


def test_render_draws_what_the_library_draws(tmp_path, capsys):
    out, table = tmp_path / "p.png", tmp_path / "p.csv"
    main([*rendering(out, zone="1 -1 0"), "--spots-csv", str(table)])
    text = capsys.readouterr().out
    for fact in ("ZnO_wurtzite", "P 63 m c", "186", "hexagonal", "4 atoms", "3.25", "[1 -1 0]"):
        assert fact in text
    crystal = xrdjax.read_cif(WURTZITE)
    expected = 1 - xrdjax.render_zone(crystal, (1, -1, 0), xrdjax.PatternConfig(height=64, width=64))
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.round(255 * expected).astype(np.uint8))
    spots = xrdjax.zone_spots(crystal, (1, -1, 0))
    rows = list(csv.DictReader(table.open()))
    assert f"{len(rows)} reflections" in text
    np.testing.assert_array_equal([[int(row[index]) for index in "hkl"] for row in rows], spots.hkl)
    np.testing.assert_allclose([float(row["intensity"]) for row in rows], spots.intensity, rtol=1e-5)
    np.testing.assert_allclose([float(row["two_theta_deg"]) for row in rows], spots.two_theta_deg, atol=5e-5)


def test_listed_positions_are_those_of_the_picture(tmp_path, capsys):
    out, table = tmp_path / "p.png", tmp_path / "p.csv"
    main([*rendering(out, zone="0 -1 0"), "--angle", "-25", "--bright", "--spots-csv", str(table)])
    image = np.asarray(Image.open(out)).astype(float)
    strongest = max(csv.DictReader(table.open()), key=lambda row: float(row["intensity"]))
    x, y = (float(strongest[axis]) * 64 / 2.8 for axis in "xy")
    assert image[round(31.5 - y), round(31.5 + x)] > 128
    assert image[round(31.5 + y), round(31.5 + x)] < 128  # its mirror image is not there
    capsys.readouterr()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("Zn", "Zz", "Zz"),
        ("data_", "junk", "not CIF syntax"),
        ("_atom_site_fract_x", "_atom_site_x", "no atoms"),
    ],
)
def test_render_refuses_a_broken_cif(tmp_path, failure, old, new, complaint):
    path = edited(tmp_path, old, new)
    message = failure(*rendering(tmp_path / "p.png", path))
    assert str(path) in message
    assert complaint in message
    assert not (tmp_path / "p.png").exists()


def test_render_refuses_what_it_cannot_do(tmp_path, failure):
    out = tmp_path / "p.png"
    assert "cannot be read" in failure(*rendering(out, tmp_path / "missing.cif"))
    assert "no direction" in failure(*rendering(out, zone="0 0 0"))
    assert ".png" in failure(*rendering(tmp_path / "p.jpg"))
    assert "does not exist" in failure(*rendering(tmp_path / "nowhere" / "p.png"))
    assert "does not exist" in failure(*rendering(out), "--spots-csv", tmp_path / "nowhere" / "p.csv")
    for size in (0, 8193):
        assert f"--size {size}: expected 1 to 8192" in failure(*rendering(out), "--size", size)
    same = tmp_path / "." / "sub" / ".." / "p.png"
    (tmp_path / "sub").mkdir()
    assert "name another" in failure(*rendering(out), "--spots-csv", same)
    assert "--angle nan" in failure(*rendering(out), "--angle", "nan")
    assert not out.exists()


def test_info_refuses_what_is_no_sound_store(tmp_path, failure, capsys):
    sound = tmp_path / "sound"
    ingest.pack([str(CIFS)], sound, title="Sound")
    assert "no such file" in failure("info", tmp_path / "missing")
    assert "not a crystal store" in failure("info", WURTZITE)
    (tmp_path / "cut").write_bytes(sound.read_bytes()[:-100])
    assert "cut short" in failure("info", tmp_path / "cut")
    newer = json.dumps({"version": 99})
    save_file(load_file(sound), tmp_path / "newer", {FORMAT: newer})
    assert "upgrade xrdjax" in failure("info", tmp_path / "newer")


def test_a_failing_disk_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop, exit_on_error():
        raise OSError(28, "No space left on device", "p.png")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "xrdjax: error: p.png: No space left on device\n"


def test_ctrl_c_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop, exit_on_error():
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert capsys.readouterr().err == "xrdjax: error: interrupted\n"


def test_a_defect_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), exit_on_error():
        _ = 1 / 0


@pytest.mark.parametrize("arguments", [["info", "open", "--nope"], ["rendr"]])
def test_unknown_words_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out.startswith("xrdjax ")


def test_help_comes_without_jax():
    program = """
import sys
from xrdjax.cli import main
try:
    main(["--help"])
finally:
    print("jax" in sys.modules, "scipy" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for command in ("info", "pack", "merge", "render", "--version"):
        assert command in run.stdout
    assert run.stdout.endswith("False False\n")


def test_public_names_are_all_there():
    assert sorted(xrdjax.__all__) == sorted({*xrdjax._HOME, "open_store"})
    assert dir(xrdjax) == sorted(xrdjax.__all__)
    for name in xrdjax.__all__:
        value = getattr(xrdjax, name)
        assert isinstance(value, xrdjax.PatternConfig) or value.__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xrdjax.nothing
