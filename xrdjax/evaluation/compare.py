"""Runs side by side, from the reports that their evaluations left."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from xrdjax.errors import ConfigError, WorkdirError
from xrdjax.evaluation.figures import COLOURS, MARKERS, STYLE, canvas, saved_figure
from xrdjax.evaluation.page import page
from xrdjax.evaluation.results import HEADS
from xrdjax.evaluation.tables import Table, markdown_lines, percent


def compare_runs(workdirs: Sequence[Path], out: Path) -> str:
    """Write compared.html, .md and .json into a directory and return the text.

    Raises ConfigError for fewer than two runs, WorkdirError for one without a report.
    """
    if len(workdirs) < 2:
        raise ConfigError(f"--compare: {len(workdirs)} run; give at least two, such as runs/a runs/b")
    reports = {_name(workdir, workdirs): _report(workdir) for workdir in workdirs}
    tables = [_settings(reports), *(_accuracies(reports, head) for head in HEADS), _structure_types(reports)]
    out.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):  # ty: ignore[invalid-argument-type]
        figures = [saved_figure(head, f"Top-1, {name}", _figure(reports, head), out) for head, name in HEADS.items()]
    title, heading = "Runs compared", "Intervals: the middle 95 % of 500 samples of the crystals."
    lines = [f"# {title}", "", heading, "All figures in %.", ""]
    for table in tables:
        lines += [f"## {table.title}", "", *([table.note, ""] if table.note else []), *markdown_lines(table), ""]
    text = "\n".join(lines)
    (out / "compared.md").write_text(text, encoding="utf-8")
    (out / "compared.html").write_text(page(title, heading, tables, figures), encoding="utf-8")
    (out / "compared.json").write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    return f"{text}\n{out / 'compared.html'} shows it with figures.\n"


def _name(workdir: Path, workdirs: Sequence[Path]) -> str:
    """Return the last part of a run's path, all of it where another run has the same."""
    names = [one.resolve().name for one in workdirs]
    return str(workdir) if names.count(workdir.resolve().name) > 1 else workdir.resolve().name


def _report(workdir: Path) -> dict:
    path = workdir / "evaluation" / "report.json"
    if not path.is_file():
        raise WorkdirError(f"{path}: no such file; run `python evaluate.py --workdir {workdir}` first")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkdirError(f"{path}: not JSON ({error}); evaluate the run again") from None


def _settings(reports: Mapping[str, Mapping]) -> Table:
    leaves = {name: dict(_leaves(report["config"])) for name, report in reports.items()}
    every = dict.fromkeys(leaf for own in leaves.values() for leaf in own)
    different = [leaf for leaf in every if len({str(own.get(leaf, "")) for own in leaves.values()}) > 1]
    asked = (("seed of the evaluation", "seed"), ("crystals at most", "max_crystals"), ("split", "split"))
    rows = [(title, *(str(report[key]) for report in reports.values())) for title, key in asked]
    rows += [(leaf, *(str(own.get(leaf, "")) for own in leaves.values())) for leaf in different]
    note = "What differs between the configurations. Accuracies compare only where the same crystals were asked about."
    return Table(title="Runs", note=note, columns=("field", *reports), rows=rows)


def _leaves(tree: Mapping, prefix: str = "") -> list[tuple[str, object]]:
    leaves = []
    for name, value in tree.items():
        leaves += _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return leaves


def _accuracies(reports: Mapping[str, Mapping], head: str) -> Table:
    rows = [(union, *(_cell(report, union, head) for report in reports.values())) for union in _unions(reports)]
    return Table(
        title=f"Top-1, {HEADS[head]}",
        note="With its interval; weighted, the mean over the classes, behind the stroke.",
        columns=("protocol and what is counted", *reports),
        rows=[row for row in rows if any(row[1:])],
    )


def _unions(reports: Mapping[str, Mapping]) -> list[str]:
    return list(dict.fromkeys(union for report in reports.values() for union in _counted(report)))


def _counted(report: Mapping) -> dict[str, Mapping]:
    return {
        f"{name}: {union}": heads
        for name, result in report["protocols"].items()
        for union, heads in result["unions"].items()
        if heads
    }


def _cell(report: Mapping, union: str, head: str) -> str:
    heads = _counted(report).get(union)
    return "" if heads is None else _accuracy(heads[head])


def _accuracy(figures: Mapping) -> str:
    low, high = map(percent, figures["interval"])
    return f"{percent(figures['top1'])} ({low} to {high}) / {percent(figures['weighted'])}"


def _structure_types(reports: Mapping[str, Mapping]) -> Table:
    rows = [
        (f"{kind}, {title}", *(_of_types(report, kind, head) for report in reports.values()))
        for kind in ("all", "trained on", "never trained on")
        for head, title in HEADS.items()
    ]
    return Table(
        title="Structure types",
        note="Held-out crystals by whether the run trained on their structure type. In a split by types it never has.",
        columns=("structure types", *reports),
        rows=rows,
    )


def _of_types(report: Mapping, kind: str, head: str) -> str:
    heads = report["structure_types"][kind]
    return _accuracy(heads[head]) if heads else ""


def _figure(reports: Mapping[str, Mapping], head: str) -> Figure:
    unions = _unions(reports)
    figure, axes = canvas(f"Top-1, {HEADS[head]}", height=1.2 + 0.2 * len(unions) * len(reports))
    for number, (name, report) in enumerate(reports.items()):
        counted = _counted(report)
        own = [place for place, union in enumerate(unions) if union in counted]
        figures = [counted[unions[place]][head] for place in own]
        at = np.array(own) + 0.7 * ((number + 0.5) / len(reports) - 0.5)
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        low, high = 100 * np.array([one["interval"] for one in figures]).T
        axes.hlines(at, low, high, color=colour, lw=1.5)
        axes.plot([100 * one["top1"] for one in figures], at, marker, color=colour, ms=4, label=name)
    axes.set_yticks(range(len(unions)), unions, fontsize=7)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.set_xlabel("% of patterns")
    axes.grid(axis="x", color="0.9")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
