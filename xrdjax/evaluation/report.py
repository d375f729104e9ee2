"""From a run directory to a report: tables as Markdown and JSON, confusion matrices as PNG."""

import json
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from xrdjax.config import Axis, TrainConfig
from xrdjax.crystals.selection import open_selected, select_crystals
from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS, crystal_system_index
from xrdjax.errors import ConfigError
from xrdjax.evaluation.protocols import Predictions, predict_part, protocol_axes
from xrdjax.learning.figures import DPI, group_confusion, system_confusion
from xrdjax.learning.measures import Accuracy, accuracy, confusion_matrix
from xrdjax.learning.workdir import saved_config

HEADS = {"crystal_system": "crystal system", "space_group": "space group"}
TITLES = {"seen": "zone axes of the training", "unseen": "zone axes never trained on"}


def evaluate_run(workdir: Path, protocols: tuple[str, ...] = (), max_crystals: int | None = None, seed: int = 0) -> str:
    """Evaluate a run on its test crystals, write `evaluation/` in its workdir, and return the report's text.

    `protocols` are names of `protocol_axes`, all by default. Raises WorkdirError, ConfigError, StoreError.
    """
    started = time.monotonic()
    config = saved_config(workdir)
    axes = _chosen_axes(config, protocols)
    every_axis = tuple(dict.fromkeys(axis for group in axes.values() for axis in group))
    predictions = predict_part(
        workdir, every_axis, "test", config.test_crystals if max_crystals is None else max_crystals, seed
    )
    commonest = _commonest_classes(config)
    folder = workdir / "evaluation"
    folder.mkdir(exist_ok=True)
    for name, group in axes.items():
        _draw_confusions(predictions.along(group), name, folder)
    report = {
        "config": asdict(config),
        "part": "test",
        "split": config.data.split,
        "crystals": len(np.unique(predictions.crystal)),
        "patterns": len(predictions.crystal),
        "seed": seed,
        "protocols": {name: _table(predictions.along(group), group, commonest) for name, group in axes.items()},
        "seconds": round(time.monotonic() - started, 1),
        "versions": {package: version(package) for package in ("xrdjax", "jax", "flax", "numpy")},
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    text = _as_markdown(report, workdir)
    (folder / "report.md").write_text(text, encoding="utf-8")
    return text


def _chosen_axes(config: TrainConfig, protocols: tuple[str, ...]) -> dict[str, tuple[Axis, ...]]:
    known = protocol_axes(config)
    for name in protocols:
        if name not in known:
            raise ConfigError(f"protocol '{name}': expected one of {', '.join(known)}")
    chosen = {name: group for name, group in known.items() if group and (not protocols or name in protocols)}
    if not chosen:
        raise ConfigError(
            f"protocol '{protocols[0]}': this run was trained on all of its axes; choose another protocol"
        )
    return chosen


def _commonest_classes(config: TrainConfig) -> dict[str, int]:
    store = open_selected(config.data)
    space_group = store.space_group[select_crystals(store, config.data, "train")].astype(int)
    return {
        "space_group": int(np.bincount(space_group).argmax()),
        "crystal_system": int(np.bincount(crystal_system_index(space_group)).argmax()),
    }


def _table(predictions: Predictions, axes: tuple[Axis, ...], commonest: dict[str, int]) -> dict[str, object]:
    return {
        "axes": axes,
        "heads": {head: asdict(_head_accuracy(predictions, head, commonest)) for head in HEADS},
        "per_axis": {_label(axis): _top1(predictions.along((axis,))) for axis in axes},
    }


def _head_accuracy(predictions: Predictions, head: str, commonest: dict[str, int]) -> Accuracy:
    return accuracy(getattr(predictions, head), getattr(predictions, f"{head}_ranks"), commonest[head])


def _top1(predictions: Predictions) -> dict[str, float]:
    return {
        head: float((getattr(predictions, head) == getattr(predictions, f"{head}_ranks")[:, 0]).mean())
        for head in HEADS
    }


def _draw_confusions(predictions: Predictions, name: str, folder: Path) -> None:
    title = f"{TITLES[name].capitalize()}, {len(predictions.crystal):,} patterns of held-out crystals"
    systems = confusion_matrix(predictions.crystal_system, predictions.crystal_system_ranks[:, 0], 7)
    groups = confusion_matrix(predictions.space_group - 1, predictions.space_group_ranks[:, 0] - 1, 230)
    for head, figure in (
        ("crystal_system", system_confusion(systems, title)),
        ("space_group", group_confusion(groups, title)),
    ):
        figure.savefig(folder / f"confusion_{head}_{name}.png", dpi=DPI, bbox_inches="tight")


def _label(axis: Axis) -> str:
    return "[" + " ".join(map(str, axis)) + "]"


def _as_markdown(report: dict, workdir: Path) -> str:
    lines = [
        f"# Evaluation of {workdir}",
        "",
        f"{report['patterns']:,} patterns of {report['crystals']:,} crystals that were not trained on "
        f"({report['split']} split), in {report['seconds']:.0f} s. All figures in %.",
        "",
        "| axes | head | top-1 | top-3 | weighted | always the commonest |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, table in report["protocols"].items():
        for head, title in HEADS.items():
            figures = table["heads"][head]
            cells = (f"{100 * figures[key]:.1f}" for key in ("top1", "top3", "weighted", "commonest"))
            lines.append(f"| {name} | {title} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Weighted: mean over the classes. Top-1 along each axis:",
        "",
        "| axis | crystal system | space group |",
    ]
    lines.append("|---|---:|---:|")
    for name, table in report["protocols"].items():
        for axis, top1 in table["per_axis"].items():
            shown = " | ".join(f"{100 * top1[head]:.1f}" for head in HEADS)
            lines.append(f"| {axis}{'' if name == 'seen' else ' (unseen)'} | {shown} |")
    lines += ["", "Confusion matrices, " + ", ".join(CRYSTAL_SYSTEMS) + ":", ""]
    for name in report["protocols"]:
        lines += [f"![{head}, {name}](confusion_{head}_{name}.png)" for head in HEADS]
    return "\n".join(lines) + "\n"
