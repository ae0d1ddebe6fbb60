"""Curves over steps: of one pathway by layer, or of all pathways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raytrain.reporting.figures.canvas import (
    Drawing,
    add_grid,
    draw,
    label_axes,
    label_ends,
    new_axes,
    new_figure,
    text_width_in,
)

WIDTH_IN, HEIGHT_IN = 3.4, 2.35


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values over steps; `strength` 0..1 lightens the colour (layers of one pathway)."""

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: str
    strength: float = 1.0


def curves(
    lines: Sequence[Curve], *, name: str, title: str, alt: str, unit: str, zero: bool = True
) -> Drawing:
    """Draw curves with their names at their ends; `zero`: the axis of values begins at zero."""
    figure = new_figure(WIDTH_IN, HEIGHT_IN)
    right = 0.2 + text_width_in([line.label for line in lines])
    axes = new_axes(figure, left=0.62, right=right, top=0.34, bottom=0.5, title=title)
    add_grid(axes, "y")
    last = 0.0
    for line in lines:
        axes.plot(line.steps, line.values, color=line.colour, alpha=line.strength, linewidth=1.6)
        last = max(last, *line.steps)
    axes.set_xlim(0, last or 1)
    if zero:
        axes.set_ylim(bottom=0)
    axes.locator_params(nbins=5)
    label_axes(axes, x="training step", y=unit)
    label_ends(
        axes, [(line.values[-1], line.label, line.colour) for line in lines if line.values], x=last or 1
    )
    return draw(figure, name=name, title=title, alt=alt)


def layer_curves(
    by_layer: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, colour: str, **words: str
) -> Drawing:
    """Draw one pathway's (steps, values) by layer; later layers are stronger."""
    count = len(by_layer)
    lines = [
        Curve(
            label=layer.removeprefix("layer"),
            steps=steps,
            values=values,
            colour=colour,
            strength=0.35 + 0.65 * (place + 1) / count,
        )
        for place, (layer, (steps, values)) in enumerate(by_layer.items())
    ]
    return curves(lines, name=words["name"], title=words["title"], alt=words["alt"], unit=words["unit"])
