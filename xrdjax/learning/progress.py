"""What a running training tells: a line of log, scalars, rate and time left; and a profiler's trace if asked."""

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

import jax
import numpy as np

from xrdjax.config import TrainConfig
from xrdjax.errors import DivergedError
from xrdjax.learning.optimizer import learning_rate
from xrdjax.learning.step import NEVER, Tally
from xrdjax.learning.writer import Writer

log = logging.getLogger(__name__)


class Progress:
    """Reports each interval: waits for the device, then writes what it measured."""

    def __init__(self, config: TrainConfig, first_step: int, writer: Writer, profile: range | None = None) -> None:
        self.writer, self.workdir = writer, writer.workdir
        self._config, self._profile = config, profile or range(0)
        self._schedule = learning_rate(config.optim, config.steps)
        self._previous: Tally | None = None
        self._reported_step, self._reported_at = first_step, time.monotonic()

    def dispatched(self, tally: Tally) -> None:
        """Note one more dispatch, and wait for the one before: a request to stop must not find many on their way."""
        if self._previous is None:
            self._compiled(tally)
        jax.block_until_ready(self._previous)
        self._previous = tally

    def _compiled(self, tally: Tally) -> None:
        """Wait for the first dispatch, which compiles, and leave it out of the rate unless nothing else is left."""
        jax.block_until_ready(tally)
        now = time.monotonic()
        log.info("Compiled the training step in %.1f s", now - self._reported_at)
        if self._config.log_every > self._config.steps_per_dispatch:
            self._reported_step, self._reported_at = self._reported_step + self._config.steps_per_dispatch, now

    def check(self, tally: Tally) -> None:
        """Raise DivergedError if a step of the tally was bad, or all of a whole interval were skipped."""
        first_bad, skipped = int(tally.first_bad), int(tally.skipped)
        if first_bad == NEVER:
            return
        remedy = "lower optim.lr, or set optim.clip_norm, and start in a new --workdir"
        if self._config.on_nan == "stop":
            raise DivergedError(
                first_bad, f"step {first_bad}: the loss or its gradient is infinite or not a number; {remedy}"
            )
        if skipped == int(tally.num_steps) and skipped >= self._config.log_every:
            raise DivergedError(first_bad, f"step {first_bad}: from here on every step was skipped; {remedy}")

    def report(self, step: int, tally: Tally) -> None:
        """Report the steps since the last report."""
        now = time.monotonic()
        steps = max(step - self._reported_step, 1)
        seconds = (now - self._reported_at) / steps
        self._reported_step, self._reported_at = step, now
        means, rate, lr = tally.patterns.means(), self._config.batch_size / seconds, self._learning_rate(step)
        applied = max(int(tally.num_steps) - int(tally.skipped), 1)
        scalars = {
            **{f"train/{name}": value for name, value in means.items()},
            "train/gradient_norm": float(tally.gradient_norm) / applied,
            "train/parameter_norm": float(tally.parameter_norm),
            "lr": lr,
            "patterns_per_second": rate,
            "step_seconds": seconds,
            **_device_memory(),
        }
        if self._config.on_nan == "skip":
            scalars["train/skipped_steps"] = int(tally.skipped)
        self.writer.scalars(step, scalars)
        log.info(
            "step %d/%d  loss %.3f  space group %.1f %%  crystal system %.1f %%  lr %.1e  %.0f patterns/s  %s left%s",
            step, self._config.steps, means["loss"], 100 * means["accuracy/space_group"],
            100 * means["accuracy/crystal_system"], lr, rate,
            timedelta(seconds=round((self._config.steps - step) * seconds)),
            f"  {int(tally.skipped)} steps skipped, the first {int(tally.first_bad)}" if int(tally.skipped) else "",
        )  # fmt: skip

    def _learning_rate(self, step: int) -> float:
        return float(np.asarray(self._schedule(step)))

    @contextmanager
    def paused(self) -> Generator[None]:
        """Leave the time spent in this block out of the rate."""
        started = time.monotonic()
        yield
        self._reported_at += time.monotonic() - started

    @contextmanager
    def traced(self, step: int) -> Generator[None]:
        """Trace the dispatch of this block if it is one of those asked for, all of them in one trace."""
        first, last = self._profile.start, self._profile.stop - self._config.steps_per_dispatch
        if step not in self._profile:
            yield
            return
        if step - first < self._config.steps_per_dispatch:
            jax.block_until_ready(self._previous)
            jax.profiler.start_trace(self.workdir / "tensorboard")
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield
        if step >= last:
            jax.block_until_ready(self._previous)
            jax.profiler.stop_trace()
            log.info("step %d: wrote a trace to %s", step, self.workdir / "tensorboard" / "plugins" / "profile")


def _device_memory() -> dict[str, float]:
    """Return the memory in use on the first device and its peak, in GiB, if the backend tells."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    names = {"bytes_in_use": "device_memory_gib", "peak_bytes_in_use": "device_memory_peak_gib"}
    return {name: statistics[key] / 2**30 for key, name in names.items() if key in statistics}
