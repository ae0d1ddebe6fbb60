"""What a kind of samples must say of itself; all that differs between images, clips and recordings.

No torch where this is imported: decode tasks do. What needs it imports it when called.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.chunk import Chunk
from pipelines.forms.clips import ClipPlanner
from pipelines.forms.quarantine import Fate
from pipelines.forms.recording import Recording
from pipelines.modalities.parts import Part, num_samples
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from pipelines.storage.rows import Row
from raytrain.config.cuts import ModalityName
from raytrain.config.data import DataConfig
from raytrain.config.pathway import PathwayConfig
from raytrain.config.run import RunConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pipelines.views.events import Events, Room

    Pixels = Tensor | Events
    """what some samples show: u8[B, ..., 3, H, W], or recordings of events"""


@dataclass(frozen=True)
class DecodedSample:
    """One decoded sample, as the columns of a chunk without their first dimension."""

    columns: dict[str, NDArray[Any]]
    notes: tuple[str, ...] = ()
    """what is counted of it, e.g. `short`"""
    valid: bool = True


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What one sample turned out to be."""

    row: int = -1
    payload: bytes = b""
    checksum: str = ""
    width: int = 0
    height: int = 0
    image: NDArray[np.uint8] | None = None
    """u8[3, canvas, canvas]; of a clip the frame in its middle"""
    num_frames: int = 1
    num_lead: int = 0
    """frames of a clip before its first key frame, which cannot be decoded"""
    duration_s: float = 0.0
    """of a clip or recording, from its first to its last frame or event"""
    recording: Recording | None = None
    """of events"""
    reason: str = ""
    """why the sample is bad; empty: it is good"""
    fate: Fate | Literal[""] = ""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """What a pathway takes of a batch's samples."""

    pixels: "Pixels"
    motion: "Tensor | None" = None
    """i64[B, 2], kind and speed, where the pathway asked for clips of known motion"""


class Modality(ABC):
    """A kind of samples: how one is read, left blank, joined to others, drawn and spoken of."""

    name: ClassVar[ModalityName]
    purpose: ClassVar[str]
    """what such samples are and what takes them, in one line"""
    ragged: ClassVar[tuple[str, ...]] = ()
    """columns of which each sample has its own number of values"""
    standardiser_samples: ClassVar[int] = 1024
    """positions that an operator's mean and deviation are estimated from"""
    piece_samples: ClassVar[int] = 64
    """samples operated on at a time there: bounds memory"""

    has_lengths: ClassVar[bool] = False
    """a sample has frames, whose number `inspect` tells"""
    can_cache: ClassVar[bool] = False
    """data.cache keeps decoded samples: every epoch takes the same of them"""
    can_export: ClassVar[bool] = False
    """pathways become one graph from bytes to representation"""
    in_strips: ClassVar[bool] = False
    """drawn as strips of frames, as the pathways see them"""
    has_movie: ClassVar[bool] = False
    """also drawn as a moving picture"""
    sections: ClassVar[tuple[str, ...]] = ()
    """parts of the report that only this kind has"""

    wanted: ClassVar[str]
    """settings that take such samples, e.g. `cut patches`"""
    unit: ClassVar[str]
    """what a representation has a vector for"""
    axes: ClassVar[Mapping[str, tuple[str, str]]]
    """by cut: what an encoder sees, and the names of its dimensions"""
    size_setting: ClassVar[str]
    """which settings make what an encoder sees larger"""
    caption: ClassVar[str]
    """below the sheet of what the operators make"""

    @abstractmethod
    def read(
        self, row: Row, storage: Storage, data: DataConfig, *, planner: ClipPlanner | None, epoch: int
    ) -> DecodedSample:
        """Return a row's sample.

        Raises:
            BadSample: missing, changed, or broken.
            StorageError: storage failed for longer than the retries.
        """

    @abstractmethod
    def blank(
        self, data: DataConfig, *, sensor: tuple[int, int], planner: ClipPlanner | None, epoch: int
    ) -> DecodedSample:
        """Return a sample that shows nothing, for a chunk without any good one."""

    @abstractmethod
    def examine(self, row: Row, storage: Storage, data: DataConfig) -> Examined:
        """Return what a row's sample turns out to be when it is opened whole.

        Raises: as `read`.
        """

    def prepared_by(self, manifest: Manifest, data: DataConfig, shards: str) -> dict[str, Any]:
        """Return which settings of this kind decide what `prepare` writes.

        Raises:
            ConfigError: such samples cannot be packed so.
        """
        return {}

    def request(self, pathway: PathwayConfig) -> str:
        """Return the name of what a pathway takes of a sample; "": the whole."""
        return ""

    def planner(self, config: RunConfig, names: Collection[str], *, train: bool = True) -> ClipPlanner | None:
        """Return who says which frames some pathways take; None: samples are taken whole."""
        return None

    def settled(self, config: RunConfig, manifest: Manifest) -> RunConfig:
        """Return the settings with what only the data tell."""
        return config

    @abstractmethod
    def sample_bytes(self, config: RunConfig, names: Collection[str], manifest: Manifest) -> int:
        """Return the most bytes that one decoded sample takes, as some pathways ask for it."""

    @abstractmethod
    def join(self, parts: Sequence[Part], request: str, room: "Room") -> Joined:
        """Return what a request takes of a batch's samples, in memory that `room` gives."""

    @abstractmethod
    def pieces(self, chunk: Chunk, pathway: PathwayConfig, *, size: int) -> Iterator["Pixels"]:
        """Yield what a pathway takes of a chunk, at most `size` samples at a time, in memory of their own."""

    @abstractmethod
    def empty(self, pathway: PathwayConfig, *, canvas_px: int, sensor: tuple[int, int]) -> "Pixels":
        """Return one sample as the pathway reads it that shows nothing."""

    def amounts(self, pixels: "Pixels") -> dict[str, int]:
        """Return how much some samples are, by what is counted."""
        return {"samples": len(pixels)}

    @abstractmethod
    def floor(self, pixels: "Pixels") -> "Tensor":
        """Return maps that need no operator, the probes' floor: f32[B, C, H, W], or with a T behind B."""

    @abstractmethod
    def pictures(self, pixels: "Pixels") -> NDArray[np.uint8]:
        """Return one picture a sample, u8[B, 3, H, W]."""

    def operated(self, config: RunConfig, pixels: "Pixels") -> dict[str, NDArray[np.float32]]:
        """Return what each operator makes of whole samples, to be drawn: f32[B, C, H, W] by its name."""
        return {}

    @abstractmethod
    def watched(self, pixels: "Pixels") -> tuple[str, "Tensor"]:
        """Return the numbers by which samples are told to be in order, and what they are."""

    @abstractmethod
    def words(self, pixels: "Pixels") -> str:
        """Return in words how much some samples are."""


def gather(name: str, columns: Sequence[NDArray[Any]], parts: Sequence[Part], room: "Room") -> "Tensor":
    """Return a column [L, ...] of each part's chunk as one of the batch, [B, ...]."""
    joined = room_like(name, (num_samples(parts), *columns[0].shape[1:]), columns[0].dtype, room)
    target = joined.numpy()
    for part, column in zip(parts, columns, strict=True):
        part.copy(column, target)
    return joined


def room_like(name: str, shape: tuple[int, ...], dtype: "np.dtype[Any]", room: "Room") -> "Tensor":
    """Return room for values of a numpy dtype."""
    return room(name, shape, _torch_dtype(dtype))


@cache
def _torch_dtype(dtype: "np.dtype[Any]") -> "torch.dtype":
    import torch

    return torch.from_numpy(np.empty(0, dtype)).dtype
