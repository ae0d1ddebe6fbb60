"""Accuracy by class: trained and control as two points on a line, the longest gains first."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from raytrain.reporting.figures.canvas import (
    NORMAL,
    SMALL,
    Drawing,
    add_grid,
    draw,
    label_axes,
    new_axes,
    new_figure,
    shortened,
    text_width_in,
)
from raytrain.reporting.figures.palette import BAD, GOOD, GROUND, INK, MUTED

WIDTH_IN, ROW_IN = 4.4, 0.155
MAX_ROWS = 60


def per_class(
    trained: NDArray[np.float64],
    control: NDArray[np.float64],
    classes: Sequence[str],
    counts: NDArray[np.int64],
    *,
    name: str,
    title: str,
    alt: str,
    unit: str,
) -> Drawing:
    """Draw scores [K] of the classes that have test samples (`counts` [K]); of very many the extremes."""
    seen = np.flatnonzero(counts)
    order = seen[np.lexsort((seen, -(trained - control)[seen]))]
    if len(order) > MAX_ROWS:
        order = np.concatenate([order[: MAX_ROWS // 2], order[-MAX_ROWS // 2 :]])
        title += f", {MAX_ROWS} of {len(seen)}"
    labels = [f"{shortened(classes[number])}  ({counts[number]})" for number in order]
    height = 1.15 + ROW_IN * len(order)
    figure = new_figure(WIDTH_IN, height)
    axes = new_axes(figure, left=0.25 + text_width_in(labels, 7), right=0.2, top=0.62, bottom=0.5)
    figure.text(
        0.06 / WIDTH_IN, 1 - 0.08 / height, title, fontsize=NORMAL, fontweight="bold", va="top", color=INK
    )
    add_grid(axes, "x")
    places, before, after = np.arange(len(order)), control[order], trained[order]
    axes.plot(before, places, "o", markersize=3.6, color=MUTED, markerfacecolor=GROUND, zorder=3)
    for colour, chosen in ((GOOD, after > before), (BAD, after < before), (INK, after == before)):
        axes.hlines(places[chosen], before[chosen], after[chosen], colors=colour, linewidth=2.4, zorder=2)
        axes.plot(after[chosen], places[chosen], "o", markersize=4.4, color=colour, zorder=4)
    axes.set_yticks(range(len(order)), labels, fontsize=7)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.tick_params(axis="y", length=0)
    _legend(axes)
    label_axes(axes, x=unit)
    return draw(figure, name=name, title=title, alt=alt)


def _legend(axes: Axes) -> None:
    marks = (
        ("control", MUTED, GROUND),
        ("trained: better", GOOD, GOOD),
        ("worse", BAD, BAD),
        ("the same", INK, INK),
    )
    for text, edge, face in marks:
        axes.plot([], [], "o", color=edge, markerfacecolor=face, markersize=4.4, label=text)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=4,
        fontsize=SMALL,
        frameon=False,
        labelcolor=INK,
        handletextpad=0.1,
        columnspacing=0.9,
        borderaxespad=0.1,
    )
