"""The gain of each seed, a small point a seed, a bar at their mean and a line for its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

from raytrain.reporting.figures.canvas import (
    NORMAL,
    Drawing,
    add_grid,
    draw,
    label_axes,
    new_axes,
    new_figure,
    text_width_in,
)
from raytrain.reporting.figures.palette import INK, Style


@dataclass(frozen=True, kw_only=True)
class SeedRow:
    """A representation and its gains in points, one a seed."""

    label: str
    style: Style
    gains: Sequence[float]
    interval: Sequence[float] | None = None
    """of the mean, (low, high) in points"""


def seeds(rows: Sequence[SeedRow], *, name: str, title: str, alt: str) -> Drawing:
    """Draw rows from the top down."""
    figure = new_figure(4.4, 0.95 + 0.34 * len(rows))
    left = 0.3 + text_width_in([row.label for row in rows], NORMAL)
    axes = new_axes(figure, left=left, right=0.25, top=0.35, bottom=0.55, title=title)
    add_grid(axes, "x")
    axes.axvline(0, color=INK, linewidth=1.1)
    for place, row in enumerate(rows):
        mean = sum(row.gains) / len(row.gains)
        if row.interval:
            axes.plot(row.interval, [place, place], color=row.style.colour, linewidth=1.4)
        axes.plot([mean, mean], [place - 0.3, place + 0.3], color=row.style.colour, linewidth=2.4)
        axes.plot(
            row.gains,
            [place] * len(row.gains),
            row.style.marker,
            color=row.style.colour,
            alpha=0.75,
            markersize=5,
        )
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=NORMAL)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    known = any(row.interval for row in rows)
    label_axes(axes, x="gain, points; bar: mean" + ", line: 95 % interval" * known)
    return draw(figure, name=name, title=title, alt=alt)
