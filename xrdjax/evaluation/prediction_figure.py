"""One picture of predictions: what was given, what the network saw of it, and its answer as bars."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xrdjax.config import PatternConfig
from xrdjax.evaluation.predict import Prediction
from xrdjax.learning.figures import DPI
from xrdjax.learning.pictures import hermann_mauguin

MOST_ROWS = 40
SHOWN_POWER = 0.5  # of given greys, so that weak spots of a measured picture can be seen


def draw_predictions(predictions: list[Prediction], pattern: PatternConfig) -> Figure:
    """Return a row of panels for each prediction, of which the first forty are drawn."""
    shown = predictions[:MOST_ROWS]
    figure = Figure(figsize=(12.5, 3.1 * len(shown)), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(shown), 4, squeeze=False, width_ratios=(1, 1, 1, 1))
    for panels, prediction in zip(rows, shown, strict=True):
        _draw_given(panels[0], prediction)
        _draw_seen(panels[1], prediction, pattern)
        _draw_bars(panels[2], [(name, share) for name, share in prediction.top_systems()], "crystal system")
        groups = [(f"{hermann_mauguin(group)} ({group})", share) for group, share in prediction.top_groups()]
        _draw_bars(panels[3], groups, "space group")
    return figure


def _draw_given(axes: Axes, prediction: Prediction) -> None:
    view = prediction.views[0]
    axes.set_title(prediction.name if len(prediction.name) <= 34 else f"…{prediction.name[-33:]}", fontsize=9)
    axes.set_axis_off()
    if view.given is None:
        axes.text(0.5, 0.5, "a list", ha="center", va="center", transform=axes.transAxes)
        return
    axes.imshow(np.maximum(view.given, 0) ** SHOWN_POWER, cmap="gray_r", interpolation="antialiased")
    if view.centre is not None:
        axes.plot(view.centre[0] - 0.5, view.centre[1] - 0.5, "+", color="tab:red", ms=9)


def _draw_seen(axes: Axes, prediction: Prediction, pattern: PatternConfig) -> None:
    images = [view.image for view in prediction.views]
    columns = int(np.ceil(np.sqrt(len(images))))
    blank = np.zeros_like(images[0])
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    sheet = np.block([[*row, *[blank] * (columns - len(row))] for row in rows])
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(f"seen: {pattern.width} × {pattern.height}, ±{pattern.extent:g} 1/Å", fontsize=9)
    if prediction.warnings:
        first = prediction.warnings[0]
        axes.set_xlabel(first if len(first) <= 52 else f"{first[:51]}…", fontsize=7, color="tab:red")


def _draw_bars(axes: Axes, shares: list[tuple[str, float]], title: str) -> None:
    names, values = zip(*shares, strict=True)
    axes.barh(range(len(values)), values, color="tab:blue")
    for row, value in enumerate(values):
        axes.text(value + 0.02, row, f"{100 * value:.0f} %", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15)
    axes.set_xticks([0, 0.5, 1], ["0", "50", "100 %"], fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
