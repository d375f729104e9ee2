"""The training loop: it starts steps, and looks at what they report once an interval.

Everything random follows from the seed and the step, and a checkpoint holds all else that changes, so a run that is
stopped and started again goes on as if nothing had happened. Nothing travels between host and device while steps run.
"""

import logging
import signal
from collections.abc import Sequence
from pathlib import Path

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from xrdjax.config import TrainConfig, validate
from xrdjax.crystals.selection import open_selected
from xrdjax.errors import ConfigError, DivergedError, WorkdirError
from xrdjax.hosts import by_first, is_first
from xrdjax.learning.checkpoint import Checkpoints, resume
from xrdjax.learning.lock import locked
from xrdjax.learning.progress import Progress
from xrdjax.learning.replay import replay
from xrdjax.learning.run import Run, prepare
from xrdjax.learning.signals import StopRequest, noted_signals
from xrdjax.learning.state import TrainState
from xrdjax.learning.step import Tally
from xrdjax.learning.validation import validate_state
from xrdjax.learning.warm_start import warm_start
from xrdjax.learning.workdir import check_present, check_store, check_workdir, claim_workdir
from xrdjax.learning.writer import SilentWriter, Writer
from xrdjax.patterns.planning import MOST_BUCKETS_PER_BATCH

log = logging.getLogger(__name__)


def train(
    config: TrainConfig, workdir: Path, devices: Sequence[jax.Device] | None = None, profile: range | None = None
) -> signal.Signals | None:
    """Train in `workdir` on these devices (all by default), going on from its newest whole checkpoint.

    Return the signal that stopped the run early, after it was saved, if one did. The steps of `profile` are traced for
    TensorBoard. Raises ConfigError, StoreError, WorkdirError, and DivergedError after saving the batch to blame.
    """
    config = validate(config)
    by_first(lambda: check_workdir(config, workdir))
    devices = jax.devices() if devices is None else devices
    if config.batch_size % len(devices):
        raise ConfigError(
            f"batch_size = {config.batch_size}: {len(devices)} devices cannot share it; expected a multiple of "
            f"{MOST_BUCKETS_PER_BATCH * len(devices)}"
        )
    crystals = open_selected(config.data)
    mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
    try:
        with noted_signals() as request, jax.set_mesh(mesh):
            run = prepare(config, crystals, NamedSharding(mesh, PartitionSpec()))
            by_first(lambda: claim_workdir(config, crystals, workdir))
            with locked(workdir):
                check_store(config, crystals, workdir)
                _go_on(run, workdir, request, profile)
    except OSError as error:
        raise WorkdirError(f"{workdir}: {error}; see to the disk and start again") from error
    except DivergedError as error:
        folder = by_first(lambda: replay(workdir, error.step))
        raise DivergedError(error.step, f"{error}; {folder} shows its batch") from None
    return request.signal


def _go_on(run: Run, workdir: Path, request: StopRequest, profile: range | None) -> None:
    state, tally = resume(workdir, run.state) or (_beginning(run), run.no_steps)
    first_step, last_step = int(state.step), run.config.steps
    if first_step == last_step:
        log.info("%s: all %d steps are done", workdir, last_step)
        return
    log.info("%s from step %d to %d", "Going on" if first_step else "Training", first_step, last_step)
    writer = Writer(workdir, first_step, run.config) if is_first() else SilentWriter(workdir)
    with Checkpoints(workdir, run.config) as checkpoints, writer:
        progress = Progress(run.config, first_step, writer, profile)
        _loop(run, state, tally, progress, checkpoints, request)


def _beginning(run: Run) -> TrainState:
    origin = run.config.start_from
    return run.state if origin is None else warm_start(run.state, Path(origin))


def _loop(
    run: Run, state: TrainState, tally: Tally, progress: Progress, checkpoints: Checkpoints, request: StopRequest
) -> None:
    config, step = run.config, int(state.step)
    while step < config.steps and request.signal is None:
        with progress.traced(step):
            state, tally = _dispatch(run, state, tally)
            step += config.steps_per_dispatch
            progress.dispatched(tally)
        is_stopping = request.is_due(step)
        log_now, validate_now, save_now = (
            step % interval == 0 or step == config.steps
            for interval in (config.log_every, config.validate_every, config.checkpoint_every)
        )
        if log_now or validate_now or save_now or is_stopping:
            check_present(progress.workdir)
            progress.check(tally)
        if log_now:
            progress.report(step, tally)
            tally = run.no_steps
        with progress.paused():
            metrics = validate_state(run, state, step, progress.writer) if validate_now else None
            if save_now or is_stopping:
                checkpoints.save(step, state, tally, metrics)
        if is_stopping:
            assert request.signal is not None
            log.info("%s: saved step %d; the same command goes on from there", request.signal.name, step)


def _dispatch(run: Run, state: TrainState, tally: Tally) -> tuple[TrainState, Tally]:
    """Start the next steps. Everything they need is on the device: a transfer would be a mistake, and raises."""
    with jax.transfer_guard("disallow"):
        return run.step(state, tally, run.store, run.plan, run.root)
