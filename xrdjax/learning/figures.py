"""Confusion matrices as figures. One-colour scales that also print in grey."""

import numpy as np
from jaxtyping import Int, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS, crystal_system_index

DPI = 130


def system_confusion(counts: Int[np.ndarray, "7 7"], title: str) -> Figure:
    """Return the confusion matrix of crystal systems: per cent of each true system, numbers in the cells."""
    figure, axes = _canvas(6.4, 5.6, title)
    share = _row_share(counts)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        axes.text(
            column, row, f"{100 * value:.0f}", ha="center", va="center", color="white" if value > 0.5 else "black"
        )
    axes.set_xticks(range(7), CRYSTAL_SYSTEMS, rotation=40, ha="right")
    axes.set_yticks(range(7), [f"{name} ({n:,})" for name, n in zip(CRYSTAL_SYSTEMS, counts.sum(1), strict=True)])
    axes.set_xlabel("predicted (% of the true system)")
    axes.set_ylabel("true (patterns)")
    return figure


def group_confusion(counts: Int[np.ndarray, "230 230"], title: str) -> Figure:
    """Return the confusion matrix of space groups, rows as shares of a true group; lines part the crystal systems."""
    figure, axes = _canvas(7.6, 6.8, title)
    image = axes.imshow(_row_share(counts), cmap="Blues", vmin=0, vmax=1, extent=(0.5, 230.5, 230.5, 0.5))
    systems = crystal_system_index(np.arange(1, 231))
    for last in np.flatnonzero(np.diff(systems)) + 1:
        axes.axhline(last + 0.5, color="0.75", lw=0.5)
        axes.axvline(last + 0.5, color="0.75", lw=0.5)
    middles = [float(np.flatnonzero(systems == number).mean()) + 1 for number in range(7)]
    axes.set_yticks(middles, CRYSTAL_SYSTEMS, fontsize=8)
    axes.set_xticks(middles, CRYSTAL_SYSTEMS, rotation=40, ha="right", fontsize=8)
    axes.set_xlabel("predicted space group, 1 to 230")
    axes.set_ylabel("true space group, 1 to 230")
    figure.colorbar(image, ax=axes, label="share of the true group's patterns", fraction=0.045)
    return figure


def pixels(figure: Figure) -> UInt8[np.ndarray, "height width 3"]:
    """Return a figure as a picture."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _canvas(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11)
    return figure, axes


def _row_share(counts: Int[np.ndarray, "n n"]) -> np.ndarray:
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)
