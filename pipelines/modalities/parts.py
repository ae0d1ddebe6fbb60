"""The samples of a batch that lie in one chunk, and their copy: one plain copy wherever they lie in a row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.chunk import Chunk

Int64s = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """Samples of a chunk, in ascending order, and where they go in the batch."""

    chunk: Chunk
    here: Int64s
    """places in the batch"""
    offsets: Int64s
    """places in the chunk, each once"""

    def copy(self, source: NDArray[Any], target: NDArray[Any]) -> None:
        """Copy the samples' values from a column of the chunk [L, ...] to one of the batch [B, ...].

        By slices, which take half to an eighth of the time of lists of places: the positions of a batch lie
        in a row in their chunk, or, where it has several lanes, in pairs at equal distances in the batch.
        """
        if self._stride is None:
            target[self.here] = source[self.offsets]
            return
        first, last = int(self.offsets[0]), int(self.offsets[-1]) + 1
        if self._stride == 1:
            target[self.here[0] : self.here[-1] + 1] = source[first:last]
            return
        pairs = _pairs(target[self.here[0] : self.here[-1] + 1], len(self.here) // 2, self._stride)
        pairs[:] = source[first:last].reshape(pairs.shape)

    def copy_list(self, source: list[str], target: list[str]) -> None:
        """Copy the samples' values from a list of the chunk's to one of the batch's."""
        if self._stride == 1:
            target[self.here[0] : self.here[-1] + 1] = source[self.offsets[0] : self.offsets[-1] + 1]
            return
        for place, offset in self.items():
            target[place] = source[offset]

    def items(self) -> Iterator[tuple[int, int]]:
        """Yield (place in the batch, place in the chunk) of each sample."""
        return zip(self.here.tolist(), self.offsets.tolist(), strict=True)

    @cached_property
    def _stride(self) -> int | None:
        """1: all in a row; more: from pair to pair in the batch, in a row in the chunk; None: otherwise."""
        # Both ascend, so that their ends say whether they lie in a row.
        if self.offsets[-1] - self.offsets[0] != len(self.offsets) - 1:
            return None
        if self.here[-1] - self.here[0] == len(self.here) - 1:
            return 1
        steps = np.diff(self.here)
        if len(self.here) % 2 or not (steps[::2] == 1).all() or (steps[1::2] != steps[1]).any():
            return None
        return int(steps[1]) + 1


def _pairs(rows: NDArray[Any], count: int, stride: int) -> NDArray[Any]:
    """Return the first two of every `stride` rows as a view [count, 2, ...]; the last pair ends the rows."""
    size = rows.strides[0]
    return np.lib.stride_tricks.as_strided(
        rows, (count, 2, *rows.shape[1:]), (stride * size, size, *rows.strides[1:])
    )


def num_samples(parts: Sequence[Part]) -> int:
    """Return how many samples a batch of these parts has."""
    return sum(len(part.here) for part in parts)


def places_of(parts: Sequence[Part]) -> list[tuple[Chunk, int]]:
    """Return the chunk and the place in it of every sample of a batch."""
    found: list[tuple[Chunk, int]] = [(parts[0].chunk, 0)] * num_samples(parts)
    for part in parts:
        for place, offset in part.items():
            found[place] = (part.chunk, offset)
    return found
