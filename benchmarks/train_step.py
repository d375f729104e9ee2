"""What fresh rendering costs a training step: the step as it is, on a batch that is already drawn, and fed from PNGs.

    python benchmarks/train_step.py [CONFIG…] [--seconds 20] [--batch_size 32]

All three take turns in one run: the step that draws its batch; the same network, loss and optimiser on one batch that
stays on the device; and the same again, fed with stored PNGs of 322 × 322 pixels that as many threads as cores read,
turn and resize while the device computes. Floating-point operations of a step are XLA's count of the traced program,
and its share of the rate of the device is that over the best rate of a large matrix product in the same precision.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from PIL import Image
from record import write_result

from xrdjax.config import TrainConfig
from xrdjax.config_sources import load_config_file, override
from xrdjax.crystals.selection import open_selected
from xrdjax.learning.optimizer import build_optimizer
from xrdjax.learning.run import Run, prepare
from xrdjax.learning.state import initial_state
from xrdjax.learning.step import Tally, make_learn
from xrdjax.patterns.generate import Batch, draw_batch

ROOT = Path(__file__).parent.parent
STORED_SIDE, NUM_STORED = 322, 512
ROUNDS = 5
CORES = os.cpu_count() or 1


def main() -> None:
    """Measure every configuration and write benchmarks/results/train_step.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    on_cpu = jax.default_backend() == "cpu"
    names = ("demo", "residual_small", "paper") if on_cpu else ("demo", "open", "residual", "paper")
    parser.add_argument("configs", nargs="*", default=[f"configs/{name}.py" for name in names])
    parser.add_argument("--seconds", type=float, default=20, help="for each way and configuration")
    parser.add_argument(
        "--batch_size", type=int, default=0, help="instead of the configuration's; the paper's on a CPU is 32"
    )
    arguments = parser.parse_args()
    results = {}
    for path in arguments.configs:
        config = load_config_file(ROOT / path)
        size = arguments.batch_size or (32 if on_cpu and "paper" in path else config.batch_size)
        config = replace(config, batch_size=size, steps_per_dispatch=1)
        if on_cpu:
            config = override(config, {"model.compute_dtype": "float32"})
        results[Path(path).stem] = measure(config, arguments.seconds)
        print(path, results[Path(path).stem], flush=True)
    write_result("train_step", {"configs": results})


def measure(config: TrainConfig, seconds: float) -> dict[str, object]:
    """Return patterns/s of the three ways, and what the step is made of."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), (AxisType.Auto,))
    with jax.set_mesh(mesh), tempfile.TemporaryDirectory() as folder:
        run = prepare(config, open_selected(config.data), NamedSharding(mesh, PartitionSpec()))
        batch = first_batch(run)
        optimizer = build_optimizer(config)
        learn = jax.jit(make_learn(initial_state(config, optimizer)[0], optimizer, config), donate_argnums=0)
        files = write_pngs(run, Path(folder))
        ways = {
            "fresh": lambda state, tally: run.step(state, tally, run.store, run.plan, run.root),
            "resident": lambda state, tally: learn(state, tally, batch, run.root),
            "png": fed_by(png_batches(files, batch, config), lambda *arguments: learn(*arguments, run.root)),
        }
        rates = take_turns(ways, run, seconds)
        counted = learn.lower(run.state, run.no_steps, batch, run.root).cost_analysis()
    assert counted is not None, "XLA counts no operations for this backend"
    flops = counted["flops"]
    matrix = matrix_rate(jnp.dtype(config.model.compute_dtype))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "batch_size": config.batch_size,
        "picture": [config.pattern.height, config.pattern.width],
        "precision": config.model.compute_dtype,
        "patterns_per_second": {name: round(value, 1) for name, value in medians.items()},
        "rendering_share": round(statistics.median(
            1 - fresh / resident for fresh, resident in zip(rates["fresh"], rates["resident"], strict=True)
        ), 4),
        "gflop_per_pattern": round(flops / config.batch_size / 1e9, 3),
        "matrix_tflops": round(matrix / 1e12, 3),
        "utilisation_resident": round(flops / config.batch_size * medians["resident"] / matrix, 3),
        "utilisation_fresh": round(flops / config.batch_size * medians["fresh"] / matrix, 3),
    }  # fmt: skip


def first_batch(run: Run) -> Batch:
    draw = jax.jit(draw_batch, static_argnames=("pattern", "augment"))
    return draw(run.root, run.store, run.plan, run.config.pattern, run.config.augment)


def take_turns(ways: dict[str, Callable], run: Run, seconds: float) -> dict[str, list[float]]:
    """Return the patterns/s of each way in each round."""
    state, rates = run.state, {name: [] for name in ways}
    for step in ways.values():  # compile
        state, _ = jax.block_until_ready(step(copied(state), run.no_steps))
    for _, (name, step) in itertools.product(range(ROUNDS), ways.items()):
        tally, steps, started = run.no_steps, 0, time.perf_counter()
        while steps < 2 or time.perf_counter() - started < seconds / ROUNDS:
            state, tally = step(state, tally)
            steps += 1
            if steps % 2 == 0:
                jax.block_until_ready(tally)
        jax.block_until_ready(tally)
        rates[name].append(steps * run.config.batch_size / (time.perf_counter() - started))
    return rates


def copied(state: object) -> object:
    return jax.tree.map(jnp.copy, state)


def write_pngs(run: Run, folder: Path) -> list[Path]:
    """Write pictures of the training batches as the seed paper stores them: spots dark, 8 bit."""
    pattern = replace(run.config.pattern, height=STORED_SIDE, width=STORED_SIDE)
    draw = jax.jit(draw_batch, static_argnames=("pattern", "augment"))
    paths = []
    while len(paths) < NUM_STORED:
        key = jax.random.fold_in(run.root, len(paths))
        for picture in np.asarray(draw(key, run.store, run.plan, pattern, run.config.augment).image[..., 0]):
            paths.append(folder / f"{len(paths)}.png")
            Image.fromarray(np.round(255 * (1 - picture)).astype(np.uint8)).save(paths[-1])
    return paths


def png_batches(paths: list[Path], like: Batch, config: TrainConfig) -> Iterator[Batch]:
    """Yield batches of files in random order, read by all cores one batch ahead, labels those of `like`."""
    generator = np.random.default_rng(0)
    size = config.pattern.width, config.pattern.height

    def read(path: Path) -> np.ndarray:
        with Image.open(path) as picture:
            turned = picture.convert("L").resize(size).rotate(generator.uniform(-90, 90), fillcolor=255)
        return 1 - np.asarray(turned, np.float32)[..., None] / 255

    def start(pool: ThreadPoolExecutor) -> list:
        return [pool.submit(read, paths[number]) for number in generator.integers(len(paths), size=config.batch_size)]

    with ThreadPoolExecutor(CORES) as pool:
        pending = start(pool)
        while True:
            pictures = np.stack([future.result() for future in pending])
            pending = start(pool)
            yield replace(like, image=jax.device_put(pictures, like.image.sharding))


def fed_by(batches: Iterator[Batch], learn: Callable) -> Callable[[object, Tally], tuple]:
    return lambda state, tally: learn(state, tally, next(batches))


def matrix_rate(dtype: jnp.dtype) -> float:
    """Return the best rate of a large matrix product on all devices, in floating-point operations a second."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    mesh = jax.make_mesh((jax.device_count(),), ("rows",), (AxisType.Auto,))
    left = jax.device_put(jnp.ones((side, side), dtype), NamedSharding(mesh, PartitionSpec("rows")))
    right = jax.device_put(jnp.ones((side, side), dtype), NamedSharding(mesh, PartitionSpec()))
    product = jax.jit(jnp.matmul)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        product(left, right).block_until_ready()
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


if __name__ == "__main__":
    main()
