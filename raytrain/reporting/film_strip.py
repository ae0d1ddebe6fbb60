"""Film strips: of some clips, one strip of frames for each pathway's view of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.storage.places import Storage
from raytrain.reporting.contact_sheet import pictures_of
from raytrain.reporting.figures.png import png_bytes

Float32s = NDArray[np.float32]

MAX_FRAMES = 8
_FRAME_INCHES = 0.95
_DPI = 120
_GAP_PX = 2


@dataclass(frozen=True, kw_only=True)
class Strips:
    """What one pathway sees of every clip."""

    title: str
    maps: Float32s
    """f32[N, T, C, H, W]"""
    notes: Sequence[str] = ()
    """a line for each clip, e.g. the known motion"""


def film_strips(strips: Sequence[Strips], keys: Sequence[str], path: Path) -> None:
    """Write a PNG with a group of strips for each clip, at most MAX_FRAMES frames of each in time's order.

    Channels are shown as in a contact sheet; brightness is stretched alike over all strips of a pathway.

    Raises:
        StorageError: the disk is full or the place cannot be written.
    """
    rows = [(title, notes, _chosen(shown)) for made in strips for title, notes, shown in _shown(made)]
    figure = _draw(rows, keys)
    Storage(str(path.absolute().parent)).write_atomic(path.name, png_bytes(figure, dpi=_DPI))


def _shown(strips: Strips) -> list[tuple[str, Sequence[str], Float32s]]:
    """Return (title, notes, pictures f32[N, T, H, W, 3]) of each picture that a pathway's maps make."""
    shape = strips.maps.shape[:2]
    return [
        (f"{strips.title} {part}".strip(), strips.notes, pictures.reshape(*shape, *pictures.shape[1:]))
        for part, pictures in pictures_of(strips.maps.reshape(-1, *strips.maps.shape[2:]))
    ]


def _chosen(pictures: Float32s) -> Float32s:
    """Return the strips as one wide picture a clip, f32[N, H, W', 3], white between the frames."""
    num_frames = pictures.shape[1]
    places = np.unique(np.linspace(0, num_frames - 1, min(num_frames, MAX_FRAMES)).round().astype(np.int64))
    chosen = pictures[:, places]
    gap = np.ones((*chosen.shape[:3], _GAP_PX, 3), np.float32)
    framed = np.concatenate([chosen, gap], axis=3).transpose(0, 2, 1, 3, 4)
    return np.asarray(framed.reshape(*framed.shape[:2], -1, 3), np.float32)


def _draw(rows: list[tuple[str, Sequence[str], Float32s]], keys: Sequence[str]) -> Figure:
    num_frames = max(round(wide.shape[2] / (wide.shape[1] + _GAP_PX)) for *_, wide in rows)
    margin, group = 1.5, _FRAME_INCHES * len(rows) + 0.34
    width, height = margin + _FRAME_INCHES * num_frames + 0.1, group * len(keys) + 0.1
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    for number, key in enumerate(keys):
        top = height - 0.05 - number * group
        figure.text(0.1 / width, (top - 0.2) / height, key, fontsize=8, fontweight="bold")
        for place, (title, notes, wide) in enumerate(rows):
            bottom = top - 0.3 - (place + 1) * _FRAME_INCHES
            strip = (
                margin / width,
                bottom / height,
                1 - (margin + 0.1) / width,
                0.95 * _FRAME_INCHES / height,
            )
            axes = figure.add_axes(strip)
            axes.imshow(wide[number], interpolation="nearest", aspect="equal")
            axes.set_anchor("W")
            axes.axis("off")
            note = f"\n{notes[number]}" if notes else ""
            middle = (bottom + 0.48 * _FRAME_INCHES) / height
            figure.text(
                (margin - 0.1) / width,
                middle,
                title + note,
                fontsize=7,
                ha="right",
                va="center",
                color="0.25",
            )
    return figure
