"""Checkpoints of a run, written by Orbax while training goes on: state, tally since the last report, checksum.

A checkpoint appears under its name when it is complete. One that a failing disk has spoiled since cannot be told by its
name: it is found out when it is read, by Orbax or by the checksum, and the one before is taken.
"""

import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, UInt32
from orbax.checkpoint import v1 as ocp

from xrdjax.config import TrainConfig
from xrdjax.errors import WorkdirError
from xrdjax.hosts import all_agree, by_first
from xrdjax.learning.state import TrainState
from xrdjax.learning.step import Tally, empty_tally

log = logging.getLogger(__name__)

BEST_BY = "validation/accuracy/space_group"
"""The higher, the better a checkpoint."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What one checkpoint holds."""

    state: TrainState
    tally: Tally
    checksum: UInt32[Array, ""]


class Checkpoints:
    """Writes the checkpoints of one run, and keeps those to be kept; waits for what is pending as its block ends."""

    def __init__(self, workdir: Path, config: TrainConfig) -> None:
        self._directory = (workdir / "checkpoints").absolute()
        by_first(self._clear_away)
        self._checkpointer = ocp.training.Checkpointer(
            str(self._directory),
            preservation_policy=_kept(config),  # ty: ignore[invalid-argument-type] (Orbax's own types disagree)
        )

    def _clear_away(self) -> None:
        for unfinished in self._directory.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished)

    def save(self, step: int, state: TrainState, tally: Tally, metrics: dict[str, float] | None) -> None:
        """Start writing a checkpoint, unless this step already has one. Raises WorkdirError if the last one failed."""
        if step in _steps(self._directory):
            return
        snapshot = Snapshot(state=state, tally=tally, checksum=checksum((state, tally)))
        try:
            # When to save is the loop's decision, hence force.
            self._checkpointer.save_async(step, snapshot, force=True, metrics=None if metrics is None else {**metrics})
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> WorkdirError:
        written = _steps(self._directory)
        left = f"that of step {written[-1]} is the newest" if written else "there is none yet"
        reason = " ".join(str(error).split())[:300]
        return WorkdirError(
            f"{self._directory}: a checkpoint could not be written ({reason}); {left}; see to the disk and start again"
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._checkpointer.close()
        except Exception as failure:
            if error is None:
                raise self._failed(failure) from failure
            log.warning("%s", self._failed(failure))


def _kept(config: TrainConfig) -> ocp.training.preservation_policies.AnyPreservationPolicy:
    """Return the rule of what is kept: the newest, the best, and every so many steps."""
    policies = ocp.training.preservation_policies
    best = policies.BestN(
        get_metric_fn=lambda metrics: metrics[BEST_BY], n=config.keep_best, keep_checkpoints_without_metrics=False
    )
    every = [] if config.keep_every is None else [policies.EveryNSteps(config.keep_every)]
    return policies.AnyPreservationPolicy([policies.LatestN(config.keep_checkpoints), best, *every])


def resume(workdir: Path, like: TrainState) -> tuple[TrainState, Tally] | None:
    """Return what the newest whole checkpoint holds, or None before the first, for training to go on from.

    Checkpoints that are damaged are named in the log and put aside, for they will be written anew. Raises WorkdirError
    if there are some, but none is whole.
    """
    directory = (workdir / "checkpoints").absolute()
    if not _steps(directory):
        return None
    snapshot, damaged = _newest_whole(directory, like)
    by_first(lambda: _put_aside(directory, damaged))
    return snapshot.state, snapshot.tally


def _put_aside(directory: Path, damaged: Iterable[int]) -> None:
    for step in damaged:
        aside = directory.parent / "damaged" / str(step)
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(exist_ok=True)
        (directory / str(step)).rename(aside)


def restore(workdir: Path, like: TrainState) -> TrainState:
    """Return the newest whole checkpoint's state, and leave everything as it is: training may be under way.

    Structure, dtypes and sharding are those of `like`. Raises WorkdirError.
    """
    directory = (workdir / "checkpoints").absolute()
    if not _steps(directory):
        raise WorkdirError(f"{directory}: holds no checkpoint; train there first")
    return _newest_whole(directory, like)[0].state


def _steps(directory: Path) -> list[int]:
    """Return the steps of all checkpoints that were written to their end, oldest first."""
    return sorted(int(path.name) for path in directory.glob("*") if path.name.isdecimal())


def _newest_whole(directory: Path, like: TrainState) -> tuple[Snapshot, dict[int, str]]:
    """Return a whole checkpoint, and what is wrong with those that are damaged.

    Whole is what every process can read: none may go on from another step than the others.
    """
    whole, damaged = None, {}
    for step in reversed(_steps(directory)):
        fault, snapshot = "", None
        try:
            _read_descriptions(directory / str(step))
            snapshot = whole or _read(directory / str(step), like)
        except Exception as error:  # spoiled bytes raise whatever the reader that trips over them raises
            fault = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        if not all_agree(not fault):
            damaged[step] = fault or "another process cannot read it"
        elif whole is None and not (snapshot and _adds_up(snapshot)):
            damaged[step] = "its numbers do not add up to its checksum"
        else:
            whole = snapshot
    if whole is None:
        faults = "; ".join(f"{step}: {fault}" for step, fault in damaged.items())
        raise WorkdirError(f"{directory}: no checkpoint is whole ({faults}); start in a new --workdir")
    for step, fault in damaged.items():
        log.warning("%s: damaged (%s); taking that of step %d", directory / str(step), fault, int(whole.state.step))
    return whole, damaged


def _read_descriptions(path: Path) -> None:
    """Raise unless what Orbax reads of every checkpoint, however old, is there and is JSON."""
    json.loads((path / "_CHECKPOINT_METADATA").read_text(encoding="utf-8"))
    if (path / "metrics").exists():
        json.loads((path / "metrics" / "metrics").read_text(encoding="utf-8"))


def _read(path: Path, like: TrainState) -> Snapshot:
    """Read one checkpoint. Processes read it on their own, for one that fails must not keep the others waiting."""
    tally, total = jax.eval_shape(lambda: (empty_tally(), jnp.uint32(0)))
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or like.step.sharding),
        Snapshot(state=like, tally=tally, checksum=total),
    )
    if jax.process_count() == 1:
        return ocp.load(str(path), abstract)
    alone = ocp.options.MultiprocessingOptions(active_processes={jax.process_index()}, primary_host=jax.process_index())
    with ocp.Context(multiprocessing_options=alone):
        return ocp.load(str(path), abstract)


def _adds_up(snapshot: Snapshot) -> bool:
    return int(checksum((snapshot.state, snapshot.tally))) == int(snapshot.checksum)


@jax.jit
def checksum(tree: PyTree) -> UInt32[Array, ""]:
    """Return a sum of all bits of a tree of 32-bit numbers, each with an odd weight: any one change shows in it."""
    total = jnp.uint32(0)
    for leaf in jax.tree.leaves(tree):
        bits = jax.lax.bitcast_convert_type(leaf, jnp.uint32).ravel()
        weight = 2 * jax.lax.iota(jnp.uint32, bits.size) + 1
        total = 31 * total + (bits * weight).sum(dtype=jnp.uint32)
    return total
