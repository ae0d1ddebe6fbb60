"""Event recordings in a chunk: ragged columns `x`, `y`, `t`, `p`; `sensor` i32[L, 2], width and height."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.chunk import Chunk, Ragged
from pipelines.decode.events import Recording
from pipelines.events import Events

RAGGED = ("x", "y", "t", "p")
_TYPES = {"x": np.int32, "y": np.int32, "t": np.int64, "p": np.uint8}


def event_columns(recording: Recording) -> dict[str, NDArray[Any]]:
    """Return one recording as the columns of a sample."""
    columns: dict[str, NDArray[Any]] = {name: getattr(recording, name) for name in RAGGED}
    return columns | {"sensor": np.array([recording.width, recording.height], np.int32)}


def blank_columns(width: int, height: int) -> dict[str, NDArray[Any]]:
    """Return the columns of a recording without events."""
    types = {"x": np.uint16, "y": np.uint16, "t": np.int64, "p": np.uint8}
    columns: dict[str, NDArray[Any]] = {name: np.zeros(0, kind) for name, kind in types.items()}
    return columns | {"sensor": np.array([width, height], np.int32)}


def join_events(parts: Sequence[tuple[Chunk, int]], *, pin: bool = False) -> Events:
    """Return the recordings of samples, each named by chunk and place, in memory of their own."""
    counts = [len(_column(chunk, "t")[sample]) for chunk, sample in parts]
    offsets = torch.from_numpy(np.cumsum([0, *counts]))
    columns: dict[str, torch.Tensor] = {}
    for name in RAGGED:
        joined = torch.empty(int(offsets[-1]), dtype=_torch_type(_TYPES[name]), pin_memory=pin)
        target, start = joined.numpy(), 0
        for (chunk, sample), count in zip(parts, counts, strict=True):
            target[start : start + count] = _column(chunk, name)[sample]
            start += count
        columns[name] = joined
    width, height = (int(value) for value in parts[0][0].columns["sensor"][parts[0][1]])
    return Events(**columns, offsets=offsets, width=width, height=height)


def recording_at(chunk: Chunk, sample: int) -> Recording:
    """Return one sample of a chunk; its columns are views of the chunk's memory."""
    width, height = (int(value) for value in chunk.columns["sensor"][sample])
    columns = {name: _column(chunk, name)[sample] for name in RAGGED}
    return Recording(**columns, width=width, height=height)


def _column(chunk: Chunk, name: str) -> Ragged:
    column = chunk.columns[name]
    assert isinstance(column, Ragged)
    return column


def _torch_type(kind: Any) -> torch.dtype:
    return torch.from_numpy(np.empty(0, kind)).dtype
