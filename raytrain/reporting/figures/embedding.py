"""Samples of some classes on two axes (t-SNE or principal components)."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from raytrain.reporting.figures.canvas import NORMAL, SMALL, Drawing, draw, new_axes, new_figure, shortened
from raytrain.reporting.figures.palette import GRID, INK, Style

SIDE_IN = 2.35
LETTERS = 16  # of a name, so that four stand below the panels


def embedding(
    panels: Mapping[str, NDArray[np.float64]],
    labels: NDArray[np.int64],
    styles: Mapping[int, Style],
    classes: Mapping[int, str],
    *,
    name: str,
    title: str,
    alt: str,
) -> Drawing:
    """Draw points [n, 2] of each panel (trained, control) coloured and marked by label [n]."""
    width, height = 0.2 + len(panels) * (SIDE_IN + 0.12), SIDE_IN + 0.85
    figure = new_figure(width, height)
    figure.text(
        0.06 / width, 1 - 0.08 / height, title, fontsize=NORMAL, fontweight="bold", va="top", color=INK
    )
    for place, (panel, points) in enumerate(panels.items()):
        left = 0.1 + place * (SIDE_IN + 0.12)
        axes = new_axes(figure, left=left, right=width - left - SIDE_IN, top=0.5, bottom=0.35)
        axes.set_title(panel, fontsize=SMALL, color=INK, loc="left", pad=3)
        for number, style in styles.items():
            chosen = points[labels == number]
            axes.plot(
                chosen[:, 0],
                chosen[:, 1],
                style.marker,
                markersize=4.2,
                color=style.colour,
                alpha=0.85,
                markeredgewidth=0,
                label=shortened(classes[number], LETTERS) if place == 0 else None,
            )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.06)
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_color(GRID)
    figure.legend(
        loc="lower center",
        ncols=min(4, len(styles)),
        fontsize=SMALL,
        frameon=False,
        labelcolor=INK,
        handletextpad=0.1,
        columnspacing=1.0,
        borderaxespad=0.2,
    )
    return draw(figure, name=name, title=title, alt=alt)
