"""What a running training tells: a line of log, scalars, rate and time left."""

import logging
import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

import jax
import numpy as np

from xrdjax.config import TrainConfig
from xrdjax.errors import XrdjaxError
from xrdjax.learning.losses import Sums
from xrdjax.learning.optimizer import learning_rate
from xrdjax.learning.writer import Writer

log = logging.getLogger(__name__)


class Progress:
    """Reports each interval: waits for the device, then writes what it measured."""

    def __init__(self, config: TrainConfig, first_step: int, writer: Writer) -> None:
        self._config, self._writer = config, writer
        self._schedule = learning_rate(config.optim, config.steps)
        self._reported_step, self._reported_at = first_step, time.monotonic()

    def compiled(self, sums: Sums) -> None:
        """Wait for the first dispatch, which compiles, and leave it out of the rate unless nothing else is left."""
        jax.block_until_ready(sums)
        now = time.monotonic()
        log.info("Compiled the training step in %.1f s", now - self._reported_at)
        if self._config.log_every > self._config.steps_per_dispatch:
            self._reported_step, self._reported_at = self._reported_step + self._config.steps_per_dispatch, now

    def report(self, step: int, sums: Sums) -> None:
        """Report the steps since the last report, of which these are the sums."""
        means = sums.means()
        if not math.isfinite(means["loss"]):
            raise XrdjaxError(
                f"step {step}: the loss is {means['loss']}; lower optim.lr, or set optim.clip_norm, and start in a new "
                "--workdir, or again here to go on from the newest checkpoint"
            )
        now = time.monotonic()
        rate = (step - self._reported_step) * self._config.batch_size / (now - self._reported_at)
        self._reported_step, self._reported_at = step, now
        lr = float(np.asarray(self._schedule(step)))
        self._writer.scalars(
            step, {**{f"train/{name}": value for name, value in means.items()}, "lr": lr, "patterns_per_second": rate}
        )
        left = timedelta(seconds=round((self._config.steps - step) * self._config.batch_size / rate))
        log.info(
            "step %d/%d  loss %.3f  space group %.1f %%  crystal system %.1f %%  lr %.1e  %.0f patterns/s  %s left",
            step, self._config.steps, means["loss"], 100 * means["accuracy/space_group"],
            100 * means["accuracy/crystal_system"], lr, rate, left,
        )  # fmt: skip

    @contextmanager
    def paused(self) -> Generator[None]:
        """Leave the time spent in this block out of the rate."""
        started = time.monotonic()
        yield
        self._reported_at += time.monotonic() - started
