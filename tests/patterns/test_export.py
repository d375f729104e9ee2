"""Pictures on disk are those of the renderer, in every format, interrupted or not."""

import csv
import json
import re
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import xrdjax
from xrdjax.crystals.store import CrystalStore
from xrdjax.errors import XrdjaxError
from xrdjax.patterns import export as module
from xrdjax.patterns.export import ExportOptions, export
from xrdjax.patterns.pictures import render_zone


@pytest.fixture(scope="module")
def config(small_config):
    return replace(small_config, augment=replace(small_config.augment, rotation_deg=0))


@pytest.fixture(scope="module")
def written(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "png"
    assert export(config, out, ExportOptions(shard=30)) == 120
    return out


def rows_of(out):
    with (out / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_crystal_is_drawn_along_every_axis(config, written, small_store):
    rows, store = rows_of(written), CrystalStore.open(small_store)
    assert len({row["file"] for row in rows}) == 120
    assert len(list((written / "pictures").iterdir())) == 120
    assert {row["part"] for row in rows} == {"train", "validation", "test"}
    for row in rows[::17]:
        number, u, v, w = map(
            int, re.fullmatch(r"(\d+)_.*_u(-?\d+)_v(-?\d+)_w(-?\d+)_2Dspot\.png", row["file"]).groups()
        )
        crystal = store.crystal(number)
        assert (row["crystal"], int(row["space_group"])) == (crystal.name, crystal.space_group)
        expected = 255 * (1 - render_zone(crystal, (u, v, w), config.pattern))
        np.testing.assert_allclose(np.asarray(Image.open(written / "pictures" / row["file"])), expected, atol=1.01)


def test_interrupted_it_goes_on_to_the_same_files(config, written, tmp_path, monkeypatch):
    write, done = module._write_png, []

    def fail_at_the_second(folder, number, pictures):
        if number == 2 and not done:
            done.append(number)
            write(folder, number, pictures[:3])
            raise KeyboardInterrupt
        write(folder, number, pictures)

    monkeypatch.setattr(module, "_write_png", fail_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        export(config, tmp_path / "png", ExportOptions(shard=30))
    assert export(config, tmp_path / "png", ExportOptions(shard=30)) == 120
    for path in sorted(written.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "png" / path.relative_to(written)).read_bytes()


def test_other_formats_hold_the_same(config, written, tmp_path):
    h5py = pytest.importorskip("h5py")
    rows = rows_of(written)
    export(config, tmp_path / "h5", ExportOptions(kind="hdf5", shard=60))
    export(config, tmp_path / "tar", ExportOptions(kind="webdataset", shard=60))
    first = np.asarray(Image.open(written / "pictures" / rows[0]["file"]))
    with h5py.File(tmp_path / "h5" / "pictures" / "pictures-00000.h5") as file:
        assert file["image"].shape == (60, 16, 16)
        np.testing.assert_array_equal(file["image"][0], first)
        assert file["file"][0].decode() == rows[0]["file"]
        assert file["space_group"][0] == int(rows[0]["space_group"])
    with tarfile.open(tmp_path / "tar" / "pictures" / "pictures-00000.tar") as archive:
        names = archive.getnames()
        stem = rows[0]["file"].removesuffix(".png")
        assert names[:2] == [f"{stem}.png", f"{stem}.json"]
        np.testing.assert_array_equal(np.asarray(Image.open(archive.extractfile(names[0]))), first)
        assert json.load(archive.extractfile(names[1]))["space_group"] == int(rows[0]["space_group"])
    assert rows_of(tmp_path / "h5") == rows_of(tmp_path / "tar") == rows


def test_another_export_is_not_mixed_in(config, written, tmp_path):
    with pytest.raises(XrdjaxError, match="another configuration"):
        export(config, written, ExportOptions(shard=30, bright=True))
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(XrdjaxError, match="not empty"):
        export(config, tmp_path)


def test_torch_gets_the_batches_of_make_batch(config):
    torch = pytest.importorskip("torch")
    batches = iter(xrdjax.torch_dataset(config))
    first, second = next(batches), next(batches)
    assert first["image"].shape == (6, 1, 16, 16)
    assert first["space_group"].dtype == torch.int64
    assert not torch.equal(first["image"], second["image"])
    again = next(iter(xrdjax.torch_dataset(config)))
    assert torch.equal(first["image"], again["image"])
