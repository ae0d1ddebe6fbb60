"""Nearest neighbours: a row a query, then its nearest training samples, each marked right or wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from raytrain.reporting.figures.canvas import NORMAL, Drawing, draw, new_axes, new_figure, shortened
from raytrain.reporting.figures.palette import BAD, GOOD, INK, MUTED

CELL_IN, GAP_IN, TEXT_IN = 0.62, 0.07, 0.17


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """A query u8[3, H, W] of class `label` with its nearest: images, labels, cosines, same class or not."""

    image: NDArray[np.uint8]
    label: str
    images: NDArray[np.uint8]
    labels: Sequence[str]
    cosines: Sequence[float]
    right: Sequence[bool]


def neighbours(queries: Sequence[Neighbours], *, name: str, title: str, alt: str) -> Drawing:
    """Draw a row a query; a tick or a cross says what colour says too."""
    columns = 1 + max(len(query.images) for query in queries)
    row_in = CELL_IN + TEXT_IN + GAP_IN
    width = 0.15 + columns * (CELL_IN + GAP_IN) + 0.12
    height = 0.62 + row_in * len(queries)
    figure = new_figure(width, height)
    axes = new_axes(figure, left=0, right=0, top=0, bottom=0)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.text(0.06, 0.08, title, fontsize=NORMAL, fontweight="bold", va="top", color=INK)
    for column, text in ((0, "query"), (1, "nearest training samples, by cosine")):
        axes.text(_left(column), 0.5, text, fontsize=7, color=MUTED, va="bottom")
    for row, query in enumerate(queries):
        top = 0.55 + row * row_in
        _picture(axes, query.image, 0, top, query.label, "", INK)
        for column, image in enumerate(query.images):
            mark, colour = ("\u2713", GOOD) if query.right[column] else ("\u2717", BAD)
            text = f"{query.cosines[column]:.2f}"
            _picture(axes, image, column + 1, top, f"{mark} {query.labels[column]}", text, colour)
    return draw(figure, name=name, title=title, alt=alt)


def _left(column: int) -> float:
    return 0.08 + column * (CELL_IN + GAP_IN) + (0.12 if column else 0.0)


def _picture(
    axes: Axes, image: NDArray[np.uint8], column: int, top: float, text: str, note: str, colour: str
) -> None:
    left = _left(column)
    box = (left, left + CELL_IN, top + CELL_IN, top)
    axes.imshow(image.transpose(1, 2, 0), extent=box, interpolation="none", aspect="auto")
    axes.plot(
        [left, left + CELL_IN],
        2 * [top + CELL_IN + 0.015],
        color=colour,
        linewidth=2.0,
        solid_capstyle="butt",
    )
    place = top + CELL_IN + 0.04
    axes.text(left, place, shortened(text, 9), fontsize=6.5, color=colour, va="top")
    axes.text(left + CELL_IN, place, note, fontsize=6.5, color=MUTED, va="top", ha="right")
