"""How fast batches are drawn, and what the choices of docs/design.md bring, side by side in one run.

python benchmarks/kernels.py
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from record import write_result

from xrdjax.config import AugmentConfig, PatternConfig
from xrdjax.config_sources import load_config_file
from xrdjax.crystals.store import CrystalStore
from xrdjax.diffraction import structure_factor
from xrdjax.learning.models import build_model
from xrdjax.patterns import generate, planning
from xrdjax.patterns.device_store import DeviceStore, to_device
from xrdjax.patterns.planning import Plan, make_plan

EVERYTHING = AugmentConfig(rotation_deg=180, strain=0.05, substitute_atoms=0.1, substitute_species=0.5, vacancies=0.1)
ROUNDS = 9
BATCH = 128


def main() -> None:
    """Measure and write benchmarks/results/kernels.json."""
    crystals = CrystalStore.open("open")
    store, numbers = to_device(crystals), np.arange(len(crystals))
    write_result("kernels", {
        "phases_ns_per_atom_and_spot": phases(),
        "batches_patterns_per_second": batches(store, numbers),
        "network_patterns_per_second": convolutions(),
    })  # fmt: skip


def phases() -> dict[str, float]:
    """Return the time of |F|² with fixed-point and with floating-point coordinates."""
    pictures, atoms, spots = 64, 64, 128
    random = np.random.default_rng(0)
    fract = random.integers(0, 2**32, (pictures, atoms, 3), dtype=np.uint32)
    ij = jnp.asarray(random.integers(-8, 9, (pictures, spots, 2)), jnp.int32)
    s2 = jnp.asarray(random.uniform(0, 0.42, (pictures, spots)), jnp.float32)
    plane = jnp.asarray(random.integers(-2, 3, (pictures, 2, 3)), jnp.int32)

    def timed(fract: jax.Array) -> Callable[[], jax.Array]:
        cells = structure_factor.Scatterers(
            fract=fract, coefficients=jnp.ones((pictures, atoms, 9)), occupancy=jnp.ones((pictures, atoms)), u_iso=None
        )
        function = jax.jit(jax.vmap(structure_factor.structure_factors))
        return lambda: function(cells, plane, ij, s2)

    seconds = side_by_side({
        "fixed point": timed(jnp.asarray(fract)),
        "floating point": timed(jnp.asarray(fract / 2.0**32, jnp.float32)),
    })  # fmt: skip
    return {name: round(1e9 * value / (pictures * atoms * spots), 2) for name, value in seconds.items()}


def batches(store: DeviceStore, numbers: np.ndarray) -> dict[str, float]:
    """Return rates at 128 × 128, all augmentations on, for numbers of buckets."""
    pattern, drawers = PatternConfig(max_index=3), {}
    for count in (1, 4, 8, 12):
        with mock.patch.object(planning, "NUM_BUCKETS", count):
            plan = make_plan(store, numbers, pattern, EVERYTHING, BATCH)
        drawers["one bucket" if count == 1 else f"{count} buckets"] = drawer(store, plan, pattern, EVERYTHING)
    return {name: round(BATCH / value, 1) for name, value in side_by_side(drawers).items()}


def convolutions() -> dict[str, float]:
    """Return how fast the demo's network gives gradients, in a loop of the device and outside it."""
    config = load_config_file(Path(__file__).parent.parent / "configs" / "demo.py")
    model = build_model(replace(config.model, normalize="none", dropout=0.0), config.pattern, jax.random.key(0))
    graph, params = nnx.split(model)
    images = jnp.ones((BATCH, config.pattern.height, config.pattern.width, 1))
    axes, steps = jnp.ones((BATCH, 3), jnp.int32), 2

    def step(params: nnx.State) -> nnx.State:
        def loss(params: nnx.State) -> jax.Array:
            return nnx.merge(graph, params, copy=True)(images, axes).space_group.var()

        return jax.tree.map(lambda old, slope: old - 1e-3 * slope, params, jax.grad(loss)(params))

    def unrolled(params: nnx.State) -> nnx.State:
        for _ in range(steps):
            params = step(params)
        return params

    def scanned(params: nnx.State) -> nnx.State:
        return jax.lax.scan(lambda params, _: (step(params), None), params, length=steps)[0]

    calls = {"outside a loop": jax.jit(unrolled), "inside a loop": jax.jit(scanned)}
    seconds = side_by_side({name: partial(function, params) for name, function in calls.items()}, rounds=3)
    return {name: round(steps * BATCH / value, 1) for name, value in seconds.items()}


def drawer(
    store: DeviceStore, plan: Plan, pattern: PatternConfig, augment: AugmentConfig
) -> Callable[[], generate.Batch]:
    """Return a function that draws one more batch, compiled, on all devices."""
    mesh = jax.make_mesh((jax.device_count(),), ("data",), (AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    draw = jax.jit(lambda key, store, plan: generate.draw_batch(key, store, plan, pattern, augment))
    store, plan, keys = jax.device_put((store, plan, jax.random.split(jax.random.key(1), 200)), everywhere)
    keys = list(keys)
    with jax.set_mesh(mesh):
        compiled = draw.lower(keys[0], store, plan).compile()
    rest = cycle(keys)
    return lambda: compiled(next(rest), store, plan)


def side_by_side(functions: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each function, all of them called in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - started)
    return {name: median(values[1:]) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
