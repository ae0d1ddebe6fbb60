"""The shortcut score of each operator against the probe gain of its pathway."""

from collections.abc import Sequence
from dataclasses import dataclass

from raytrain.reporting.figures.canvas import (
    SMALL,
    Drawing,
    add_grid,
    draw,
    label_axes,
    new_axes,
    new_figure,
)
from raytrain.reporting.figures.palette import INK, Style


@dataclass(frozen=True, kw_only=True)
class ShortcutPoint:
    """A pathway: the score of its operator, its gain in points with its interval."""

    label: str
    style: Style
    score: float
    gain: float
    interval: Sequence[float]


def shortcut(points: Sequence[ShortcutPoint], *, name: str, title: str, alt: str) -> Drawing:
    """Draw a point a pathway with the interval of its gain."""
    figure = new_figure(4.0, 2.9)
    axes = new_axes(figure, left=0.65, right=0.55, top=0.35, bottom=0.52, title=title)
    add_grid(axes, "y")
    axes.axhline(0, color=INK, linewidth=1.1)
    for point in points:
        colour = point.style.colour
        axes.plot([point.score] * 2, point.interval, color=colour, linewidth=1.8)
        axes.plot([point.score], [point.gain], point.style.marker, color=colour, markersize=6)
        axes.annotate(
            point.label,
            (point.score, point.gain),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=SMALL,
            color=colour,
        )
    axes.margins(x=0.12)
    label_axes(axes, x="shortcut score of the operator (AUC; 0.5: none)", y="gain over control, points")
    return draw(figure, name=name, title=title, alt=alt)
