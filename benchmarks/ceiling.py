"""What symmetry and absences can tell, in classes and as an accuracy, and what nearest neighbours reach beside it.

python benchmarks/ceiling.py [PICTURE]

Writes benchmarks/results/ceiling.json, and the picture of docs/ceiling.md if a path is given.
"""

import json
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, replace
from itertools import product
from math import gcd
from pathlib import Path

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from record import RESULTS, write_result

from xrdjax.config import CR_K_ALPHA1, SEEN_AXES, UNSEEN_AXES, Axis, DataConfig, PatternConfig
from xrdjax.crystals.friedel import friedel_classes, reference_operations
from xrdjax.crystals.selection import open_selected, select_crystals
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import Operations, crystal_system_index
from xrdjax.diffraction.zone_symmetry import indexed_signs, zone_signs
from xrdjax.evaluation.ceiling import ceilings
from xrdjax.evaluation.neighbours import neighbour_ranks
from xrdjax.learning.measures import accuracy

DATA = DataConfig(max_atoms=128)
PATTERN = PatternConfig(wavelength=CR_K_ALPHA1)
SETS = {
    "1, model-1": SEEN_AXES[1:2],
    "4, model-2": ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)),
    "10, model-3": SEEN_AXES[:10],
    "20, model-4": SEEN_AXES,
    "4 unseen": UNSEEN_AXES,
}
SYSTEM = crystal_system_index(np.arange(1, 231)).tolist()
Tell = Callable[[Operations, Axis], Hashable]


def main() -> None:
    """Count, compare, write, draw."""
    figures = {
        "classes": _classes(),
        "accuracy": _accuracies(DATA, SETS),
        "accuracy, no structure type shared": _accuracies(
            replace(DATA, split="type"), {title: SETS[title] for title in ("4, model-2", "4 unseen")}
        ),
        "selection": asdict(DATA),
    }
    write_result("ceiling", figures)
    if len(sys.argv) > 1:
        draw(json.loads((RESULTS / "ceiling.json").read_text(encoding="utf-8")), Path(sys.argv[1]))


def _classes() -> dict[str, object]:
    size = np.bincount(friedel_classes())
    indices = range(-3, 4)
    every = [(u, v, w) for u, v, w in product(indices, indices, indices) if (u, v, w) > (0, 0, 0) and gcd(u, v, w) == 1]
    signs = {tell.__name__: _signs_of_groups(tell, every) for tell in (zone_signs, indexed_signs)}
    return {
        "all of reciprocal space": {"classes": len(size), "groups alone": int((size == 1).sum())},
        "one zone": {
            name: {"20, model-4": _one_zone(seen, SEEN_AXES), "all up to 3": _one_zone(seen, every)}
            for name, seen in signs.items()
        },
        "axes up to 3": len(every),
        "several zones": {
            name: {title: _together(seen, axes) for title, axes in SETS.items()} for name, seen in signs.items()
        },
        "by number of zones": {
            name: [_together(seen, SEEN_AXES[:number])["classes"] for number in range(1, 21)]
            for name, seen in signs.items()
        },
    }


def _signs_of_groups(tell: Tell, axes: Sequence[Axis]) -> dict[Axis, list[Hashable]]:
    groups = [reference_operations(number) for number in range(1, 231)]
    return {axis: [tell(operations, axis) for operations in groups] for axis in axes}


def _one_zone(seen: dict[Axis, list[Hashable]], axes: Sequence[Axis]) -> dict[str, float]:
    """Return mean and largest number of classes of one zone, the crystal system unknown and known."""
    plain = [len(set(seen[axis])) for axis in axes]
    known = [len(set(zip(SYSTEM, seen[axis], strict=True))) for axis in axes]
    return {
        "mean": round(float(np.mean(plain)), 2),
        "largest": max(plain),
        "mean, system known": round(float(np.mean(known)), 2),
        "largest, system known": max(known),
    }


def _together(seen: dict[Axis, list[Hashable]], axes: Sequence[Axis]) -> dict[str, int]:
    together = list(zip(*(seen[axis] for axis in axes), strict=True))
    return {"classes": len(set(together)), "system known": len(set(zip(SYSTEM, together, strict=True)))}


def _accuracies(data: DataConfig, sets: dict[str, tuple[Axis, ...]]) -> dict[str, object]:
    store = open_selected(data)
    train, test = (select_crystals(store, data, part) for part in ("train", "test"))
    return {
        "training crystals": len(train),
        "test crystals": len(test),
        "sets": {title: _accuracies_along(store, train, test, axes) for title, axes in sets.items()},
    }


def _accuracies_along(
    store: CrystalStore, train: Int[np.ndarray, "t"], test: Int[np.ndarray, "c"], axes: Sequence[Axis]
) -> dict[str, object]:
    crystal, uvw = np.repeat(test, len(axes)), np.tile(np.array(axes), (len(test), 1))
    started = time.monotonic()
    found = {name: asdict(ceiling) for name, ceiling in ceilings(store, crystal, uvw).items()}
    counted = time.monotonic()
    ranks = neighbour_ranks(store, train, crystal, uvw, PATTERN)
    groups, known = store.space_group[crystal].astype(int), store.space_group[train].astype(int)
    systems, known_systems = crystal_system_index(groups), crystal_system_index(known)
    return {
        "ceilings": found,
        "neighbours": {
            "space_group": asdict(accuracy(groups, ranks.space_group, int(np.bincount(known).argmax()))),
            "crystal_system": asdict(accuracy(systems, ranks.crystal_system, int(np.bincount(known_systems).argmax()))),
        },
        "seconds": {"ceilings": round(counted - started, 1), "neighbours": round(time.monotonic() - counted, 1)},
    }


def draw(result: dict, path: Path) -> None:
    """Draw the number of classes by the number of zones, and the accuracies along the axes of the models."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_classes(left, result["classes"])
    _draw_accuracies(right, result["accuracy"]["sets"])
    figure.savefig(path, dpi=130)


def _draw_classes(axes: Axes, classes: dict) -> None:
    number = np.arange(1, 21)
    counted = classes["by number of zones"]
    axes.plot(number, counted["indexed_signs"], "s--", color="#b35806", ms=4, label="hkl of every spot known")
    axes.plot(number, counted["zone_signs"], "o-", color="#1b6ca8", ms=4, label="pictures alone")
    everything = classes["all of reciprocal space"]["classes"]
    axes.axhline(everything, color="0.3", lw=1)
    axes.annotate(f"all of reciprocal space: {everything}", (20, everything - 2), ha="right", va="top", fontsize=8)
    axes.set(xlabel="zones, in the order of the paper's twenty", ylabel="classes of space groups told apart")
    axes.set(xticks=[1, 4, 10, 20], ylim=(0, 140))
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    axes.grid(color="0.9")


def _draw_accuracies(axes: Axes, sets: dict) -> None:
    place = np.arange(len(sets))
    for title, colour, marker, name in (
        ("all of reciprocal space", "0.3", "_", "all of reciprocal space"),
        ("all these zones", "#5e3c99", "^", "all zones"),
        ("one zone, hkl known", "#b35806", "s", "one zone, indexed"),
        ("one zone", "#e08214", "v", "one zone"),
    ):
        values = [100 * one["ceilings"][name]["space_group"]["top1"] for one in sets.values()]
        axes.plot(place, values, marker, color=colour, ms=26 if marker == "_" else 7, label=f"ceiling: {title}")
    reached = [100 * one["neighbours"]["space_group"]["top1"] for one in sets.values()]
    axes.plot(place, reached, "o", color="#1b6ca8", ms=7, label="nearest neighbour, one zone")
    axes.set_xticks(range(len(sets)), [title.replace(", ", "\n") for title in sets], fontsize=8)
    axes.set(xlabel="zone axes", ylabel="space group right at first guess, %", ylim=(0, 100))
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", markerscale=0.7)
    axes.grid(color="0.9")


if __name__ == "__main__":
    main()
