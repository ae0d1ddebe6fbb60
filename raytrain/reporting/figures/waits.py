"""The wait ledger: where each pathway's time went, as stacked bars."""

from collections.abc import Mapping
from typing import Any

from raytrain.reporting.figures.canvas import (
    NORMAL,
    SMALL,
    Drawing,
    draw,
    label_axes,
    new_axes,
    new_figure,
    text_width_in,
)
from raytrain.reporting.figures.palette import BAD, GRID, GROUND, INK, MUTED

WIDTH_IN, ROW_IN = 4.4, 0.34
# Stepping is what time is for, so it stays in the background.
_ACCOUNTS = {
    "step": ("stepping", GRID, ""),
    "data": ("waiting for data", BAD, ""),
    "checkpoint": ("writing checkpoints", MUTED, "////"),
}


def waits(shares: Mapping[str, Mapping[str, float]], *, name: str, title: str, alt: str) -> Drawing:
    """Draw the shares of time (0..1) of each pathway by account."""
    height = 1.1 + ROW_IN * len(shares)
    figure = new_figure(WIDTH_IN, height)
    axes = new_axes(figure, left=0.3 + text_width_in(shares, NORMAL), right=0.55, top=0.62, bottom=0.48)
    figure.text(
        0.06 / WIDTH_IN, 1 - 0.08 / height, title, fontsize=NORMAL, fontweight="bold", va="top", color=INK
    )
    for place, accounts in enumerate(shares.values()):
        begin = 0.0
        for account, (label, colour, hatch) in _ACCOUNTS.items():
            share = 100 * accounts.get(account, 0.0)
            axes.barh(
                place,
                share,
                left=begin,
                height=0.62,
                color=colour,
                hatch=hatch,
                edgecolor=GROUND,
                linewidth=0.8,
                label=label if place == 0 else None,
            )
            begin += share
        _note(axes, place, begin, accounts)
    axes.set_yticks(range(len(shares)), list(shares), fontsize=NORMAL)
    axes.set_ylim(len(shares) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    label_axes(axes, x="share of the time from the first batch on, %")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=3,
        fontsize=SMALL,
        frameon=False,
        labelcolor=INK,
        handlelength=1.0,
        handletextpad=0.4,
        columnspacing=1.0,
        borderaxespad=0.1,
    )
    return draw(figure, name=name, title=title, alt=alt)


def _note(axes: Any, place: int, end: float, accounts: Mapping[str, float]) -> None:
    axes.annotate(
        f"{100 * accounts.get('data', 0.0):.1f} %",
        (end, place),
        xytext=(4, 0),
        textcoords="offset points",
        fontsize=SMALL,
        color=BAD if accounts.get("data", 0.0) >= 0.05 else MUTED,
        va="center",
        annotation_clip=False,
    )
