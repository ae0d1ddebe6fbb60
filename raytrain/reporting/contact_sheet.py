"""A contact sheet: what every operator makes of some samples, one row a sample, one column a picture."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.storage.places import Storage
from raytrain.reporting.figures.png import png_bytes

Float32s = NDArray[np.float32]
UInt8s = NDArray[np.uint8]

_NUM_ORIENTATIONS = 6
_MAX_CODES = 64
_CELL_INCHES = 1.1
_DPI = 120
# Hues around the circle, because 0 and 180 degrees are the same orientation.
_ORIENTATION_COLOURS = 0.5 + 0.5 * np.cos(
    2 * np.pi * (np.arange(_NUM_ORIENTATIONS)[:, None] / _NUM_ORIENTATIONS - np.array([0, 1 / 3, 2 / 3]))
)


@dataclass(frozen=True)
class _Column:
    title: str
    note: str
    pictures: Float32s
    """f32[N, H, W, 3] in 0..1"""


def contact_sheet(
    images: UInt8s, columns: dict[str, Float32s], path: str, *, row_titles: list[str] | None = None
) -> None:
    """Write a PNG with a row for each image and a column or two for each operator.

    One channel is shown as grey (a few codes: by rank), two as r, g, 1 - r - g, three as colours; oriented
    magnitudes (6 for each colour and level, with or without 3 low-pass channels before them) as colours of
    their orientation. Brightness is stretched alike over a column, so its rows can be compared.

    Shapes: `images` u8[N, 3, H, W]; `columns` name -> f32[N, C, H, W]; `row_titles` N.

    Raises:
        ValueError: no images, or a column with another number of samples.
        StorageError: the disk is full or the place cannot be written.
    """
    if len(images) == 0:
        raise ValueError("a contact sheet needs at least one image")
    shown = [
        _Column("sample", f"{images.shape[2]} x {images.shape[3]}", _channels_last(images) / np.float32(255))
    ]
    for name, maps in columns.items():
        if maps.ndim != 4 or len(maps) != len(images):
            raise ValueError(f"column {name!r} has shape {maps.shape}; expected ({len(images)}, C, H, W)")
        shown += _columns_of(name, np.asarray(maps, np.float32))
    figure = _draw(shown, len(images), row_titles or [])
    target = Path(path).absolute()
    Storage(str(target.parent)).write_atomic(target.name, png_bytes(figure, dpi=_DPI))


def pictures_of(maps: Float32s) -> Iterator[tuple[str, Float32s]]:
    """Yield (what it shows, pictures f32[N, H, W, 3] in 0..1) of an operator's maps f32[N, C, H, W]."""
    for column in _columns_of("", np.asarray(maps, np.float32)):
        yield ("" if maps.shape[1] <= 3 else column.note.partition(",")[0]), column.pictures


def _columns_of(name: str, maps: Float32s) -> Iterator[_Column]:
    channels = maps.shape[1]
    note = f"{channels} channel{'s' if channels > 1 else ''}"
    lowpass, bands = _split_bands(maps)
    if channels == 1:
        yield _Column(name, note, np.repeat(_channels_last(_grey(maps)), 3, axis=3))
    elif channels == 2:
        third = 1 - maps.sum(axis=1, keepdims=True)
        yield _Column(
            name, f"{note}: r, g, 1-r-g", _channels_last(_brighten(np.concatenate([maps, third], axis=1)))
        )
    elif channels == 3:
        yield _Column(name, note, _channels_last(_stretch(maps)))
    elif bands is None:
        strength = np.sqrt((maps**2).mean(axis=1, keepdims=True))
        yield _Column(
            name, f"{note}: root mean square", np.repeat(_channels_last(_stretch(strength)), 3, axis=3)
        )
    else:
        if lowpass is not None:
            yield _Column(name, "low-pass, 3 channels", _channels_last(_stretch(lowpass)))
        for level, oriented in enumerate(np.moveaxis(bands, 1, 0), start=1):
            note = f"level {level}, {oriented.shape[1] * oriented.shape[2]} channels"
            yield _Column(name, note, _channels_last(_colour_by_orientation(oriented)))


def _split_bands(maps: Float32s) -> tuple[Float32s | None, Float32s | None]:
    """Return low-pass f32[N, 3, H, W] and magnitudes f32[N, levels, 3, 6, H, W], or None."""
    num_samples, channels, height, width = maps.shape
    size = 3 * _NUM_ORIENTATIONS
    first = channels % size
    if channels < size or first not in (0, 3):
        return None, None
    bands = maps[:, first:].reshape(num_samples, channels // size, 3, _NUM_ORIENTATIONS, height, width)
    return (maps[:, :3] if first else None), bands


def _colour_by_orientation(bands: Float32s) -> Float32s:
    """Return f32[N, 3, H, W]: hue says which orientation is strong, brightness how strong."""
    strength = bands.mean(axis=1)
    mixed = np.einsum("nohw,oc->nchw", strength, _ORIENTATION_COLOURS.astype(np.float32))
    # The square root, because few edges are far stronger than the rest.
    return np.sqrt(_brighten(mixed))


def _grey(maps: Float32s) -> Float32s:
    """Return one channel in 0..1; codes such as local binary patterns crowd near 0, so show their rank."""
    codes, ranks = np.unique(maps, return_inverse=True)
    if len(codes) == 1 or len(codes) > _MAX_CODES:
        return _stretch(maps)
    return np.asarray(ranks.reshape(maps.shape) / (len(codes) - 1), np.float32)


def _stretch(maps: Float32s) -> Float32s:
    """Map the 1st..99th percentile of a column to 0..1."""
    low, high = (float(value) for value in np.percentile(maps, [1, 99]))
    return np.asarray(np.clip((maps - low) / max(high - low, 1e-6), 0, 1), np.float32)


def _brighten(maps: Float32s) -> Float32s:
    """Scale a column so that its 99th percentile is 1; zero stays zero."""
    return np.asarray(np.clip(maps / max(float(np.percentile(maps, 99)), 1e-6), 0, 1), np.float32)


def _channels_last(maps: NDArray[np.generic]) -> Float32s:
    return np.asarray(maps.transpose(0, 2, 3, 1), np.float32)


def _draw(shown: list[_Column], num_rows: int, row_titles: list[str]) -> Figure:
    margin = 1.1 if row_titles else 0.15
    width = margin + _CELL_INCHES * len(shown) + 0.15
    height = 0.55 + _CELL_INCHES * num_rows + 0.1
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        num_rows,
        len(shown),
        left=margin / width,
        right=1 - 0.15 / width,
        top=1 - 0.55 / height,
        bottom=0.1 / height,
        wspace=0.06,
        hspace=0.06,
    )
    for number, column in enumerate(shown):
        for row in range(num_rows):
            axes = figure.add_subplot(grid[row, number])
            axes.imshow(column.pictures[row], interpolation="nearest", aspect="equal")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if row == 0:
                axes.set_title(column.note, fontsize=5.5, color="0.45", pad=3)
                axes.annotate(
                    column.title,
                    (0.5, 1.0),
                    xytext=(0, 13),
                    textcoords="offset points",
                    xycoords="axes fraction",
                    ha="center",
                    fontsize=9,
                    fontweight="bold",
                )
            if number == 0 and row < len(row_titles):
                axes.set_ylabel(
                    row_titles[row], fontsize=7, rotation=0, ha="right", va="center", labelpad=6, color="0.25"
                )
    return figure
