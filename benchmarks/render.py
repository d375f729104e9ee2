"""How fast patterns are drawn: by picture size, by what is drawn, and how the cost grows; and what it takes of memory.

python benchmarks/render.py

All rates are of the embedded set in its natural mix, random zone axes with indices up to 3, turned by any angle, with
species exchanged in half of the crystals and a tenth of the atoms replaced.
"""

import resource
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import numpy as np
from kernels import drawer, side_by_side
from record import write_result

from xrdjax.config import AugmentConfig, PatternConfig
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import Operations
from xrdjax.diffraction.layer import layer_rows
from xrdjax.diffraction.spots import zone_spots
from xrdjax.patterns import generate
from xrdjax.patterns.device_store import DeviceStore, to_device
from xrdjax.patterns.pictures import render_zone
from xrdjax.patterns.planning import Plan, make_plan
from xrdjax.patterns.recipe import sample_recipe
from xrdjax.patterns.render import num_nodes

EVERYTHING = AugmentConfig(rotation_deg=180, substitute_atoms=0.1, substitute_species=0.5)
PATTERN = PatternConfig(max_index=3)
SIZES = ((64, 64), (128, 128), (224, 224), (321, 322))
KINDS = {
    "discs": {},
    "Gaussians": {"spot_shape": "gaussian"},
    "anomalous scattering": {"anomalous": True},
    "first upper layer": {"layer": 1},
    "precession camera, 30°": {"precession_deg": 30.0},
    "measured by the whole sphere": {"normalize": "sphere"},
}
ON_CPU = jax.default_backend() == "cpu"
BATCH = 128 if ON_CPU else 1024
OF_BATCH = (16, 128, 1024) if ON_CPU else (128, 1024, 8192)


def main() -> None:
    """Measure and write benchmarks/results/render.json."""
    crystals = CrystalStore.open("open")
    store, numbers = to_device(crystals), np.arange(len(crystals))
    write_result("render", {
        "batch": BATCH,
        "patterns_per_second": by_size(store, numbers),
        "needs": needs_by_size(store, numbers),
        "kinds_patterns_per_second": by_kind(store, numbers),
        "batches_patterns_per_second": by_batch(store, numbers),
        "atoms_ms": by_atoms(),
        "edge_ms": by_edge(),
        "memory": memory(store, numbers),
    })  # fmt: skip


def by_size(store: DeviceStore, numbers: np.ndarray) -> dict[str, float]:
    """Return rates by picture size."""
    return rates(store, numbers, {
        f"{height} × {width}": replace(PATTERN, height=height, width=width) for height, width in SIZES
    })  # fmt: skip


def by_kind(store: DeviceStore, numbers: np.ndarray) -> dict[str, float]:
    """Return rates by what is drawn, at 128 × 128."""
    return rates(store, numbers, {name: replace(PATTERN, **options) for name, options in KINDS.items()})


def by_batch(store: DeviceStore, numbers: np.ndarray) -> dict[str, float]:
    """Return rates by batch size, at 128 × 128."""
    drawers, sizes = {}, {}
    for size in OF_BATCH:
        plan = make_plan(store, numbers, PATTERN, EVERYTHING, size)
        drawers[str(size)], sizes[str(size)] = drawer(store, plan, PATTERN, EVERYTHING), size
    return {name: round(sizes[name] / value, 1) for name, value in side_by_side(drawers, rounds=5).items()}


def rates(store: DeviceStore, numbers: np.ndarray, patterns: dict[str, PatternConfig]) -> dict[str, float]:
    """Return patterns per second of each kind, all drawn in turn."""
    drawers = {}
    for name, pattern in patterns.items():
        plan = make_plan(store, numbers, pattern, EVERYTHING, BATCH)
        drawers[name] = drawer(store, plan, pattern, EVERYTHING)
    return {name: round(BATCH / value, 1) for name, value in side_by_side(drawers).items()}


def compiled(store: DeviceStore, plan: Plan, pattern: PatternConfig) -> jax.stages.Compiled:
    """Return the program that draws one batch."""
    draw = jax.jit(lambda key, store, plan: generate.draw_batch(key, store, plan, pattern, EVERYTHING))
    return draw.lower(jax.random.key(0), store, plan).compile()


def needs_by_size(store: DeviceStore, numbers: np.ndarray) -> dict[str, dict[str, int]]:
    """Return what a batch must do at least, by what its crystals need, for the share of arithmetic and of writing.

    Atom-reflections and pixel-nodes are those of the batch's own crystals, nothing padded; bytes are those of the
    pictures, written once.
    """
    sizes = ((128, 128), (321, 322))
    patterns = {f"{height} × {width}": replace(PATTERN, height=height, width=width) for height, width in sizes}
    return {name: needs(store, numbers, pattern) for name, pattern in patterns.items()}


def needs(store: DeviceStore, numbers: np.ndarray, pattern: PatternConfig) -> dict[str, int]:
    """Return the means over the pictures of one batch."""
    plan = make_plan(store, numbers, pattern, EVERYTHING, BATCH)
    recipe = jax.jit(sample_recipe, static_argnames="augment")(jax.random.key(1), plan, EVERYTHING)
    planes = jax.jit(jax.vmap(lambda one: generate.recipe_plane(one, store, pattern)[0]))(recipe)
    rows = max(bucket.rows for bucket in plan.buckets)
    reflections = jax.vmap(lambda plane: layer_rows(plane, rows, pattern).count)(planes)
    nodes = jax.vmap(lambda plane: num_nodes(plane.drawn_xy, pattern).prod())(planes)
    pixels = pattern.height * pattern.width
    return {
        "atom_reflections": round(float(np.mean(store.num_atoms[recipe.crystal] * reflections))),
        "pixel_nodes": round(float(np.mean(nodes)) * pixels / 2),  # of the gathered form, half a picture
        "bytes_written": 4 * pixels,
    }


def by_atoms() -> dict[str, float]:
    """Return milliseconds of one spot list by the number of atoms, in a cell of 20 Å edges."""
    cells = {str(number): made_up(number, 20.0) for number in (64, 256, 1024, 4096)}
    return {name: timed(partial(zone_spots, cell, (1, 1, 1), precision="float32")) for name, cell in cells.items()}


def by_edge() -> dict[str, float]:
    """Return milliseconds of one picture of 128 × 128 by the cell's edge in Å, with 64 atoms."""
    cells = {f"{edge:g}": made_up(64, edge) for edge in (5.0, 10.0, 20.0, 40.0, 80.0)}
    return {name: timed(partial(render_zone, cell, (0, 0, 1))) for name, cell in cells.items()}


def memory(store: DeviceStore, numbers: np.ndarray) -> dict[str, float]:
    """Return what a large batch and a large cell take."""
    pattern = replace(PATTERN, height=321, width=322)
    plan = make_plan(store, numbers, pattern, EVERYTHING, 1024)
    usage = compiled(store, plan, pattern).memory_analysis()
    assert usage is not None
    parts = (usage.argument_size_in_bytes, usage.output_size_in_bytes, usage.temp_size_in_bytes)
    before = peak()
    started = time.perf_counter()
    render_zone(made_up(5000, 100.0), (0, 0, 1), replace(pattern, normalize="zone"))
    return {
        "batch_of_1024_at_321_gib": round(sum(parts) / 2**30, 3),
        "of_that_temporary_gib": round(usage.temp_size_in_bytes / 2**30, 3),
        "cell_of_5000_atoms_and_100_angstrom_s": round(time.perf_counter() - started, 1),
        "and_its_growth_of_the_process_gib": round((peak() - before) / 2**20, 3),
    }


def peak() -> int:
    """Return the largest resident size of this process so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def made_up(num_atoms: int, edge: float) -> Crystal:
    """Return a cubic cell of random atoms without symmetry."""
    random = np.random.default_rng(num_atoms)
    ones = np.ones(num_atoms)
    return Crystal(
        name=f"{num_atoms} atoms, {edge:g} Å",
        cell=np.array([edge, edge, edge, 90, 90, 90]),
        fract=random.random((num_atoms, 3)),
        species=tuple(random.choice(["O", "Si", "Fe"], num_atoms).tolist()),
        occupancy=ones,
        u_iso=0 * ones,
        space_group=1,
        site=np.arange(num_atoms),
        operation=np.zeros(num_atoms, int),
        operations=Operations(rotation=np.eye(3, dtype=np.int8)[None], translation=np.zeros((1, 3), np.uint8)),
    )


def timed(function: Callable[[], object], rounds: int = 5) -> float:
    """Return the median of some calls in milliseconds, after one that compiles."""
    return round(1e3 * side_by_side({"": function}, rounds)[""], 2)


if __name__ == "__main__":
    main()
