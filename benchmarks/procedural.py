"""What made-up crystals are like: are their groups right, what do they cost, how do they compare with real ones.

python benchmarks/procedural.py

Groups are asked of spglib. Costs are those of a batch of 128 pictures of 128 × 128, with the random axes and the
augmentations of benchmarks/render.py. Distributions are of up to 2,000 crystals each, real ones from the training part.
"""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import spglib
from record import write_result

from xrdjax.config import AugmentConfig, DataConfig, PatternConfig, ProceduralConfig, SelectionConfig, TrainConfig
from xrdjax.crystals.elements import covalent_radii, neutral_numbers
from xrdjax.crystals.procedural import CONTACT
from xrdjax.crystals.repertoire import Repertoire, make_many, make_repertoire
from xrdjax.crystals.selection import select
from xrdjax.crystals.store import CrystalStore
from xrdjax.diffraction.lattice import direct_basis
from xrdjax.patterns.device_store import DeviceStore, make_samples, to_device
from xrdjax.patterns.generate import STREAM_MADE_UP, draw_batch
from xrdjax.patterns.mixture import training_source
from xrdjax.patterns.planning import Plan
from xrdjax.patterns.recipe import Recipe, sample_recipe

FIGURE = Path(__file__).parent.parent / "docs" / "images" / "procedural.png"
NUMBER, SYMPREC = 20_000, 1e-3
PATTERN = PatternConfig(max_index=3)
AUGMENT = AugmentConfig(rotation_deg=180, substitute_atoms=0.1, substitute_species=0.5)
MIXTURES = {"stored": 0.0, "half of each": 0.5, "made up": 1.0}
SHOWN, MOST_ATOMS = 2000, 128  # crystals in the figure, and the largest whose contacts are measured
ROUNDS = 20


def main() -> None:
    """Measure, draw the figure, and write benchmarks/results/procedural.json."""
    store = CrystalStore.open("open")
    training = select(store, SelectionConfig()).crystals("train")
    uniform = make_repertoire(store, training, ProceduralConfig())
    imitated = make_repertoire(store, training, ProceduralConfig(groups="training", statistics="training"))
    kinds = {
        "real": stored_cells(store, training),
        "made up, uniform": made_up_cells(uniform, SHOWN, seed=1)[0],
        "made up, as in training": made_up_cells(imitated, SHOWN, seed=2)[0],
    }
    figures = {name: distributions(cells) for name, cells in kinds.items()}
    draw_figure(figures)
    write_result("procedural", {
        "labels": {"uniform": labels(uniform, NUMBER, 3), "as in training": labels(imitated, NUMBER, 4)},
        "templates": {"uniform": len(uniform.factory.space_group), "as in training": len(imitated.factory.space_group)},
        "cost": cost(store, training),
        "distributions": {name: {key: percentiles(of) for key, of in some.items()} for name, some in figures.items()},
    })  # fmt: skip


Cell = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Edges in Å as rows, fractional coordinates, species."""


def made_up_cells(repertoire: Repertoire, number: int, seed: int) -> tuple[list[Cell], np.ndarray]:
    """Return crystals drawn from a repertoire, no entry again before all have come, and their labels."""
    entries = np.resize(np.random.default_rng(seed).permutation(repertoire.entries), number)
    size = np.asarray(repertoire.factory.num_atoms)[entries]
    cells: list[Cell | None] = [None] * number
    for block in np.unique(-(-size // 32)):
        some = np.flatnonzero(-(-size // 32) == block)
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(some)
        made = make_many(keys, repertoire.factory, entries[some])
        arrays = np.asarray(made.direct, float), np.asarray(made.fract), np.asarray(made.species)
        for i, rows, fract, species in zip(some, *arrays, strict=True):
            cells[i] = rows, fract[: size[i]] / 2.0**32, species[: size[i]]
    return [cell for cell in cells if cell is not None], np.asarray(repertoire.factory.space_group)[entries]


def stored_cells(store: CrystalStore, training: np.ndarray) -> list[Cell]:
    """Return random real crystals whose places are whole."""
    atoms, rows = store.expand(), direct_basis(store.cell)
    cells = []
    for i in np.random.default_rng(0).permutation(training)[: SHOWN + SHOWN // 4]:
        inside = slice(*atoms.offset[i : i + 2].tolist())
        if atoms.occupancy[inside].min() == 1:
            cells.append((rows[i], atoms.fract[inside] / 2.0**32, neutral_numbers()[atoms.species[inside]]))
    return cells[:SHOWN]


def labels(repertoire: Repertoire, number: int, seed: int) -> dict[str, object]:
    """Return how many crystals have, by spglib, the group that they were made for, and all others."""
    cells, group = made_up_cells(repertoire, number, seed)
    with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as pool:
        found = np.array(list(pool.map(found_group, cells, chunksize=64)))
    wrong = [{"made_for": int(group[i]), "found": int(found[i])} for i in np.flatnonzero(found != group)]
    return {
        "crystals": number,
        "groups": len(np.unique(group)),
        "right": float(np.mean(found == group)),
        "others": wrong,
    }


def found_group(cell: Cell) -> int:
    """Return the space group that spglib finds, 0 for none."""
    rows, fract, species = cell
    data = spglib.get_symmetry_dataset((rows.tolist(), fract.tolist(), species.tolist()), symprec=SYMPREC)
    return 0 if data is None else data.number


def cost(store: CrystalStore, training: np.ndarray) -> dict[str, object]:
    """Return patterns per second of each mixture, all in turn, and the share of making crystals in it."""
    resident = to_device(store)
    mesh = jax.make_mesh((jax.device_count(),), ("data",), (jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        calls: dict[str, Callable[[int], object]] = {}
        for name, mixture in MIXTURES.items():
            config = TrainConfig(pattern=PATTERN, augment=AUGMENT, data=DataConfig(mixture=mixture))
            source = training_source(store, resident, training, config)
            calls[name] = caller(lambda key, store, plan: draw_batch(key, store, plan, PATTERN, AUGMENT).image, source)
            if mixture == 1.0:
                calls["making alone"] = caller(make_batch_of_crystals, source)
        seconds = in_turn(calls)
    batch = TrainConfig().batch_size
    return {
        "patterns_per_second": {name: round(batch / seconds[name], 1) for name in MIXTURES},
        "making_us_per_crystal": round(1e6 * seconds["making alone"] / batch, 1),
        "drawing_us_per_pattern": {name: round(1e6 * seconds[name] / batch, 1) for name in MIXTURES},
        "share_of_making": round(seconds["making alone"] / seconds["made up"], 4),
    }


def make_batch_of_crystals(key: jax.Array, store: DeviceStore, plan: Plan) -> list[jax.Array]:
    """Make the crystals of a batch and draw nothing, each device its part."""
    recipe = sample_recipe(key, plan, AUGMENT)
    stops = np.cumsum([0] + [bucket.slots for bucket in plan.buckets])

    def of_bucket(part: Recipe, store: DeviceStore, atoms: int) -> jax.Array:
        assert store.factory is not None
        key = jax.vmap(lambda key: jax.random.fold_in(key, STREAM_MADE_UP))(part.key)
        sample = make_samples(key, store.factory, part.crystal, atoms)
        sums = sample.cell.fract.sum((1, 2), dtype=jnp.uint32) + sample.cell.species.sum(1).astype(jnp.uint32)
        return sums + sample.direct.sum((1, 2))

    sums = []
    for bucket, start, stop in zip(plan.buckets, stops[:-1], stops[1:], strict=True):
        part = jax.tree.map(lambda leaf, start=start, stop=stop: leaf[start:stop], recipe)
        spec = jax.sharding.PartitionSpec
        make = jax.shard_map(
            lambda part, store, atoms=bucket.atoms: of_bucket(part, store, atoms),
            in_specs=(spec("data"), spec()), out_specs=spec("data"), check_vma=False,
        )  # fmt: skip
        sums.append(make(part, store))
    return sums


def caller(function: Callable[..., object], source: tuple[DeviceStore, Plan]) -> Callable[[int], object]:
    """Return what runs a compiled function of a key, store and plan once."""
    compiled = jax.jit(function)
    return lambda seed: jax.block_until_ready(compiled(jax.random.key(seed), *source))


def in_turn(calls: dict[str, Callable[[int], object]]) -> dict[str, float]:
    """Return the median seconds of each call, all called in turn, after one that compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for seed in range(ROUNDS + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call(seed)
            seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(values[1:])) for name, values in seconds.items()}


def distributions(cells: list[Cell]) -> dict[str, np.ndarray]:
    """Return contacts by the sum of radii, shortest distances in Å, Å³ an atom, and atoms in the cell."""
    measured = [contacts(*cell) for cell in cells if len(cell[1]) <= MOST_ATOMS]
    return {
        "contact": np.array([relative for relative, _ in measured]),
        "distance": np.array([distance for _, distance in measured]),
        "volume": np.array([np.linalg.det(rows) / len(fract) for rows, fract, _ in cells]),
        "atoms": np.array([len(fract) for _, fract, _ in cells], float),
    }


def contacts(rows: np.ndarray, fract: np.ndarray, species: np.ndarray) -> tuple[float, float]:
    """Return the shortest distance over the sum of covalent radii, and the shortest distance, over 27 images."""
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    apart = fract[:, None] - fract
    apart = (apart - np.round(apart))[:, :, None] + steps
    distance = np.sqrt(((apart @ rows) ** 2).sum(-1))
    distance[distance < 1e-3] = np.inf
    radius = covalent_radii()[species]
    nearest = distance.min(-1)
    return float((nearest / (radius[:, None] + radius)).min()), float(nearest.min())


def percentiles(values: np.ndarray) -> dict[str, float]:
    """Return what the distribution is in numbers."""
    return {str(p): round(float(np.percentile(values, p)), 3) for p in (1, 5, 25, 50, 75, 95, 99)}


def draw_figure(figures: dict[str, dict[str, np.ndarray]]) -> None:
    """Draw the distributions beside each other."""
    panels = (
        ("contact", "shortest contact / sum of covalent radii", np.linspace(0.5, 1.5, 51)),
        ("volume", "volume an atom (Å³)", np.linspace(0, 60, 61)),
        ("atoms", "atoms in the cell", np.geomspace(1, 600, 41)),
    )
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    for axis, (key, title, bins) in zip(axes, panels, strict=True):
        for (name, values), style in zip(figures.items(), ("-", "-", "--"), strict=True):
            inside = np.clip(values[key], bins[0], bins[-1])
            share = np.histogram(inside, bins)[0] / len(inside)
            axis.stairs(100 * share, bins, label=name, linestyle=style, linewidth=1.6)
        axis.set(xlabel=title, ylabel="% of crystals" if key == "contact" else "")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].axvline(CONTACT, color="0.6", linewidth=1)
    axes[2].set_xscale("log")
    axes[1].legend(frameon=False)
    figure.savefig(FIGURE, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
