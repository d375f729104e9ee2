"""The training loop. A step is a pure function of (state, store, plan, root key): it draws its own batch.

Everything random follows from the seed and the step, so a run that is stopped and started again goes on as if nothing
had happened. The host only starts steps, and reads their sums once an interval.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Key, PyTree

from xrdjax.config import TrainConfig, validate
from xrdjax.crystals.selection import open_selected, select_crystals
from xrdjax.crystals.store import CrystalStore
from xrdjax.errors import ConfigError
from xrdjax.learning.checkpoint import Checkpoints
from xrdjax.learning.losses import Sums, two_head_loss
from xrdjax.learning.models import Logits
from xrdjax.learning.optimizer import build_optimizer
from xrdjax.learning.pictures import prediction_sheet
from xrdjax.learning.progress import Progress
from xrdjax.learning.state import STREAM_DATA, STREAM_DROPOUT, STREAM_VALIDATION, TrainState, initial_state
from xrdjax.learning.workdir import check_workdir, claim_workdir, saved_config
from xrdjax.learning.writer import Writer
from xrdjax.patterns.device_store import DeviceStore, to_device
from xrdjax.patterns.generate import Batch, draw_batch
from xrdjax.patterns.mixture import training_source
from xrdjax.patterns.planning import MOST_BUCKETS_PER_BATCH, Plan, make_plan

log = logging.getLogger(__name__)

Step = Callable[[TrainState, DeviceStore, Plan, Key[Array, ""]], tuple[TrainState, Sums]]
SHEET = 24  # pictures shown in TensorBoard


def train(config: TrainConfig, workdir: Path, devices: Sequence[jax.Device] | None = None) -> None:
    """Train in `workdir` on these devices (all by default), going on from its newest checkpoint.

    Raises ConfigError, StoreError, WorkdirError.
    """
    config = validate(config)
    check_workdir(config, workdir)
    crystals = open_selected(config.data)
    devices = jax.devices() if devices is None else devices
    mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
    with jax.set_mesh(mesh):
        run = prepare(config, crystals, NamedSharding(mesh, PartitionSpec()))
        claim_workdir(config, crystals, workdir)
        with Checkpoints(workdir, config.keep_checkpoints) as checkpoints:
            _go_on(run, checkpoints, workdir)


def _go_on(run: "Run", checkpoints: Checkpoints, workdir: Path) -> None:
    state = run.state if checkpoints.latest_step is None else checkpoints.restore(run.state)
    first_step, last_step = int(state.step), run.config.steps
    if first_step == last_step:
        log.info("%s: all %d steps are done", workdir, last_step)
        return
    log.info("%s from step %d to %d", "Going on" if first_step else "Training", first_step, last_step)
    with Writer(workdir, first_step) as writer:
        _loop(run, state, first_step, checkpoints, writer)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What stays the same over a whole run, on the device, and the state before its first step."""

    config: TrainConfig
    state: TrainState
    store: DeviceStore
    plan: Plan
    validation_plan: Plan
    root: Key[Array, ""]
    step: jax.stages.Wrapped
    evaluate: Callable[..., tuple[Batch, Logits, Sums]]


def prepare(config: TrainConfig, crystals: CrystalStore, sharding: NamedSharding) -> Run:
    """Put the crystals on the device, plan the batches and build the step; everything is replicated by `sharding`."""
    started = time.monotonic()
    parts = {part: select_crystals(crystals, config.data, part) for part in ("train", "validation", "test")}
    store, plan = training_source(crystals, to_device(crystals), parts["train"], config)
    store = jax.device_put(store, sharding)
    validation = make_plan(store, parts["validation"], config.pattern, config.augment, config.batch_size)
    optimizer = build_optimizer(config.optim, config.steps)
    graph, state = initial_state(config, optimizer)
    check_devices(plan, config, sharding.mesh.size)
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    log.info(
        "%s: %d crystals on the device in %.1f s; network of %.2f million parameters",
        config.data.store, len(crystals), time.monotonic() - started, num_parameters / 1e6,
    )  # fmt: skip
    return Run(
        config=config,
        state=jax.device_put(state, sharding),
        store=store,
        plan=jax.device_put(plan, sharding),
        validation_plan=jax.device_put(validation, sharding),
        root=jax.device_put(jax.random.key(config.seed), sharding),
        step=jax.jit(make_step(graph, optimizer, config), donate_argnums=0),
        evaluate=jax.jit(make_evaluate(graph, config)),
    )


def restore_run(workdir: Path) -> tuple[TrainConfig, nnx.GraphDef, TrainState]:
    """Return configuration, structure and newest state of a run. Raises WorkdirError, ConfigError."""
    config = saved_config(workdir)
    graph, state = initial_state(config, build_optimizer(config.optim, config.steps))
    with Checkpoints(workdir, config.keep_checkpoints) as checkpoints:
        return config, graph, checkpoints.restore(state)


def check_devices(plan: Plan, config: TrainConfig, num_devices: int) -> None:
    """Raise ConfigError unless every bucket of a batch spreads evenly over the devices."""
    uneven = [bucket.slots for bucket in plan.buckets if bucket.slots % num_devices]
    if uneven:
        raise ConfigError(
            f"batch_size = {config.batch_size}: a part of {uneven[0]} patterns cannot be spread over "
            f"{num_devices} devices; expected a multiple of {MOST_BUCKETS_PER_BATCH * num_devices}"
        )


def make_step(graph: nnx.GraphDef, optimizer: optax.GradientTransformation, config: TrainConfig) -> Step:
    """Return the function that does `steps_per_dispatch` optimiser steps and sums their metrics."""

    def one_step(state: TrainState, store: DeviceStore, plan: Plan, root: Key[Array, ""]) -> tuple[TrainState, Sums]:
        batch = draw_batch(step_key(root, STREAM_DATA, state.step), store, plan, config.pattern, config.augment)
        dropout = step_key(root, STREAM_DROPOUT, state.step)

        def loss_of(params: PyTree) -> tuple[Array, tuple[Sums, PyTree]]:
            model = nnx.merge(graph, params, state.statistics, copy=True)
            logits = model(batch.image, batch.recipe.uvw, dropout)
            loss, sums = two_head_loss(logits, batch, config.optim.label_smoothing)
            return loss, (sums, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param))))

        gradient, (sums, statistics) = jax.grad(loss_of, has_aux=True)(state.params)
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(step=state.step + 1, params=params, statistics=statistics, optimizer=moments), sums

    def many_steps(state: TrainState, store: DeviceStore, plan: Plan, root: Key[Array, ""]) -> tuple[TrainState, Sums]:
        state, sums = jax.lax.scan(
            lambda state, _: one_step(state, store, plan, root), state, length=config.steps_per_dispatch
        )
        return state, jax.tree.map(lambda leaf: leaf.sum(0), sums)

    return one_step if config.steps_per_dispatch == 1 else many_steps


def make_evaluate(graph: nnx.GraphDef, config: TrainConfig) -> Callable[..., tuple[Batch, Logits, Sums]]:
    """Return the function that draws a batch by a key and predicts it."""

    def evaluate(state: TrainState, store: DeviceStore, plan: Plan, key: Key[Array, ""]) -> tuple[Batch, Logits, Sums]:
        batch = draw_batch(key, store, plan, config.pattern, config.augment)
        logits = nnx.merge(graph, state.params, state.statistics, copy=True)(batch.image, batch.recipe.uvw)
        return batch, logits, two_head_loss(logits, batch)[1]

    return evaluate


def step_key(root: Key[Array, ""], stream: int, step: Array | int) -> Key[Array, ""]:
    """Return the key of one named stream at one step."""
    return jax.random.fold_in(jax.random.fold_in(root, stream), step)


def _loop(run: Run, state: TrainState, first_step: int, checkpoints: Checkpoints, writer: Writer) -> None:
    config, sums = run.config, None
    progress = Progress(config, first_step, writer)
    for step in range(first_step + config.steps_per_dispatch, config.steps + 1, config.steps_per_dispatch):
        state, new = run.step(state, run.store, run.plan, run.root)
        if step == first_step + config.steps_per_dispatch:
            progress.compiled(new)
        sums = new if sums is None else jax.tree.map(jnp.add, sums, new)
        if step % config.log_every == 0 or step == config.steps:
            progress.report(step, sums)
            sums = None
        if step % config.validate_every == 0 or step == config.steps:
            with progress.paused():
                _validate(run, state, step, writer)
        if step % config.checkpoint_every == 0 or step == config.steps:
            with progress.paused():
                checkpoints.save(step, state)


def _validate(run: Run, state: TrainState, step: int, writer: Writer) -> None:
    """Measure the same patterns of validation crystals every time, and show some of them with their predictions."""
    config = run.config
    totals: list[Sums] = []
    for number in range(-(-config.validation_patterns // config.batch_size)):
        key = step_key(run.root, STREAM_VALIDATION, number)
        batch, logits, sums = run.evaluate(state, run.store, run.validation_plan, key)
        totals.append(sums)
        if number == 0:
            predicted = np.asarray(logits.space_group.argmax(-1)) + 1
            pixels = np.asarray(batch.image[..., 0])
            sheet = prediction_sheet(pixels[:SHEET], np.asarray(batch.space_group)[:SHEET], predicted[:SHEET])
            writer.image(step, "validation/patterns", sheet)
    means = jax.tree.map(lambda *leaves: sum(leaves), *totals).means()
    writer.scalars(step, {f"validation/{name}": value for name, value in means.items()})
    log.info(
        "step %d  validation: loss %.3f  space group %.1f %%  crystal system %.1f %%", step, means["loss"],
        100 * means["accuracy/space_group"], 100 * means["accuracy/crystal_system"],
    )  # fmt: skip
