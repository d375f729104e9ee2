"""Training: resuming, records, one compilation, and that it learns."""

import json
import logging
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from xrdjax.cli import main
from xrdjax.config import OptimConfig
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.write import write_store
from xrdjax.errors import ConfigError, StoreError, WorkdirError, XrdjaxError
from xrdjax.learning import training
from xrdjax.learning.replay import replay
from xrdjax.learning.run import prepare, restore_run
from xrdjax.learning.state import STREAM_DATA
from xrdjax.learning.step import step_key
from xrdjax.learning.workdir import check_store
from xrdjax.patterns.generate import make_batch


def train(config, workdir):
    training.train(config, workdir, jax.devices()[:1])


def crystals_of(config):
    return CrystalStore.open(config.data.store)


@pytest.fixture(scope="module")
def whole_run(small_config, tmp_path_factory):
    """The workdir of a run that was never stopped."""
    workdir = tmp_path_factory.mktemp("whole")
    train(small_config, workdir)
    return workdir


@pytest.fixture
def one_device():
    """The mesh that training uses, of one device."""
    mesh = jax.make_mesh((1,), ("data",), (AxisType.Auto,), devices=jax.devices()[:1])
    with jax.set_mesh(mesh):
        yield NamedSharding(mesh, PartitionSpec())


def records(workdir):
    """What a run recorded, apart from the clock."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    clock = ("time", "patterns_per_second", "step_seconds")
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


def assert_same_state(first, second):
    jax.tree.map(np.testing.assert_array_equal, restore_run(first)[2], restore_run(second)[2])


def test_stopped_run_goes_on_bit_for_bit(small_config, whole_run, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "validate_state", stop_at(4, training.validate_state))
    with pytest.raises(KeyboardInterrupt):
        train(small_config, tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "checkpoints" / "8").exists()
    train(small_config, tmp_path)
    assert_same_state(whole_run, tmp_path)
    assert records(tmp_path) == records(whole_run)


def stop_at(step, validate):
    """Interrupt at the first validation after this step: work is lost, records are ahead of the checkpoint."""

    def interrupted(run, state, at, writer):
        if at > step:
            raise KeyboardInterrupt
        return validate(run, state, at, writer)

    return interrupted


def test_finished_run_is_left_alone(small_config, whole_run, caplog):
    before = (whole_run / "metrics.jsonl").read_text()
    with caplog.at_level(logging.INFO, "xrdjax"):
        train(small_config, whole_run)
    assert "all 8 steps are done" in caplog.text
    assert (whole_run / "metrics.jsonl").read_text() == before


@pytest.mark.long
def test_any_step_can_be_replayed(small_config, small_store, whole_run, capsys):
    main(["replay", str(whole_run), "--step", "3"])
    folder = whole_run / "replay" / "step-3"
    assert capsys.readouterr().out == f"step 3: {folder}\n"
    recipe = json.loads((folder / "recipe.json").read_text())
    key = step_key(jax.random.key(small_config.seed), STREAM_DATA, 2)
    batch = make_batch(key, CrystalStore.open(small_store), small_config)
    drawn = [(entry["number"], entry["space_group"], entry["key"]) for entry in recipe["patterns"]]
    columns = batch.recipe.crystal, batch.space_group, jax.random.key_data(batch.recipe.key)
    assert drawn == list(zip(*(np.asarray(column).tolist() for column in columns), strict=True))
    assert (folder / "pictures.png").read_bytes().startswith(b"\x89PNG")


def test_step_beyond_the_run_cannot_be_replayed(whole_run):
    with pytest.raises(XrdjaxError, match="step 9 asked for; expected 1 to 8"):
        replay(whole_run, 9)


def test_workdir_of_another_configuration_is_refused(small_config, whole_run):
    with pytest.raises(WorkdirError, match=r"optim\.lr: 0\.003 → 0\.001") as caught:
        train(replace(small_config, optim=OptimConfig(lr=1e-3)), whole_run)
    assert str(whole_run) in str(caught.value)


def test_damaged_saved_configuration_is_named(small_config, whole_run, tmp_path):
    workdir = shutil.copytree(whole_run, tmp_path / "copy")
    (workdir / "config.json").write_text('{"seed": 0')
    with pytest.raises(ConfigError, match=r"copy/config\.json: not JSON"):
        train(small_config, workdir)


def test_failed_start_leaves_the_workdir_free(small_config, tmp_path):
    elsewhere = replace(small_config, data=replace(small_config.data, store=str(tmp_path / "no.safetensors")))
    with pytest.raises(StoreError):
        train(elsewhere, tmp_path / "run")
    crowded = replace(small_config, data=replace(small_config.data, max_atoms=1))
    with pytest.raises(ConfigError, match=r"no crystal in the part 'train' .*too many atoms: 60"):
        train(crowded, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


def test_run_knows_its_crystals(small_config, small_store, whole_run, tmp_path):
    store = CrystalStore.open(small_store)
    other = tmp_path / "other.safetensors"
    write_store(other, [store.crystal(number) for number in range(59)], title="One less")
    with pytest.raises(WorkdirError, match="was trained on a store with checksum"):
        check_store(small_config, CrystalStore.open(other), whole_run)
    check_store(small_config, store, whole_run)


def test_step_compiles_once(small_config, one_device):
    run = prepare(small_config, crystals_of(small_config), one_device)
    state, tally = run.state, run.no_steps
    for _ in range(3):
        state, tally = run.step(state, tally, run.store, run.plan, run.root)
    assert run.step._cache_size() == 1
    assert int(state.step) == int(tally.num_steps) == 3


def test_nothing_travels_between_host_and_device(small_config, one_device):
    run = prepare(small_config, crystals_of(small_config), one_device)
    state, tally = run.step(run.state, run.no_steps, run.store, run.plan, run.root)
    with jax.transfer_guard("disallow"):
        for _ in range(3):
            state, tally = run.step(state, tally, run.store, run.plan, run.root)
        jax.block_until_ready(tally)
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):  # so the guard is awake
            run.step(state, jax.device_get(tally), run.store, run.plan, run.root)


@pytest.mark.long
def test_steps_in_one_dispatch_are_the_same_steps(small_config, one_device):
    def after_four_steps(config, dispatches):
        run = prepare(config, crystals_of(config), one_device)
        state, tally = run.state, run.no_steps
        for _ in range(dispatches):
            state, tally = run.step(state, tally, run.store, run.plan, run.root)
        return state, float(tally.patterns.space_group_loss)

    singly, loss = after_four_steps(small_config, 4)
    together, loss_together = after_four_steps(replace(small_config, steps_per_dispatch=4, log_every=4), 1)
    assert loss_together == pytest.approx(loss, rel=1e-4)
    # Adam's first steps divide rounding noise by itself: compare where the gradient is above it.
    difference = jax.tree.map(lambda a, b: np.abs(a - b).max(), singly.params, together.params)
    assert max(jax.tree.leaves(difference)) < 4 * small_config.optim.lr


def test_batch_that_devices_cannot_share_is_refused(small_config):
    mesh = jax.make_mesh((4,), ("data",), (AxisType.Auto,))
    with jax.set_mesh(mesh), pytest.raises(ConfigError, match="batch_size = 6: a part of 3 patterns"):
        prepare(small_config, crystals_of(small_config), NamedSharding(mesh, PartitionSpec()))


@pytest.mark.long
def test_network_learns_crystals_it_sees(small_config, tmp_path):
    config = replace(small_config, steps=400, batch_size=15, log_every=50, validate_every=400, checkpoint_every=400)
    train(config, tmp_path)
    losses = [line["train/loss"] for line in records(tmp_path) if "train/loss" in line]
    # Guessing costs ln 230 + ln 7 = 7.4; knowing only the six equally common groups costs 2 ln 6 = 3.6.
    assert losses[0] > 5
    assert losses[-1] < 3
