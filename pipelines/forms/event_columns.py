"""Event recordings in a chunk: ragged columns `x`, `y`, `t`, `p`; `sensor` i32[L, 2], width and height.

No torch: decode tasks import this.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.chunk import Chunk, Ragged
from pipelines.forms.recording import Recording

RAGGED = ("x", "y", "t", "p")


def event_columns(recording: Recording) -> dict[str, NDArray[Any]]:
    """Return one recording as the columns of a sample."""
    columns: dict[str, NDArray[Any]] = {name: getattr(recording, name) for name in RAGGED}
    return columns | {"sensor": np.array([recording.width, recording.height], np.int32)}


def blank_columns(width: int, height: int) -> dict[str, NDArray[Any]]:
    """Return the columns of a recording without events."""
    types = {"x": np.uint16, "y": np.uint16, "t": np.int64, "p": np.uint8}
    columns: dict[str, NDArray[Any]] = {name: np.zeros(0, kind) for name, kind in types.items()}
    return columns | {"sensor": np.array([width, height], np.int32)}


def recording_at(chunk: Chunk, sample: int) -> Recording:
    """Return one sample of a chunk; its columns are views of the chunk's memory."""
    width, height = (int(value) for value in chunk.columns["sensor"][sample])
    x, y, t, p = (column_of(chunk, name)[sample] for name in ("x", "y", "t", "p"))
    return Recording(x=x, y=y, t=t, p=p, width=width, height=height)


def column_of(chunk: Chunk, name: str) -> Ragged:
    """Return one of the ragged columns of a chunk of recordings."""
    column = chunk.columns[name]
    assert isinstance(column, Ragged)
    return column
