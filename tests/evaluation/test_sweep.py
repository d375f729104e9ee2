"""Sweeps: every run once, failures noted, one table."""

import csv
import json

import pytest

from xrdjax.config_sources import grid, load_sweep_file, override
from xrdjax.crystals.selection import open_selected, select_crystals
from xrdjax.errors import ConfigError
from xrdjax.evaluation import sweep

FILE = """
from xrdjax.config_sources import from_json, override
def get_runs():
    small = from_json({text!r}, "small")
    changes = {{"lost": {{"data.store": "/nowhere.safetensors"}}, "bad": {{"data.elements": ("Pu",)}}}}
    return {{"plain": small}} | {{name: override(small, change) for name, change in changes.items()}}
"""


@pytest.fixture
def file(small_config, tmp_path):
    from xrdjax.config_sources import to_json

    path = tmp_path / "runs.py"
    path.write_text(FILE.format(text=to_json(small_config)))
    return path


def test_runs_are_done_once_and_failures_do_not_stop_the_others(file, tmp_path, monkeypatch):
    folder, trained = tmp_path / "sweep", []
    heads = {head: {"top1": 0.25, "patterns": 40} for head in sweep.HEADS}

    def trained_on(config, workdir):
        trained.append(workdir.name)
        select_crystals(open_selected(config.data), config.data, "train")  # refuses what cannot be trained on

    def evaluated(workdir, max_crystals):
        (workdir / "evaluation").mkdir()
        (workdir / "evaluation" / "report.json").write_text(json.dumps({"protocols": {"seen": {"heads": heads}}}))

    monkeypatch.setattr(sweep, "train", trained_on)
    monkeypatch.setattr(sweep, "evaluate_run", evaluated)
    runs = load_sweep_file(file)
    assert sweep.run_sweep(runs, folder, index=0)
    assert "Not done yet: lost, bad" in sweep.collect(runs, folder)
    assert not sweep.run_sweep(runs, folder)
    assert trained == ["plain", "lost", "bad"]  # the first is done
    text = (folder / "sweep.md").read_text()
    assert "**lost** failed: /nowhere.safetensors: " in text
    assert "**bad** failed: data.store " in text
    with (folder / "sweep.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["run"], row["changes"]) for row in rows] == [("plain", "as it is")] * len(rows)
    assert rows[0]["crystal_system"] == "0.25"
    assert (folder / "sweep.png").stat().st_size > 5000


def test_grid_names_every_combination(small_config):
    runs = grid(small_config, {"optim.lr": (1e-3, 1e-2), "augment.strain": (0.0, 0.1)})
    assert list(runs) == ["lr=0.001,strain=0.0", "lr=0.001,strain=0.1", "lr=0.01,strain=0.0", "lr=0.01,strain=0.1"]
    assert runs["lr=0.01,strain=0.1"].augment.strain == 0.1
    assert runs["lr=0.01,strain=0.1"].optim.lr == 0.01


def test_unknown_field_proposes_the_nearest(small_config):
    with pytest.raises(ConfigError, match=r"augment\.strian: no such field; did you mean augment\.strain\?"):
        override(small_config, {"augment.strian": 0.1})
    with pytest.raises(ConfigError, match=r"augment\.strain = -1"):
        override(small_config, {"augment.strain": -1})


def test_bad_files_and_indices_are_told(file, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("def get_config(): return None\n")
    with pytest.raises(ConfigError, match=r"other\.py: expected a function get_runs\(\)"):
        load_sweep_file(other)
    with pytest.raises(ConfigError, match="--index 3: there are 3 runs; expected 0 to 2"):
        sweep.run_sweep(load_sweep_file(file), tmp_path / "sweep", index=3)
