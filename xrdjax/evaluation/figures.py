"""The figures of a report, made of its JSON. Colours of Okabe and Ito, told apart by shape as well."""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Int, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS, crystal_system_index
from xrdjax.evaluation.examples import Example
from xrdjax.evaluation.results import HEADS
from xrdjax.evaluation.tables import ceiling_of, level_series
from xrdjax.learning.figures import DPI, group_confusion, pixels, system_confusion

SYSTEM_COLOUR, GROUP_COLOUR = "#0072B2", "#D55E00"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "os^Dv<>"
HEAD_COLOUR = {"crystal_system": SYSTEM_COLOUR, "space_group": GROUP_COLOUR}
WHOLE_LEVELS = ("largest index of the axis", "views of one crystal")
WIDTH = 4.4  # inches: read on a telephone without enlarging
STYLE = {"font.size": 10, "axes.titlesize": 10, "legend.fontsize": 8, "svg.fonttype": "none", "svg.hashsalt": "xrdjax"}


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedFigure:
    """A figure in the two forms that a report needs."""

    name: str
    title: str
    svg: str
    pixels: UInt8[np.ndarray, "height width 3"]


def save_figures(report: Mapping, examples: Sequence[Example], folder: Path) -> list[SavedFigure]:
    """Draw all figures of a report and write them as PNG into a folder."""
    for old in folder.glob("figure_*.png"):
        old.unlink()
    with mpl.rc_context(STYLE):  # ty: ignore[invalid-argument-type]
        return [saved_figure(name, title, figure, folder) for name, title, figure in _figures(report, examples)]


def saved_figure(name: str, title: str, figure: Figure, folder: Path) -> SavedFigure:
    """Write a figure as PNG and return both of its forms."""
    figure.savefig(folder / f"figure_{name}.png", dpi=DPI)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    return SavedFigure(name=name, title=title, svg=svg[svg.index("<svg") :], pixels=pixels(figure))


def _figures(report: Mapping, examples: Sequence[Example]) -> Iterator[tuple[str, str, Figure]]:
    yield "protocols", "Accuracy by protocol", protocols_figure(report)
    for name, result in report["protocols"].items():
        if result["level"]:
            yield f"levels_{name}", result["title"], levels_figure(result)
    for name, counts in report["confusion"].items():
        systems, groups = _counts(counts)
        yield f"systems_{name}", f"Confusion of crystal systems, {name}", system_confusion(systems, f"Protocol {name}")
        yield f"groups_{name}", f"Confusion of space groups, {name}", group_confusion(groups, f"Protocol {name}")
    if "before" in report["calibration"]["space_group"]:
        yield "reliability", "Reliability of the probabilities", reliability_figure(report["calibration"])
    groups = report["classes"]["groups"]
    yield "training_crystals", "Accuracy by number of training crystals", training_figure(groups)
    yield "groups", "Accuracy of each space group", groups_figure(groups)
    for target in dict.fromkeys(example.target for example in examples):
        own = [example for example in examples if example.target == target]
        yield f"depletion_{target}", f"Depletion towards {target}", depletion_figure(own)


def protocols_figure(report: Mapping) -> Figure:
    """Return top-1 of every union of every protocol, with intervals."""
    rows = [
        (f"{name}: {union}", heads, ceiling_of(result, union), result.get("neighbours", {}).get(union))
        for name, result in report["protocols"].items()
        for union, heads in result["unions"].items()
        if heads
    ]
    figure, axes = canvas("Top-1 accuracy", height=1.2 + 0.42 * len(rows))
    place = np.arange(len(rows))
    for offset, (head, colour) in zip((-0.13, 0.13), HEAD_COLOUR.items(), strict=True):
        at = place + offset
        top1, commonest = ([100 * heads[head][key] for _, heads, *_ in rows] for key in ("top1", "commonest"))
        low, high = np.array([heads[head]["interval"] for _, heads, *_ in rows]).T * 100
        axes.hlines(at, low, high, color=colour, lw=2)
        axes.plot(top1, at, MARKERS[offset > 0], color=colour, ms=5, label=HEADS[head])
        axes.plot(commonest, at, "|", color=colour, ms=6)
        most = [100 * ceiling[head]["top1"] for *_, ceiling, _ in rows]
        axes.vlines(most, at - 0.16, at + 0.16, color=colour, lw=2.2, alpha=0.5)
        near = [np.nan if one is None else 100 * one[head]["top1"] for *_, one in rows]
        axes.plot(near, at, "x", color=colour, ms=5)
    axes.plot([], [], "|", color="0.4", ms=6, label="commonest class")
    axes.plot([], [], "|", color="0.4", ms=10, mew=2.2, alpha=0.5, label="ceiling of symmetry")
    if any(row[-1] for row in rows):
        axes.plot([], [], "x", color="0.4", ms=5, label="nearest neighbours")
    axes.set_yticks(place, [textwrap.fill(name, 24) for name, *_ in rows], fontsize=8)
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of patterns")
    axes.grid(axis="x", color="0.9")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def levels_figure(result: Mapping) -> Figure:
    """Return top-1 against the level of a change: crystal systems above, space groups below."""
    figure = Figure(figsize=(WIDTH, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, sharex=True)
    for axes, (head, title) in zip((above, below), HEADS.items(), strict=True):
        for number, (label, points) in enumerate(level_series(result, head).items()):
            levels = sorted(points)
            top1 = [100 * points[level]["top1"] for level in levels]
            low, high = np.array([points[level]["interval"] for level in levels]).T * 100
            style = "--" if label.startswith("training") else "-"
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            axes.fill_between(levels, low, high, color=colour, alpha=0.15, lw=0)
            axes.plot(levels, top1, style, marker=marker, ms=4, color=colour, label=label if axes is above else None)
        for union, style in zip(result["unions"], ("-", ":"), strict=False):
            most = 100 * ceiling_of(result, union)[head]["top1"]
            label = f"ceiling, {union.split(',')[0]}" if axes is above else None
            axes.axhline(most, color="0.4", lw=1, ls=style, label=label)
        axes.set_ylabel(f"{title}, top-1 (%)")
        axes.set_ylim(bottom=0)
        if result["level"] in WHOLE_LEVELS:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="0.9")
    below.set_xlabel(result["level"])
    figure.suptitle(textwrap.fill(result["title"], 48), fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def reliability_figure(calibration: Mapping) -> Figure:
    """Return accuracy against confidence before and after the temperature."""
    figure, axes = canvas("Reliability along the training axes", height=4.2)
    axes.plot([0, 100], [0, 100], ":", color="0.5", label="perfect")
    for head, title in HEADS.items():
        for state, style in (("before", "--"), ("after", "-")):
            one = calibration[head][state]
            filled = np.array(one["patterns"]) > 0
            confidence, accuracy = (100 * np.array(one[key])[filled] for key in ("confidence", "accuracy"))
            marker = MARKERS[head == "space_group"]
            label = f"{title}, {'as it is' if state == 'before' else 'calibrated'}"
            axes.plot(confidence, accuracy, style, marker=marker, ms=4, color=HEAD_COLOUR[head], label=label)
    axes.set_xlabel("confidence (%)")
    axes.set_ylabel("accuracy (%)")
    axes.legend(frameon=False)
    axes.set_aspect("equal")
    return figure


def training_figure(groups: Sequence[Mapping]) -> Figure:
    """Return the accuracy of each group against its number of training crystals."""
    figure, axes = canvas("Space groups, top-1", height=3.4)
    _by_system(axes, groups, [one["training_crystals"] for one in groups])
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlabel("training crystals of the group")
    axes.set_ylabel("top-1 (%)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def groups_figure(groups: Sequence[Mapping]) -> Figure:
    """Return the accuracy of each group, by its number."""
    figure, axes = canvas("Space groups, top-1", height=3.4)
    numbers = [one["space_group"] for one in groups]
    axes.vlines(numbers, 0, [100 * one["top1"] for one in groups], color="0.75", lw=0.8)
    _by_system(axes, groups, numbers)
    axes.set_xlim(0, 231)
    axes.set_xlabel("space group")
    axes.set_ylabel("top-1 (%)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _by_system(axes: Axes, groups: Sequence[Mapping], x: Sequence[float]) -> None:
    system = crystal_system_index(np.array([one["space_group"] for one in groups]))
    top1 = np.array([100 * one["top1"] for one in groups])
    for number, name in enumerate(CRYSTAL_SYSTEMS):
        own = system == number
        axes.plot(np.array(x)[own], top1[own], MARKERS[number], color=COLOURS[number], ms=4, label=name, ls="none")
    axes.set_ylim(-2, 102)


def depletion_figure(examples: Sequence[Example]) -> Figure:
    """Return pictures as atoms leave, each over the predicted group; the found one stands above."""
    strips = [(example, axis) for example in examples for axis in example.pictures]
    levels = examples[0].levels
    figure = Figure(figsize=(WIDTH + 1, 1.35 * len(strips)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(strips), len(levels), squeeze=False)
    for row, (example, axis) in zip(grid, strips, strict=True):
        row[0].set_ylabel(f"{example.name[:16]}\n{axis}", fontsize=7)
        for n, axes in enumerate(row):
            axes.imshow(example.pictures[axis][n], cmap="Greys", vmin=0, vmax=1)
            found, said = example.found[n], example.predicted[axis][n]
            axes.set_title(f"{levels[n]:g} %: {found}", fontsize=7, pad=2)
            axes.set_xlabel(f"→ {said}", fontsize=7, labelpad=1, color="#00603a" if said == found else "#a02c00")
            axes.set_xticks([])
            axes.set_yticks([])
    return figure


def _counts(counts: Mapping) -> tuple[Int[np.ndarray, "7 7"], Int[np.ndarray, "230 230"]]:
    groups = np.zeros((230, 230), int)
    for true, said, number in counts["space_group"]:
        groups[true - 1, said - 1] = number
    return np.array(counts["crystal_system"]), groups


def canvas(title: str, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of the usual width, height in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
