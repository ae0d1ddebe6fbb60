"""The batch: what one step of a pathway reads, copied out of the stream's shared memory."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.chunk import Chunk
from pipelines.order import BatchPlan, Cursor


@dataclass(frozen=True, kw_only=True)
class ImageBatch:
    """A rank's share of one batch of images, in ascending position order.

    Shapes: `images` u8[B, 3, H, W]; everything else one entry a sample.
    """

    epoch: int
    step: int
    """number of the batch in its epoch"""
    keys: list[str]
    key_hashes: NDArray[np.uint64]
    positions: NDArray[np.int64]
    valid: NDArray[np.bool_]
    """False where a quarantined sample's place was filled by a neighbour"""
    groups: NDArray[np.int64]
    labels: Tensor
    """i64[B]; -1: none"""
    factors: Tensor
    """f32[B, F]; F = 0 where the data set has none"""
    images: Tensor
    label_sets: Tensor = field(default_factory=lambda: torch.zeros((0, 0), dtype=torch.uint8))
    """u8[B, L] of 0 and 1; L = 0 where a sample has one class at most"""
    operated: dict[str, Tensor] = field(default_factory=dict)
    """outputs of operators placed in the stream, by view name"""

    def __post_init__(self) -> None:
        if len(self.label_sets) != len(self.keys):
            object.__setattr__(self, "label_sets", torch.zeros((len(self.keys), 0), dtype=torch.uint8))

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device) -> "ImageBatch":
        """Return the batch with its tensors on `device`; on the same device itself."""
        if self.images.device == device:
            return self
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ("labels", "factors", "images", "label_sets")
        }
        operated = {name: value.to(device, non_blocking=True) for name, value in self.operated.items()}
        return replace(self, **moved, operated=operated)


class BatchReader:
    """Cuts a rank's batches out of its lanes' chunks, each copied into memory of its own.

    The copy is needed: chunks are shared memory, and an operation in place would corrupt every other pathway.

    Args:
        plan: which positions this rank reads.
        take: returns a chunk by number; called once for each, in ascending order.
        pin: page-locked buffers, for copies to a GPU.
    """

    def __init__(self, plan: BatchPlan, take: Callable[[int], Chunk], *, pin: bool = False) -> None:
        self._plan, self._take, self._pin = plan, take, pin
        self._open: dict[int, Chunk] = {}

    def read(self, cursor: Cursor, view: str = "") -> ImageBatch:
        """Return the batch at a cursor; `view` names the stream-placed operator output that is wanted too."""
        positions = self._plan.positions(cursor.step)
        numbers, offsets = self._plan.chunks.locate(cursor.epoch, positions)
        needed = [int(number) for number in np.unique(numbers)]
        self._open = {number: chunk for number, chunk in self._open.items() if number >= needed[0]}
        for number in needed:
            if number not in self._open:
                self._open[number] = self._take(number)
        parts = [(self._open[number], np.flatnonzero(numbers == number)) for number in needed]
        return self._copy(cursor, positions, [(chunk, here, offsets[here]) for chunk, here in parts], view)

    def _copy(
        self, cursor: Cursor, positions: NDArray[np.int64], parts: list[tuple[Chunk, Any, Any]], view: str
    ) -> ImageBatch:
        def gather(name: str) -> NDArray[Any]:
            first = getattr(parts[0][0], name)
            joined = np.empty((len(positions), *first.shape[1:]), first.dtype)
            for chunk, here, offsets in parts:
                joined[here] = getattr(chunk, name)[offsets]
            return joined

        def gather_tensor(arrays: list[NDArray[Any]]) -> Tensor:
            shape, dtype = arrays[0].shape[1:], torch.from_numpy(np.empty(0, arrays[0].dtype)).dtype
            joined = torch.empty((len(positions), *shape), dtype=dtype, pin_memory=self._pin)
            target = joined.numpy()
            for array, (_, here, offsets) in zip(arrays, parts, strict=True):
                target[here] = array[offsets]
            return joined

        keys = [""] * len(positions)
        for chunk, here, offsets in parts:
            for place, offset in zip(here, offsets, strict=True):
                keys[place] = chunk.keys[offset]
        return ImageBatch(
            epoch=cursor.epoch,
            step=cursor.step,
            keys=keys,
            positions=positions,
            key_hashes=gather("key_hashes"),
            valid=gather("valid"),
            groups=gather("groups"),
            labels=gather_tensor([chunk.labels for chunk, *_ in parts]),
            factors=gather_tensor([chunk.factors for chunk, *_ in parts]),
            images=gather_tensor([chunk.images for chunk, *_ in parts]),
            label_sets=gather_tensor([chunk.label_sets for chunk, *_ in parts]),
            operated={view: gather_tensor([chunk.operated[view] for chunk, *_ in parts])} if view else {},
        )
