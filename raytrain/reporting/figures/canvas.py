"""The canvas: a figure without state of its own, drawn to SVG and PNG; and the SVG's form in a page."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raytrain.reporting.figures.palette import GRID, GROUND, INK, MUTED, variables
from raytrain.reporting.figures.png import png_bytes, save

PNG_DPI = 144
SMALL, NORMAL = 8.0, 9.0  # points


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure in both formats."""

    name: str
    """file name without ending"""
    title: str
    alt: str
    """what it shows, in words"""
    svg: str
    png: bytes
    width_px: int

    @property
    def inline(self) -> str:
        """The SVG for a page: names of its own, colours of the page's theme, a text for screen readers."""
        svg = self.svg[self.svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        # A picture that is shown twice has its name twice; nothing refers to it.
        svg = re.sub(r'(<image\b[^>]*?)\sid="[^"]*"', r"\1", svg)
        svg = re.sub(r'\bid="([^"]+)"', rf'id="{self.name}-\1"', svg)
        svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{self.name}-\1)", svg)
        svg = re.sub(r'href="#([^"]+)"', rf'href="#{self.name}-\1"', svg)
        for variable, (light, _) in variables().items():
            svg = svg.replace(light, f"var(--{variable})")
        svg = re.sub(r"font-family: [^;\"]+", "font-family: var(--sans)", svg)
        svg = re.sub(r"(font: [^;\"]*?px )[^;\"]+", r"\1var(--sans)", svg)
        attributes = f'role="img" aria-label="{_escape(self.alt)}" '
        svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg[: svg.index(">")]) + svg[svg.index(">") :]
        return svg.replace("<svg ", f"<svg {attributes}", 1)


def new_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure with an Agg canvas."""
    figure = Figure(figsize=(width_in, height_in), facecolor=GROUND)
    FigureCanvasAgg(figure)
    return figure


def new_axes(
    figure: Figure, *, left: float, right: float, top: float, bottom: float, title: str = ""
) -> Axes:
    """Return axes with margins in inches, without the upper and right line."""
    width, height = figure.get_size_inches()
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(box, facecolor="none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(labelsize=SMALL, colors=MUTED, labelcolor=INK, width=0.8, length=3)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, fontsize=NORMAL, fontweight="bold", color=INK, loc="left", pad=6)
    return axes


def add_grid(axes: Axes, axis: Any) -> None:
    """Draw thin lines at the ticks of one axis."""
    axes.grid(axis=axis, color=GRID, linewidth=0.7)


def label_axes(axes: Axes, *, x: str = "", y: str = "") -> None:
    """Name the axes, with units."""
    if x:
        axes.set_xlabel(x, fontsize=SMALL, color=MUTED, labelpad=4)
    if y:
        axes.set_ylabel(y, fontsize=SMALL, color=MUTED, labelpad=4)


def label_ends(axes: Axes, ends: Iterable[tuple[float, str, str]], *, x: float) -> None:
    """Write (value, text, colour) right of the curves' ends, moved apart where they would overlap."""
    chosen = sorted(ends)
    low, high = axes.get_ylim()
    height_points = float(axes.get_window_extent().height) * 72 / axes.figure.dpi
    gap = (SMALL + 1.5) / height_points * (high - low)
    places: list[float] = []
    for value, _, _ in chosen:
        places.append(max(value, places[-1] + gap) if places else value)
    # Half of what they were pushed upwards goes back down, so that the whole stays centred.
    shift = (sum(places) - sum(value for value, _, _ in chosen)) / max(1, len(chosen))
    for place, (_, text, colour) in zip(places, chosen, strict=True):
        axes.annotate(
            text,
            (x, place - shift),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=SMALL,
            color=colour,
            va="center",
            annotation_clip=False,
        )


def draw(figure: Figure, *, name: str, title: str, alt: str) -> Drawing:
    """Return a figure's SVG and PNG."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    svg = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        save(figure, svg, format="svg", metadata={"Date": None}, dpi=PNG_DPI)
    return Drawing(
        name=name,
        title=title,
        alt=alt,
        svg=svg.getvalue(),
        png=png_bytes(figure, dpi=PNG_DPI),
        width_px=round(float(figure.get_size_inches()[0]) * 96),
    )


def text_width_in(texts: Iterable[str], size: float = SMALL) -> float:
    """Return about how wide the widest text is, in inches."""
    return max((len(line) for text in texts for line in text.split("\n")), default=0) * size * 0.6 / 72


def shortened(text: str, letters: int = 28) -> str:
    """Return a text of at most so many letters: a folder's name may be longer than a figure is wide."""
    return text if len(text) <= letters else text[: letters - 1] + "\u2026"


def _escape(text: str) -> str:
    for mark, written in (("&", "&amp;"), ('"', "&quot;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, written)
    return text
