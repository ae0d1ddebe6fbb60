"""Values by layer: a line a pathway, or one pathway trained against its control."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytrain.reporting.figures.canvas import (
    SMALL,
    Drawing,
    add_grid,
    draw,
    label_axes,
    label_ends,
    new_axes,
    new_figure,
    text_width_in,
)
from raytrain.reporting.figures.palette import GROUND, INK, Style

WIDTH_IN, HEIGHT_IN = 3.4, 2.35


@dataclass(frozen=True, kw_only=True)
class LayerLine:
    """Values [L] by layer with intervals (low, high) or None."""

    label: str
    layers: Sequence[str]
    values: Sequence[float]
    intervals: Sequence[Sequence[float] | None]


def by_pathway(
    lines: Mapping[str, tuple[Sequence[str], Sequence[float]]],
    styles: Mapping[str, Style],
    *,
    name: str,
    title: str,
    alt: str,
    unit: str,
) -> Drawing:
    """Draw (layers, values) of each pathway in one panel."""
    order = _order(layer for layers, _ in lines.values() for layer in layers)
    figure = new_figure(WIDTH_IN, HEIGHT_IN)
    right = 0.2 + text_width_in(lines)
    axes = new_axes(figure, left=0.62, right=right, top=0.34, bottom=0.5, title=title)
    add_grid(axes, "y")
    ends = []
    for pathway, (layers, values) in lines.items():
        places = [order[layer] for layer in layers]
        style = styles[pathway]
        axes.plot(places, values, color=style.colour, marker=style.marker, markersize=4, linewidth=1.4)
        ends.append((values[-1], pathway, style.colour))
    axes.set_ylim(bottom=0)  # none of these figures can be negative
    _finish(axes, order, unit)
    label_ends(axes, ends, x=max(order.values()) + 0.1)
    return draw(figure, name=name, title=title, alt=alt)


def against_control(
    trained: LayerLine,
    control: LayerLine,
    style: Style,
    *,
    name: str,
    title: str,
    alt: str,
    unit: str,
    limits: tuple[float, float],
) -> Drawing:
    """Draw one pathway's layers, trained (filled) and untrained (hollow, dashed), with intervals."""
    order = _order(trained.layers)
    figure = new_figure(WIDTH_IN, HEIGHT_IN)
    axes = new_axes(figure, left=0.62, right=0.15, top=0.34, bottom=0.5, title=title)
    add_grid(axes, "y")
    for line, hollow, shift in ((trained, False, -0.07), (control, True, 0.07)):
        places = [order[layer] + shift for layer in line.layers]
        for place, interval in zip(places, line.intervals, strict=True):
            if interval is not None:
                axes.plot([place, place], interval, color=style.colour, linewidth=1.0 if hollow else 1.8)
        axes.plot(
            places,
            line.values,
            color=style.colour,
            marker=style.marker,
            markersize=4.5,
            markerfacecolor=GROUND if hollow else style.colour,
            linestyle="--" if hollow else "-",
            linewidth=1.0 if hollow else 1.6,
            label=line.label,
        )
    axes.set_ylim(limits)
    _finish(axes, order, unit)
    axes.legend(fontsize=SMALL, frameon=False, labelcolor=INK, loc="best", handlelength=2.2)
    return draw(figure, name=name, title=title, alt=alt)


def _order(layers: Any) -> dict[str, int]:
    """Return each layer's place, in the order of their numbers where they have any."""
    names = dict.fromkeys(layers)
    return {layer: place for place, layer in enumerate(sorted(names, key=layer_number))}


def layer_number(layer: str) -> tuple[int, str]:
    """Return what layers are sorted by: layer2 comes before layer10."""
    digits = "".join(mark for mark in layer if mark.isdigit())
    return (int(digits) if digits else 1 << 30, layer)


def _finish(axes: Any, order: dict[str, int], unit: str) -> None:
    axes.set_xticks(list(order.values()), [layer.removeprefix("layer") for layer in order])
    axes.set_xlim(-0.3, len(order) - 0.7)
    axes.locator_params(axis="y", nbins=5)
    label_axes(axes, x="layer", y=unit)
