"""The confusion matrix: rows are what it was, columns what it was taken for, depth the share of the row."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from raytrain.reporting.figures.canvas import (
    Drawing,
    draw,
    label_axes,
    new_axes,
    new_figure,
    shortened,
    text_width_in,
)
from raytrain.reporting.figures.palette import BAD, GRID, INK

_MAX_LABELS = 60


def confusion(
    counts: NDArray[np.int64], classes: Sequence[str], *, colour: str, name: str, title: str, alt: str
) -> Drawing:
    """Draw counts [K, K]: hits in the pathway's colour, mistakes in the colour of mistakes."""
    num, classes = len(classes), [*map(shortened, classes)]
    cell_in = min(0.34, max(0.115, 5.4 / num)) if num <= _MAX_LABELS else 6.6 / num
    size = 6.2 if num > 20 else 8.0
    margin = 0.42 + (text_width_in(classes, size) if num <= _MAX_LABELS else 0.1)
    side = cell_in * num
    figure = new_figure(max(3.2, margin + side + 0.2), margin + side + 0.45)
    right = float(figure.get_size_inches()[0]) - margin - side
    axes = new_axes(figure, left=margin, right=right, top=0.45, bottom=margin, title=title)
    axes.set_xlim(-0.5, num - 0.5)
    axes.set_ylim(num - 0.5, -0.5)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    hits = np.eye(num, dtype=bool)
    for chosen, shade in ((hits, colour), (~hits, BAD)):
        cells = [(row, column) for row, column in np.argwhere((counts > 0) & chosen)]
        patches = [Rectangle((column - 0.5, row - 0.5), 1, 1) for row, column in cells]
        # Faint shares would not be seen: even one mistake is drawn with a fifth of the colour.
        faces = [(shade, 0.2 + 0.8 * float(shares[row, column])) for row, column in cells]
        axes.add_collection(PatchCollection(patches, facecolors=faces, edgecolors="none", linewidths=0))
    _ticks(axes, classes, size)
    label_axes(axes, x="taken for", y="truth")
    return draw(figure, name=name, title=title, alt=alt)


def _ticks(axes: Axes, classes: Sequence[str], size: float) -> None:
    num = len(classes)
    for axis, rotation in ((axes.xaxis, 90), (axes.yaxis, 0)):
        if num <= _MAX_LABELS:
            axis.set_ticks(range(num), classes, fontsize=size, rotation=rotation, color=INK)
        axis.set_tick_params(length=0, pad=2)
    between = np.arange(0.5, num - 1)
    for draw_lines in (axes.hlines, axes.vlines):
        draw_lines(between, -0.5, num - 0.5, colors=GRID, linewidth=0.35, zorder=0.5)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(GRID)


def worst_pairs(counts: NDArray[np.int64], limit: int) -> list[tuple[int, int, int, int]]:
    """Return (truth, taken for, count, samples of the truth) of the most frequent mistakes."""
    mistakes = counts * (1 - np.eye(len(counts), dtype=np.int64))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(place), len(counts)) for place in order]
    return [
        (row, col, int(counts[row, col]), int(counts[row].sum())) for row, col in pairs if mistakes[row, col]
    ]
