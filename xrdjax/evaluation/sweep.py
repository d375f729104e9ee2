"""Several runs that differ in a few fields, one after another or one a machine, and what came of them side by side.

Each run has a directory of its own name. One that is done is left alone, one that was interrupted goes on, one that
fails is noted and does not stop the others; the table is written anew after each.
"""

import csv
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jax
from matplotlib.figure import Figure

from xrdjax.config import TrainConfig
from xrdjax.config_sources import differences
from xrdjax.errors import ConfigError, XrdjaxError
from xrdjax.evaluation.report import evaluate_run
from xrdjax.evaluation.results import HEADS
from xrdjax.learning.training import train
from xrdjax.learning.workdir import check_workdir

log = logging.getLogger(__name__)

BLUE, ORANGE = "#0072B2", "#D55E00"  # of Okabe and Ito: told apart by everybody
FAULT = "failed.txt"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a run, and one of the protocols that it was asked."""

    run: str
    changes: str
    """Fields in which it differs from the first run."""
    protocol: str
    crystal_system: float
    """Top-1 accuracy, as a fraction."""
    space_group: float
    patterns: int


def run_sweep(
    runs: dict[str, TrainConfig], folder: Path, index: int | None = None, max_crystals: int | None = None
) -> bool:
    """Train and evaluate all runs, or the one numbered `index` from 0, and return whether all that was asked is done.

    Writes sweep.md, sweep.csv and sweep.png into the folder. Raises ConfigError for an index that is none, and
    WorkdirError for a directory that belongs to another configuration, before anything is trained.
    """
    if index is not None and not 0 <= index < len(runs):
        raise ConfigError(f"--index {index}: there are {len(runs)} runs; expected 0 to {len(runs) - 1}")
    chosen = list(runs) if index is None else [list(runs)[index]]
    for name in chosen:
        check_workdir(runs[name], folder / name)
    for place, name in enumerate(chosen, start=1):
        if _is_done(folder / name):
            continue
        log.info("Run %d of %d: %s", place, len(chosen), name)
        if not _finish(runs[name], folder / name, max_crystals):
            return False
        jax.clear_caches()
        collect(runs, folder)
    return all(_is_done(folder / name) for name in chosen)


def collect(runs: dict[str, TrainConfig], folder: Path) -> str:
    """Write the table of all runs that are done as sweep.md, sweep.csv and sweep.png, and return its text."""
    rows = [row for name in runs if _is_done(folder / name) for row in _rows(runs, name, folder / name)]
    failed = {name: (folder / name / FAULT).read_text(encoding="utf-8") for name in runs if _has_failed(folder / name)}
    text = _as_markdown(rows, failed, [name for name in runs if not _is_done(folder / name) and name not in failed])
    (folder / "sweep.md").write_text(text, encoding="utf-8")
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(vars(row) for row in rows)
    if rows:
        _draw(rows).savefig(folder / "sweep.png", dpi=130, bbox_inches="tight")
    return text


def _finish(config: TrainConfig, workdir: Path, max_crystals: int | None) -> bool:
    """Train and evaluate one run, and return False if a signal stopped it. What fails is noted in its directory."""
    (workdir / FAULT).unlink(missing_ok=True)
    try:
        if train(config, workdir) is not None:
            return False
        evaluate_run(workdir, max_crystals=max_crystals)
    except XrdjaxError as error:
        log.error("%s: %s", workdir, error)
        (workdir / FAULT).write_text(f"{error}\n", encoding="utf-8")
    return True


def _is_done(workdir: Path) -> bool:
    return (workdir / "evaluation" / "report.json").exists()


def _has_failed(workdir: Path) -> bool:
    return (workdir / FAULT).exists()


def _rows(runs: dict[str, TrainConfig], name: str, workdir: Path) -> Iterable[Row]:
    report = json.loads((workdir / "evaluation" / "report.json").read_text(encoding="utf-8"))
    changes = ", ".join(differences(next(iter(runs.values())), runs[name])) or "as it is"
    for protocol, table in report["protocols"].items():
        accuracy = {head: table["heads"][head]["top1"] for head in HEADS}
        patterns = table["heads"]["space_group"]["patterns"]
        yield Row(run=name, changes=changes, protocol=protocol, patterns=patterns, **accuracy)


def _as_markdown(rows: list[Row], failed: dict[str, str], waiting: list[str]) -> str:
    lines = [
        "| run | differs by | protocol | crystal system | space group | patterns |",
        "|---|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row.run} | {row.changes} | {row.protocol} | {100 * row.crystal_system:.1f} % | "
        f"{100 * row.space_group:.1f} % | {row.patterns:,} |"
        for row in rows
    ]
    lines += [f"\n**{name}** failed: {reason.strip()}" for name, reason in failed.items()]
    if waiting:
        lines.append(f"\nNot done yet: {', '.join(waiting)}.")
    return "\n".join(lines) + "\n"


def _draw(rows: list[Row]) -> Figure:
    """Return bars of the top-1 accuracy of both heads, one panel a protocol."""
    protocols, names = ([*dict.fromkeys(getattr(row, field) for row in rows)] for field in ("protocol", "run"))
    figure = Figure(figsize=(3.6 * len(protocols) + 2, 0.55 * len(names) + 1.4), layout="constrained")
    panels = figure.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
    for axes, protocol in zip(panels, protocols, strict=True):
        own = [row for row in rows if row.protocol == protocol]
        place = [names.index(row.run) for row in own]
        for head, shift, colour in (("crystal_system", -0.2, BLUE), ("space_group", 0.2, ORANGE)):
            values = [100 * getattr(row, head) for row in own]
            bars = axes.barh([at + shift for at in place], values, 0.38, color=colour, label=HEADS[head])
            axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
        axes.set(title=protocol, xlabel="top-1 / %", xlim=(0, 108))
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
