"""A forest plot: a row a representation, its value with its interval, and its control's beneath, hollow."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from raytrain.reporting.figures.canvas import (
    NORMAL,
    SMALL,
    Drawing,
    add_grid,
    draw,
    label_axes,
    new_axes,
    new_figure,
    text_width_in,
)
from raytrain.reporting.figures.palette import GROUND, INK, MUTED, Style

WIDTH_IN, ROW_IN = 4.4, 0.36


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the plot; intervals are (low, high), or None where there are none."""

    label: str
    style: Style
    value: float
    interval: Sequence[float] | None = None
    control: float | None = None
    control_interval: Sequence[float] | None = None


def forest(rows: Sequence[Row], *, name: str, title: str, alt: str, unit: str, zero: bool = False) -> Drawing:
    """Draw rows from the top down; `zero` draws the line of no difference."""
    paired = any(row.control is not None for row in rows)
    height = 0.95 + ROW_IN * len(rows) + (0.2 if paired else 0.0)
    figure = new_figure(WIDTH_IN, height)
    left = 0.3 + text_width_in([row.label for row in rows], NORMAL)
    axes = new_axes(
        figure,
        left=left,
        right=0.25,
        top=0.55 if paired else 0.35,
        bottom=0.55,
        title="" if paired else title,
    )
    add_grid(axes, "x")
    if zero:
        axes.axvline(0, color=INK, linewidth=1.1)
    for place, row in enumerate(rows):
        offset = 0.14 if row.control is not None else 0.0
        _point(axes, row.value, row.interval, place - offset, row.style, hollow=False)
        if row.control is not None:
            _point(axes, row.control, row.control_interval, place + offset, row.style, hollow=True)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=NORMAL)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    label_axes(axes, x=unit)
    if paired:
        figure.text(
            0.06 / WIDTH_IN, 1 - 0.08 / height, title, fontsize=NORMAL, fontweight="bold", va="top", color=INK
        )
        _legend(axes)
    return draw(figure, name=name, title=title, alt=alt)


def _point(
    axes: Axes, value: float, interval: Sequence[float] | None, place: float, style: Style, *, hollow: bool
) -> None:
    width = 1.1 if hollow else 2.0
    if interval is not None:
        axes.plot(interval, [place, place], color=style.colour, linewidth=width, solid_capstyle="butt")
    axes.plot(
        [value],
        [place],
        style.marker,
        markersize=4.8 if hollow else 6,
        color=style.colour,
        markerfacecolor=GROUND if hollow else style.colour,
        markeredgewidth=1.2,
    )


def _legend(axes: Axes) -> None:
    for filled, text in ((True, "trained"), (False, "control: the same, untrained")):
        axes.plot(
            [],
            [],
            "o",
            color=MUTED,
            markerfacecolor=MUTED if filled else GROUND,
            markersize=6 if filled else 4.8,
            label=text,
        )
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        fontsize=SMALL,
        frameon=False,
        labelcolor=INK,
        handletextpad=0.2,
        columnspacing=1.2,
        borderaxespad=0.1,
    )
