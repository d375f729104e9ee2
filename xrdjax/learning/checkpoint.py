"""Checkpoints of the whole training state, written by Orbax while training goes on."""

from pathlib import Path
from types import TracebackType

import jax
from orbax.checkpoint import v1 as ocp

from xrdjax.errors import WorkdirError
from xrdjax.learning.state import TrainState


class Checkpoints:
    """The newest checkpoints of one run; waits for pending writes when its `with` block ends."""

    def __init__(self, workdir: Path, keep: int) -> None:
        self._directory = (workdir / "checkpoints").absolute()
        newest = ocp.training.preservation_policies.LatestN(keep)
        self._checkpointer = ocp.training.Checkpointer(
            str(self._directory),
            preservation_policy=newest,  # ty: ignore[invalid-argument-type] (Orbax's own types disagree)
        )

    @property
    def latest_step(self) -> int | None:
        """Step of the newest checkpoint, or None before the first."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def restore(self, like: TrainState) -> TrainState:
        """Return the newest checkpoint in the structure, dtypes and sharding of `like`. Raises WorkdirError."""
        if self.latest_step is None:
            raise WorkdirError(f"{self._directory}: holds no checkpoint; train there first")
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like)
        try:
            return self._checkpointer.load(self.latest_step, abstract)
        except (ValueError, KeyError, OSError, TypeError) as error:
            raise WorkdirError(
                f"{self._directory / str(self.latest_step)}: damaged ({type(error).__name__}); "
                "delete it to go on from the one before"
            ) from error

    def save(self, step: int, state: TrainState) -> None:
        """Start writing a checkpoint, unless this step already has one."""
        if step != self.latest_step:
            self._checkpointer.save_async(step, state, force=True)  # when to save is the loop's decision

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._checkpointer.close()
