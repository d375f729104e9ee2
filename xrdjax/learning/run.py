"""What a run is made of before its first step: crystals and network on the device, batches planned."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import jax
from flax import nnx
from jax.sharding import NamedSharding
from jaxtyping import Array, Key

from xrdjax.config import TrainConfig
from xrdjax.crystals.selection import select_crystals
from xrdjax.crystals.splits import Part
from xrdjax.crystals.store import CrystalStore
from xrdjax.errors import ConfigError
from xrdjax.learning.checkpoint import restore
from xrdjax.learning.losses import Sums
from xrdjax.learning.models import Logits
from xrdjax.learning.optimizer import build_optimizer
from xrdjax.learning.placement import replicate, state_shardings
from xrdjax.learning.state import TrainState, initial_state
from xrdjax.learning.step import Tally, empty_tally, make_evaluate, make_step
from xrdjax.learning.workdir import saved_config
from xrdjax.patterns.device_store import DeviceStore, to_device
from xrdjax.patterns.generate import Batch
from xrdjax.patterns.mixture import training_source
from xrdjax.patterns.planning import MOST_BUCKETS_PER_BATCH, Plan, make_plan

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What stays the same over a whole run, on the device, and the state before its first step."""

    config: TrainConfig
    state: TrainState
    store: DeviceStore
    plan: Plan
    validation_plan: Callable[[], Plan]
    """Made when it is first needed, after the first steps."""
    root: Key[Array, ""]
    no_steps: Tally
    step: jax.stages.Wrapped
    evaluate: Callable[..., tuple[Batch, Logits, Sums]]


def prepare(config: TrainConfig, crystals: CrystalStore, sharding: NamedSharding) -> Run:
    """Put the crystals on the device, plan the batches and build the step.

    Everything is replicated by `sharding`, but for parameters that are to be spread over its devices.
    """
    started = time.monotonic()
    needed: tuple[Part, ...] = ("train", "validation", "test")
    parts = {part: select_crystals(crystals, config.data, part) for part in needed}
    store, plan = training_source(crystals, to_device(crystals), parts["train"], config)
    check_devices(plan, config, sharding.mesh.size)
    store = replicate(store, sharding)
    optimizer = build_optimizer(config)
    placed = partial(state_shardings, mesh=sharding.mesh, sharded=config.shard_parameters)
    graph, state = initial_state(config, optimizer, placed)

    @cache
    def validation_plan() -> Plan:
        planned = make_plan(
            store, parts["validation"], config.pattern, config.augment, config.batch_size, views=config.views
        )
        return replicate(planned, sharding)

    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    log.info(
        "%s: %d crystals on the device in %.1f s; network of %.2f million parameters",
        config.data.store, len(crystals), time.monotonic() - started, num_parameters / 1e6,
    )  # fmt: skip
    return Run(
        config=config,
        state=state,
        store=store,
        plan=replicate(plan, sharding),
        validation_plan=validation_plan,
        root=jax.jit(lambda: jax.random.key(config.seed), out_shardings=sharding)(),
        no_steps=replicate(empty_tally(), sharding),
        step=jax.jit(make_step(graph, optimizer, config), donate_argnums=0, out_shardings=(placed(state), sharding)),
        evaluate=jax.jit(make_evaluate(graph, config), out_shardings=sharding),
    )


def restore_run(workdir: Path) -> tuple[TrainConfig, nnx.GraphDef, TrainState]:
    """Return configuration, structure and newest state of a run, with the parameters and statistics to predict with.

    Raises WorkdirError, ConfigError.
    """
    config = saved_config(workdir)
    graph, state = initial_state(config, build_optimizer(config))
    state = restore(workdir, state)
    params, statistics = state.predictor
    return config, graph, replace(state, params=params, statistics=statistics)


def check_devices(plan: Plan, config: TrainConfig, num_devices: int) -> None:
    """Raise ConfigError unless every bucket of a batch spreads evenly over the devices."""
    unit = num_devices * config.views
    uneven = [bucket.slots for bucket in plan.buckets if bucket.slots % unit]
    if uneven:
        raise ConfigError(
            f"batch_size = {config.batch_size}: a part of {uneven[0]} patterns cannot be spread over "
            f"{num_devices} devices; expected a multiple of {MOST_BUCKETS_PER_BATCH * unit}"
        )
