"""Several real processes that train as one, on this machine's processor.

The law: they draw the batches of one process, bit for bit, end with its parameters, to rounding, and stop together.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from xrdjax.config_sources import to_json
from xrdjax.crystals.selection import open_selected
from xrdjax.errors import ConfigError, WorkdirError
from xrdjax.hosts import find_launch
from xrdjax.learning import training
from xrdjax.learning.checkpoint import BEST_BY
from xrdjax.learning.lock import locked
from xrdjax.learning.run import restore_run
from xrdjax.learning.state import STREAM_DATA
from xrdjax.learning.step import step_key
from xrdjax.patterns.recipe import sample_recipe

TRAIN = """
import sys
from pathlib import Path
from xrdjax.cli import exit_on_error
from xrdjax.config_sources import from_json
from xrdjax.startup import prepare_jax
with exit_on_error():
    config = from_json(Path(sys.argv[1]).read_text(), sys.argv[1])
    prepare_jax(config.batch_size)
    import jax, numpy as np
    import test_distributed
    from xrdjax.learning import training

    def prepare(*arguments):
        run = prepared(*arguments)
        np.savez(f"{sys.argv[2]}-{jax.process_index()}.npz", *test_distributed.third_recipe(run))
        return run

    prepared, training.prepare = training.prepare, prepare
    if sys.argv[3] == "no validation":
        training.validate_state = test_distributed.no_validation
    stopped_by = training.train(config, Path(sys.argv[2]))
    print("left by", stopped_by.name if stopped_by else "nothing")
"""
QUICKLY_COMPILED = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def third_recipe(run):
    """What the third batch of a run shows, as plain arrays; compiled alike whatever else is."""
    sample = jax.jit(sample_recipe, static_argnums=2, compiler_options={"xla_backend_optimization_level": 0})
    recipe = sample(step_key(run.root, STREAM_DATA, 2), run.plan, run.config.augment)
    return [np.asarray(x) for x in (recipe.crystal, recipe.uvw, recipe.angle, jax.random.key_data(recipe.key))]


def no_validation(run, state, step, writer):
    return {BEST_BY: 0.0}


def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def start(config, workdirs, validation="validation", **variables):
    """Start one process for each of the workdirs, which all name the same directory."""
    folder = workdirs[0].parent
    (folder / "config.json").write_text(to_json(config))
    address = {"JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}", "JAX_NUM_PROCESSES": str(len(workdirs))}
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = (
        os.environ
        | {"XLA_FLAGS": QUICKLY_COMPILED, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
        | address
        | variables
    )
    processes = []
    for index, workdir in enumerate(workdirs):
        command = [sys.executable, "-c", TRAIN, str(folder / "config.json"), str(workdir), validation]
        with (folder / f"out-{index}").open("w") as out, (folder / f"errors-{index}").open("w") as errors:
            variables = environment | {"JAX_PROCESS_ID": str(index)}
            processes.append(subprocess.Popen(command, env=variables, stdout=out, stderr=errors))
    return processes


def finish(processes, folder, timeout=120):
    """Return status, last line of output and errors of each process."""
    deadline = time.monotonic() + timeout
    try:
        for process in processes:
            process.wait(deadline - time.monotonic())
    finally:
        for process in processes:
            process.kill()
    told = [((folder / f"out-{n}").read_text(), (folder / f"errors-{n}").read_text()) for n in range(len(processes))]
    return [
        (process.returncode, out.splitlines()[-1:], errors)
        for process, (out, errors) in zip(processes, told, strict=True)
    ]


@pytest.fixture(scope="module")
def shared_config(small_config):
    """Twelve steps of batches that four devices can share, by a network with arrays large enough to be sharded."""
    model = replace(small_config.model, normalize="none", hidden=(512,))
    pattern = replace(small_config.pattern, axes=((1, 1, 1),))
    intervals = {"steps": 12, "validate_every": 12, "checkpoint_every": 12}
    return replace(small_config, **intervals, batch_size=64, validation_patterns=64, model=model, pattern=pattern)


@pytest.fixture(scope="module")
def alone(shared_config, tmp_path_factory):
    """What one process with one device makes of it: its workdir, and the recipe of its third batch."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    recipes = []

    def prepare(*arguments):
        recipes.append(third_recipe(run := prepared(*arguments)))
        return run

    prepared = training.prepare
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "prepare", prepare)
        patch.setattr(training, "validate_state", no_validation)
        training.train(shared_config, workdir, jax.devices()[:1])
    return workdir, recipes[0]


def losses(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


def assert_same_recipes(workdir, alone, processes):
    for index in range(processes):
        drawn = np.load(f"{workdir}-{index}.npz")
        jax.tree.map(np.testing.assert_array_equal, [drawn[name] for name in drawn.files], alone[1])


def assert_same_end(workdir, alone, lr):
    """Equal to rounding; where a gradient is hardly more than rounding, Adam makes a whole step of it."""
    said, expected = losses(workdir), losses(alone[0])
    assert said[2] == pytest.approx(expected[2], rel=1e-4)
    assert said == pytest.approx(expected, rel=1e-2)
    one, several = (jax.tree.leaves(restore_run(path)[2].params) for path in (alone[0], workdir))
    away = np.concatenate([np.abs(a - b).ravel() for a, b in zip(one, several, strict=True)])
    assert np.quantile(away, 0.9) < 0.1 * lr


def wait_for(path, processes):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)


def stop_one_of_two(config, workdir, *options):
    """Send SIGTERM to the second of two processes, and return the step that both have saved."""
    processes = start(config, [workdir] * 2, *options)
    wait_for(workdir / "lock", processes)
    processes[1].send_signal(signal.SIGTERM)
    for status, told, errors in finish(processes, workdir.parent):
        assert (status, told) == (0, ["left by SIGTERM"]), errors
    (saved,) = (int(path.name) for path in (workdir / "checkpoints").iterdir())
    return saved


@pytest.mark.long
def test_signal_to_one_of_two_stops_both_and_one_alone_carries_on(shared_config, alone, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    assert 1 <= stop_one_of_two(shared_config, workdir, "no validation") < 12
    assert_same_recipes(workdir, alone, 2)
    monkeypatch.setattr(training, "validate_state", no_validation)
    training.train(shared_config, workdir, jax.devices()[:1])
    assert_same_end(workdir, alone, shared_config.optim.lr)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_types")  # lowering puts stand-ins for arrays into dataclasses
def test_work_of_a_device_stays_as_devices_and_batch_grow(shared_config):
    def compiled(number):
        config = replace(shared_config, batch_size=64 * number)
        mesh = jax.make_mesh((number,), ("data",), (AxisType.Auto,), devices=jax.devices()[:number])
        with jax.set_mesh(mesh):
            run = training.prepare(config, open_selected(config.data), NamedSharding(mesh, PartitionSpec()))
            return run.step.lower(run.state, run.no_steps, run.store, run.plan, run.root).compile()

    one, four = compiled(1), compiled(4)
    for measure in ("flops", "bytes accessed"):
        assert four.cost_analysis()[measure] == pytest.approx(one.cost_analysis()[measure], rel=0.05)
    kinds = r" (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
    assert re.findall(kinds, four.as_text()) == ["all-reduce"]
    assert not re.findall(kinds, one.as_text())


@pytest.mark.slow
def test_two_that_were_stopped_end_bit_for_bit_as_two_that_were_not(shared_config, tmp_path):
    (tmp_path / "whole").mkdir()
    assert [told[0] for told in finish(start(shared_config, [tmp_path / "whole" / "run"] * 2), tmp_path / "whole")] == [
        0,
        0,
    ]
    assert 1 <= stop_one_of_two(shared_config, tmp_path / "run") < 12
    assert [told[0] for told in finish(start(shared_config, [tmp_path / "run"] * 2), tmp_path)] == [0, 0]
    ends = (restore_run(workdir)[2] for workdir in (tmp_path / "run", tmp_path / "whole" / "run"))
    jax.tree.map(np.testing.assert_array_equal, *ends)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_four_processes_train_as_one(shared_config, alone, tmp_path, sharded):
    config = replace(shared_config, shard_parameters=sharded)
    for status, told, errors in finish(start(config, [tmp_path / "run"] * 4), tmp_path, timeout=400):
        assert (status, told) == (0, ["left by nothing"]), errors
    assert_same_recipes(tmp_path / "run", alone, 4)
    assert_same_end(tmp_path / "run", alone, config.optim.lr)


@pytest.mark.slow
def test_hosts_with_directories_of_their_own_are_refused(shared_config, tmp_path):
    (tmp_path / "other").mkdir()
    workdirs = [tmp_path / "run", tmp_path / "other" / "run"]
    for status, _, errors in finish(start(shared_config, workdirs), tmp_path):
        assert status == 2
        assert "has another directory of this name; choose a --workdir on storage that all share" in errors


@pytest.mark.long
def test_second_training_in_a_workdir_is_refused_and_told_of_the_first(shared_config, alone, tmp_path):
    with locked(alone[0]), pytest.raises(WorkdirError, match=rf"process {os.getpid()} on .*, trains here; wait for it"):
        training.train(shared_config, alone[0], jax.devices()[:1])
    training.train(shared_config, alone[0], jax.devices()[:1])


def test_lock_goes_with_a_killed_process(tmp_path):
    hold = (
        "import sys, time; from pathlib import Path; from xrdjax.learning.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(WorkdirError, match=f"process {process.pid} on"), locked(tmp_path):
        pass
    process.kill()
    process.communicate()
    with locked(tmp_path):
        pass


ADDRESSES = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
SLURM = {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_NTASKS": "2"}
MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911"}


@pytest.mark.parametrize(
    ("environment", "is_tpu", "method"),
    [(ADDRESSES, False, "deactivate"), (SLURM, False, "slurm"), (MPI, False, "ompi"), ({}, True, None)],
)
def test_process_knows_by_its_environment_that_there_are_others(environment, is_tpu, method):
    launch = find_launch(environment, is_tpu)
    assert launch is not None
    assert launch.method == method
    assert find_launch({**environment, "JAX_NUM_PROCESSES": "1"}, is_tpu) is None


@pytest.mark.parametrize(
    "environment",
    [{}, {**SLURM, "SLURM_NTASKS": "1"}, {"OMPI_COMM_WORLD_SIZE": "1"}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}],
)
def test_process_alone_waits_for_nobody(environment):
    assert find_launch(environment) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"JAX_PROCESS_ID": None}, "JAX_NUM_PROCESSES set without JAX_PROCESS_ID: expected all three or none"),
        ({"JAX_COORDINATOR_ADDRESS": "10.0.0.1"}, "JAX_COORDINATOR_ADDRESS = 10.0.0.1: expected HOST:PORT"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES = two: expected a whole number, 1 or more"),
        ({"JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID = 2: expected 0 to 1, as JAX_NUM_PROCESSES = 2"),
    ],
)
def test_wrong_variables_are_named(changes, told):
    environment = {name: value for name, value in (ADDRESSES | changes).items() if value is not None}
    with pytest.raises(ConfigError, match=told):
        find_launch(environment)


def test_launchers_that_need_a_package_say_so(monkeypatch):
    monkeypatch.setattr("xrdjax.hosts.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="started by MPI with others, and JAX needs mpi4py"):
        find_launch({"PMI_SIZE": "2"})
    with pytest.raises(ConfigError, match=r'JAX needs kubernetes .* pip install "jax\[k8s\]"'):
        find_launch({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"})


def test_unreachable_coordinator_is_told_in_time():
    join = "from xrdjax.hosts import join_hosts; join_hosts()"
    address = {"JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
    environment = os.environ | address | {"XRDJAX_PATIENCE": "1"}
    process = subprocess.run([sys.executable, "-c", join], env=environment, capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    assert "waited 1 s in vain for 2 processes at JAX_COORDINATOR_ADDRESS = localhost:" in process.stderr
