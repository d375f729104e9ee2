"""Packing: the same store however the work is cut, and nothing that a file does ends it."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from xrdjax.crystals import ingest
from xrdjax.crystals.ingest import PackOptions, pack, read_document
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.write import merge_stores
from xrdjax.errors import XrdjaxError

CIFS = Path(__file__).parents[1] / "data" / "cifs"
ONE = PackOptions(processes=1)


def hostile_reader(data: bytes, name: str):
    """Read as usual, unless the document says what harm to do."""
    match data:
        case b"crash":
            ctypes.string_at(0)
        case b"exit":
            os._exit(7)
        case b"hang":
            time.sleep(1000)
        case b"devour":
            np.ones(2**33)
        case b"raise":
            raise ZeroDivisionError("by nought")
    return read_document(data, name)


@pytest.fixture
def folder(tmp_path):
    """Return a directory of thirty CIFs, some twice, and two that are none."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for copy in range(3):
        for path in sorted(CIFS.glob("*.cif")):
            (folder / f"{copy}_{path.name}").write_bytes(path.read_bytes())
    (folder / "1_broken.cif").write_text("%PDF-1.5")
    (folder / "2_strange.cif").write_text((CIFS / "ZnO_wurtzite.cif").read_text().replace("Zn", "Zz"))
    return folder


def names(path) -> list[str]:
    store = CrystalStore.open(path)
    return [store.names(i) for i in range(len(store))]


def test_store_does_not_depend_on_how_the_work_is_cut(folder, tmp_path, monkeypatch):
    alone = pack([str(folder)], tmp_path / "alone", title="Same", options=ONE)
    monkeypatch.setattr(ingest, "CHUNK", 3)
    together = pack([str(folder)], tmp_path / "together", title="Same", options=PackOptions(processes=2))
    assert (tmp_path / "alone").read_bytes() == (tmp_path / "together").read_bytes()
    assert alone.refused == together.refused
    assert alone.num_documents == 32
    assert alone.num_crystals == 30
    assert len(alone.duplicates) == 20
    assert not list(tmp_path.glob("*.partial"))


def test_shards_together_are_the_whole(folder, tmp_path):
    pack([str(folder)], tmp_path / "whole", title="", options=ONE)
    for number in (1, 2, 3):
        options = PackOptions(processes=1, shard=(number, 3))
        pack([str(folder)], tmp_path / f"shard{number}", title="", options=options)
    merge_stores([tmp_path / f"shard{number}" for number in (1, 2, 3)], tmp_path / "merged", title="")
    assert sorted(names(tmp_path / "merged")) == sorted(names(tmp_path / "whole"))
    merged, whole = (CrystalStore.open(tmp_path / name) for name in ("merged", "whole"))
    assert np.sort(merged.structure_type).tolist() == np.sort(whole.structure_type).tolist()
    assert (merged.duplicate_of != np.arange(30)).sum() == 20


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("crash", "reading it crashed the process"),
        ("exit", r"reading it crashed the process \(exit code 7\)"),
        ("hang", "took longer than 3 s to read"),
        ("devour", "needs more than 1.5 GiB of memory"),
        ("raise", "ZeroDivisionError: by nought"),
    ],
)
def test_one_hostile_file_costs_nothing_but_itself(folder, tmp_path, harm, reason):
    (folder / "1_hostile.cif").write_text(harm)
    options = PackOptions(processes=2, time_limit=3, find_group=False)
    report = pack([str(folder)], tmp_path / "out", title="", options=options, reader=hostile_reader)
    assert report.num_crystals == 30
    assert report.num_documents == 33
    (refusal,) = [why for path, why in report.refused if path.endswith("1_hostile.cif")]
    assert re.search(reason, refusal)


def test_interrupted_pack_goes_on_and_ends_the_same(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(ingest, "CHUNK", 4)
    pack([str(folder)], tmp_path / "whole", title="Same", options=ONE)
    read = []

    def stop_halfway(*_):
        read.append(1)
        if len(read) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "_is_done", lambda future: (future.result(), stop_halfway(), True)[-1])
        with pytest.raises(KeyboardInterrupt):
            pack([str(folder)], tmp_path / "out", title="Same", options=ONE)
    assert not (tmp_path / "out").exists()
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out.partial").glob("*.json")}
    assert 4 <= len(done) < 8
    asked = []
    monkeypatch.setattr(ingest, "_text", lambda document: asked.append(document) or real_text(document))
    pack([str(folder)], tmp_path / "out", title="Same", options=ONE)
    assert len(asked) == 32 - 4 * len(done)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


real_text = ingest._text


def test_other_inputs_do_not_go_on_with_what_is_there(folder, tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "key").write_text("of something else")
    (tmp_path / "out.partial" / "00000000.json").write_text('{"num_documents": 9, "refused": [], "noted": []}')
    assert pack([str(folder)], tmp_path / "out", title="", options=ONE).num_documents == 32


def test_killed_pack_goes_on(folder, tmp_path):
    """With SIGKILL, from the command line: the second call reads only what the first had not."""
    for copy in range(3, 20):
        for path in CIFS.glob("*.cif"):
            (folder / f"{copy}_{path.name}").write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "xrdjax", "pack", str(folder), str(tmp_path / "out")]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    partial = tmp_path / "out.partial"
    for _ in range(600):
        if list(partial.glob("*.json")) or run.poll() is not None:
            break
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert not (tmp_path / "out").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "202 files" in done.stdout
    assert "200 crystals" in done.stdout
    assert not partial.exists()


def test_report_names_everything(folder, tmp_path):
    pack([str(folder)], tmp_path / "out.safetensors", title="", options=ONE)
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert (report["num_files"], report["num_crystals"], report["searched"]) == (32, 30, 30)
    assert [Path(entry["path"]).name for entry in report["refused"]] == ["1_broken.cif", "2_strange.cif"]
    assert {entry["of"][:2] for entry in report["duplicates"]} == {"0_"}
    text = (tmp_path / "out.report.md").read_text()
    for title in ("# out.safetensors", "## Why files were refused", "## Refused", "## The same structure"):
        assert title in text


def test_nothing_readable_is_an_error_that_names_the_report(tmp_path):
    (tmp_path / "a.cif").write_text("nothing")
    with pytest.raises(XrdjaxError, match=r"none of 1 CIFs could be read; .*out\.report\.md tells why"):
        pack([str(tmp_path)], tmp_path / "out", title="", options=ONE)
    assert "nothing" not in os.listdir(tmp_path)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.report.md").exists()
