"""Runs that are killed, stopped, starved of disk, or fed damaged checkpoints, in processes of their own.

The law: whatever happens to a run, the same command carries it to the same end, bit for bit.
"""

import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xrdjax.config import OptimConfig
from xrdjax.config_sources import from_json, to_json
from xrdjax.errors import DivergedError, WorkdirError
from xrdjax.learning import step as step_module
from xrdjax.learning import training, validation
from xrdjax.learning.checkpoint import Checkpoints, checksum
from xrdjax.learning.run import restore_run
from xrdjax.learning.state import STREAM_DATA

RUN = """
import resource, sys
from pathlib import Path
from xrdjax.cli import exit_on_error
from xrdjax.config_sources import from_json
if sys.argv[3:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
with exit_on_error():
    from xrdjax.learning import validation
    from xrdjax.learning.training import train
    validation._draw_confusions = lambda *_: None  # pictures cost more than all the rest of so small a run
    stopped_by = train(from_json(Path(sys.argv[1]).read_text(), sys.argv[1]), Path(sys.argv[2]))
    print("stopped by", stopped_by.name if stopped_by else "nothing")
"""
CLOCK = ("time", "patterns_per_second", "step_seconds")


@pytest.fixture(scope="module")
def long_config(small_config):
    """Forty steps, whose reports, validations and checkpoints fall on different steps."""
    return replace(small_config, steps=40, log_every=3, validate_every=16, checkpoint_every=5, validation_patterns=6)


@pytest.fixture(scope="module")
def config_file(long_config, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(to_json(long_config))
    return path


def start(config_file, workdir, *limit, devices=1, **options):
    """Start a training; what it compiles is kept for the next one."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-c", RUN, str(config_file), str(workdir), *map(str, limit)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def finish(config_file, workdir, *limit, devices=1):
    process = start(config_file, workdir, *limit, devices=devices)
    out, errors = process.communicate(timeout=300)
    return process.returncode, out, errors


FORKS = multiprocessing.get_context("forkserver")  # imports once, for many runs
FORKS.set_forkserver_preload(["xrdjax.learning.training"])


def fork(config_file, workdir):
    """Start a training in a process that has imported everything, and done nothing else."""
    process = FORKS.Process(target=train_on_one_device, args=(config_file, workdir))
    process.start()
    return process


def train_on_one_device(config_file, workdir):
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    validation._draw_confusions = lambda *_: None  # as in RUN
    training.train(from_json(config_file.read_text(), str(config_file)), workdir)


@pytest.fixture(scope="module")
def whole(config_file, tmp_path_factory):
    """A run that nobody disturbed, and how long one takes when nothing is left to compile."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    status, _, errors = finish(config_file, workdir)
    assert status == 0, errors
    again = workdir.parent / "again"
    for _ in range(2):  # the first starts the server of forks
        shutil.rmtree(again, ignore_errors=True)
        started = time.monotonic()
        process = fork(config_file, again)
        process.join()
        assert process.exitcode == 0
    seconds = time.monotonic() - started
    assert_same_end(again, workdir)
    return workdir, seconds


def records(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


def assert_same_end(workdir, whole):
    jax.tree.map(np.testing.assert_array_equal, restore_run(workdir)[2], restore_run(whole)[2])
    assert records(workdir) == records(whole)


def kill_at_random(config_file, workdir, whole, kills, seed):
    """Kill a run again and again, each time at a random moment of what a run takes, and let it end."""
    finished, seconds = whole
    moments, killed = random.Random(seed), 0
    while killed < kills:
        if (workdir / "checkpoints" / "40").exists():
            assert_same_end(workdir, finished)
            shutil.rmtree(workdir)
        process = fork(config_file, workdir)
        process.join(moments.uniform(0.3, 1) * seconds)
        if process.is_alive():
            process.kill()
            killed += 1
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
    status, _, errors = finish(config_file, workdir)
    assert status == 0, errors
    assert_same_end(workdir, finished)


def test_killed_ten_times_it_ends_bit_for_bit(config_file, whole, tmp_path):
    kill_at_random(config_file, tmp_path / "run", whole, kills=10, seed=0)


@pytest.mark.slow
def test_killed_a_hundred_times_it_ends_bit_for_bit(config_file, whole, tmp_path):
    kill_at_random(config_file, tmp_path / "run", whole, kills=100, seed=1)


def wait_for_record(workdir):
    """Wait for the first record: training is under way."""
    deadline = time.monotonic() + 200
    while not (workdir / "metrics.jsonl").exists() or not (workdir / "metrics.jsonl").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_the_step_at_hand(config_file, whole, tmp_path, number):
    process = start(config_file, tmp_path / "run")
    wait_for_record(tmp_path / "run")
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, f"stopped by {number.name}\n"), errors
    step = max(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert 3 <= step < 40
    assert finish(config_file, tmp_path / "run")[0] == 0
    assert_same_end(tmp_path / "run", whole[0])


@pytest.fixture(scope="module")
def finished(small_config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    training.train(small_config, workdir, jax.devices()[:1])
    return workdir


@pytest.mark.long
def test_other_number_of_devices_changes_rounding_only(small_config, finished, tmp_path):
    """Begun on one device and ended on three."""
    workdir = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "8")
    training.train(small_config, workdir, jax.devices()[:3])
    first, second = records(finished), records(workdir)
    assert [line for line in first if line["step"] <= 4] == [line for line in second if line["step"] <= 4]
    for one, two in zip(first, second, strict=True):
        assert one == pytest.approx(two, rel=1e-4)


def spoil_manifest(checkpoint):
    for manifest in checkpoint.rglob("manifest.ocdbt"):
        manifest.write_bytes(b"")


def spoil_data(checkpoint):
    """Change one bit in the middle of the largest file."""
    path = max((path for path in checkpoint.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_in_half(checkpoint):
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_all(checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [spoil_data, *(pytest.param(way, marks=pytest.mark.long) for way in (spoil_manifest, cut_in_half, lose_all))],
)
def test_damaged_checkpoint_is_named_and_the_one_before_taken(small_config, finished, tmp_path, caplog, spoil):
    workdir = shutil.copytree(finished, tmp_path / "copy")
    spoil(workdir / "checkpoints" / "8")
    with caplog.at_level(logging.WARNING, "xrdjax"):
        training.train(small_config, workdir, jax.devices()[:1])
    assert f"{workdir}/checkpoints/8: damaged" in caplog.text
    assert "taking that of step 4" in caplog.text
    assert (workdir / "damaged" / "8").is_dir()
    assert_same_end(workdir, finished)


def test_no_whole_checkpoint_is_an_error(small_config, finished, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "copy")
    for step in (4, 8):
        spoil_manifest(workdir / "checkpoints" / str(step))
    with pytest.raises(WorkdirError, match=r"no checkpoint is whole \(8: .*4: .*start in a new --workdir"):
        training.train(small_config, workdir, jax.devices()[:1])
    assert (workdir / "checkpoints" / "8").exists()


def test_checksum_sees_every_bit(finished):
    state = restore_run(finished)[2]
    before = int(checksum(state))
    leaves, tree = jax.tree.flatten(state)
    for number in range(0, len(leaves), 7):
        bits = np.array(leaves[number]).ravel().view(np.uint32)
        bits[bits.size // 2] ^= 1 << 31
        changed = [*leaves]
        changed[number] = bits.view(leaves[number].dtype).reshape(leaves[number].shape)
        assert int(checksum(jax.tree.unflatten(tree, changed))) != before


@pytest.mark.long
def test_full_disk_stops_in_one_line_and_loses_nothing(config_file, whole, tmp_path):
    workdir = shutil.copytree(whole[0], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / "40")
    before = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    status, _, errors = finish(config_file, workdir, 20_000)
    assert status == 2, errors
    told = [line for line in errors.splitlines() if line.startswith("xrdjax: error:")]
    assert len(told) == 1
    assert str(workdir) in told[0]
    assert "Traceback" not in errors
    assert finish(config_file, workdir)[0] == 0
    assert (workdir / "checkpoints" / str(before)).exists()
    assert_same_end(workdir, whole[0])


def test_records_on_a_full_disk(small_config, tmp_path, monkeypatch):
    class OnFullDisk(training.Writer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self._lines = open("/dev/full", "a")  # noqa: SIM115 (closed by the writer)

    monkeypatch.setattr(training, "Writer", OnFullDisk)
    with pytest.raises(WorkdirError, match=r"run: .*No space left on device.*see to the disk"):
        training.train(small_config, tmp_path / "run", jax.devices()[:1])


def test_vanished_workdir_stops_the_run(small_config, tmp_path, monkeypatch):
    dispatch = training._dispatch

    def vanish(run, state, tally):
        shutil.rmtree(tmp_path / "run")
        return dispatch(run, state, tally)

    monkeypatch.setattr(training, "_dispatch", vanish)
    with pytest.raises(WorkdirError, match=r"run: has vanished"):
        training.train(replace(small_config, log_every=1), tmp_path / "run", jax.devices()[:1])


@pytest.mark.long
def test_what_is_kept(small_config, tmp_path):
    config = replace(
        small_config, steps=16, checkpoint_every=2, validate_every=4, keep_checkpoints=1, keep_best=1, keep_every=6
    )
    training.train(config, tmp_path, jax.devices()[:1])
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    validated = {
        line["step"]: line["validation/accuracy/space_group"] for line in records(tmp_path) if "validation/loss" in line
    }
    best = max(validated, key=lambda step: (validated[step], step))
    assert kept == {16, 6, 12, best}


@pytest.mark.long
def test_diverging_run_stops_and_shows_the_batch(small_config, tmp_path):
    config = replace(small_config, optim=OptimConfig(lr=1e30))
    with pytest.raises(DivergedError, match=r"step \d: the loss .* lower optim\.lr.* shows its batch") as caught:
        training.train(config, tmp_path, jax.devices()[:1])
    recipe = json.loads((tmp_path / "replay" / f"step-{caught.value.step}" / "recipe.json").read_text())
    assert len(recipe["patterns"]) == config.batch_size
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.long
def test_bad_steps_can_be_skipped(small_config, tmp_path, monkeypatch):
    config = replace(small_config, on_nan="skip")
    third = jax.random.key_data(step_module.step_key(jax.random.key(config.seed), STREAM_DATA, 2))
    draw = step_module.draw_batch

    def spoiled(key, *arguments):
        batch = draw(key, *arguments)
        is_third = (jax.random.key_data(key) == third).all()
        return replace(batch, image=jnp.where(is_third, jnp.nan, batch.image))

    monkeypatch.setattr(step_module, "draw_batch", spoiled)
    training.train(config, tmp_path, jax.devices()[:1])
    skipped = {line["step"]: line["train/skipped_steps"] for line in records(tmp_path) if "train/loss" in line}
    assert skipped == {2: 0, 4: 1, 6: 0, 8: 0}
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(restore_run(tmp_path)[2]))


def test_reading_leaves_a_write_under_way_alone(small_config, finished, tmp_path):
    workdir = shutil.copytree(finished, tmp_path / "copy")
    under_way = workdir / "checkpoints" / "9.orbax-checkpoint-tmp"
    shutil.copytree(workdir / "checkpoints" / "8", under_way)
    restore_run(workdir)
    assert under_way.exists()
    with Checkpoints(workdir, small_config):
        pass
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["4", "8"]
    assert not under_way.exists()
