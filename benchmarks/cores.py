"""Steps of the demo on one CPU device and on one device a core, in turn, so that what else runs disturbs both alike.

python benchmarks/cores.py
"""

import time
from pathlib import Path
from statistics import median

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from record import write_result

from xrdjax.config_sources import load_config_file
from xrdjax.crystals.selection import open_selected
from xrdjax.learning.run import prepare
from xrdjax.learning.state import TrainState
from xrdjax.learning.step import Tally

ROUNDS, STEPS = 9, 4


def main() -> None:
    """Time both, check that a repetition gives the same bits, and write benchmarks/results/cores.json."""
    ways = {str(number): Steps(number) for number in (1, jax.device_count())}
    times = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name].append(way.seconds() / STEPS)
    ratios = sorted(one / many for one, many in zip(*times.values(), strict=True))
    figures = {
        "ms_per_step": {name: round(1000 * median(values)) for name, values in times.items()},
        "times_as_fast": [round(ratio, 2) for ratio in ratios],
        "repeats_bit_for_bit": all(way.repeats() for way in ways.values()),
    }
    write_result("cores", figures)


class Steps:
    """The training step of the demo on some devices."""

    def __init__(self, number: int) -> None:
        devices = jax.devices()[:number]
        self.mesh = jax.make_mesh((number,), ("data",), (AxisType.Auto,), devices=devices)
        config = load_config_file(Path(__file__).parent.parent / "configs" / "demo.py")
        with jax.set_mesh(self.mesh):
            self.run = prepare(config, open_selected(config.data), NamedSharding(self.mesh, PartitionSpec()))
            self.start = jax.device_get(self.run.state)
            self.state, self.tally = self._steps(self.run.state, 1)

    def seconds(self) -> float:
        """Return the time of `STEPS` steps."""
        started = time.perf_counter()
        with jax.set_mesh(self.mesh):
            self.state, self.tally = self._steps(self.state, STEPS)
        return time.perf_counter() - started

    def repeats(self) -> bool:
        """Return whether the first steps come out the same twice."""
        with jax.set_mesh(self.mesh):
            sharding = self.tally.num_steps.sharding
            first, second = (
                jax.device_get(self._steps(jax.device_put(self.start, sharding), STEPS)[0].params) for _ in range(2)
            )
        return all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(second)))

    def _steps(self, state: TrainState, count: int) -> tuple[TrainState, Tally]:
        tally = self.run.no_steps
        for _ in range(count):
            state, tally = self.run.step(state, tally, self.run.store, self.run.plan, self.run.root)
        jax.block_until_ready(tally)
        return state, tally


if __name__ == "__main__":
    main()
