"""Clips: of each the frames that the pathways ask for, u8[T, 3, canvas, canvas] a pathway."""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipelines.forms import clip_columns
from pipelines.forms.chunk import Chunk
from pipelines.forms.clips import LARGE, ClipMeta, ClipPlanner, FramePlan, request_name
from pipelines.modalities.base import DecodedSample, Examined, Joined, Modality, room_like
from pipelines.modalities.parts import Part, places_of
from pipelines.storage.manifest import Manifest
from pipelines.storage.payload import checksum
from pipelines.storage.places import Storage
from pipelines.storage.rows import Row
from raytrain.config.cuts import ClipSettings, MotionConfig
from raytrain.config.data import DataConfig
from raytrain.config.pathway import PathwayConfig
from raytrain.config.run import RunConfig
from raytrain.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.modalities.base import Pixels
    from pipelines.views.events import Room

_VOLUME = ("volumes", "1, clips, 1, channels, times, px, px")


class ClipModality(Modality):
    """Clips. The columns of a chunk: see `pipelines.forms.clip_columns`."""

    name = "clip"
    purpose = (
        "Videos, or folders of frames: where time or motion matters; taken by cuts frames, volume, motion"
    )
    ragged = clip_columns.RAGGED
    standardiser_samples = 64  # of many frames each
    piece_samples = 4
    has_lengths = True
    in_strips = True
    wanted = "cut frames, volume or motion"
    unit = "frame"
    axes: ClassVar = {
        "frames": ("frames", "times, clips, 1, channels, px, px"),
        "volume": _VOLUME,
        "motion": _VOLUME,
    }
    size_setting = "data.canvas_px or crop_px"
    caption = (
        "The first training clips as the pathways see them in their first epoch; brightness is stretched "
        "alike over all strips of a pathway."
    )

    def read(
        self, row: Row, storage: Storage, data: DataConfig, *, planner: ClipPlanner | None, epoch: int
    ) -> DecodedSample:
        """Return the frames of a row's clip that the planner's requests take."""
        from pipelines.decode.read_clip import read_clip  # PyAV and decord are imported for clips only

        assert planner is not None, "a run of clips has a planner"
        return DecodedSample(*read_clip(row, storage, data, planner=planner, epoch=epoch))

    def blank(
        self, data: DataConfig, *, sensor: tuple[int, int], planner: ClipPlanner | None, epoch: int
    ) -> DecodedSample:
        """Return a clip of black frames."""
        assert planner is not None, "a run of clips has a planner"
        return DecodedSample(clip_columns.blank_columns(planner, data.canvas_px, epoch=epoch))

    def examine(self, row: Row, storage: Storage, data: DataConfig) -> Examined:
        """Decode a clip's first, middle and last frame: a file that is cut off lacks the last."""
        from pipelines.decode.read_clip import decode_row

        clip, payload = decode_row(row, storage, data, _three_frames)
        return Examined(
            payload=payload,
            checksum=checksum(payload) if payload else "",
            width=clip.meta.width,
            height=clip.meta.height,
            image=clip.frames[len(clip.frames) // 2],
            num_frames=clip.meta.num_frames,
            num_lead=clip.meta.num_lead,
            duration_s=float(clip.meta.times_s[-1]),
        )

    def prepared_by(self, manifest: Manifest, data: DataConfig, shards: str) -> dict[str, Any]:
        """Return {}; ConfigError for shards of canvases."""
        if shards == "uint8":
            raise ConfigError(
                "--shards uint8 is for images: a run takes other frames of a clip in each epoch"
            )
        return {}

    def request(self, pathway: PathwayConfig) -> str:
        """Return the name of the frames that a pathway takes."""
        return request_name(_cut(pathway))

    def planner(self, config: RunConfig, names: Collection[str], *, train: bool = True) -> ClipPlanner | None:
        """Return who says which frames some pathways take."""
        epochs: dict[str, int] = {}
        for name in names if train else ():
            request = self.request(config.pathways[name])
            epochs[request] = max(epochs.get(request, 0), config.epochs(name))
        return ClipPlanner(requests=_requests(config, names), seed=config.seed, train=train, epochs=epochs)

    def sample_bytes(self, config: RunConfig, names: Collection[str], manifest: Manifest) -> int:
        """Return the bytes of all frames that the distinct requests take at most."""
        return (
            3
            * config.data.canvas_px**2
            * sum(
                cut.num_frames
                * (LARGE**2 if isinstance(cut, MotionConfig) and cut.scene_view == "window" else 1)
                for cut in _requests(config, names).values()
            )
        )

    def join(self, parts: Sequence[Part], request: str, room: "Room") -> Joined:
        """Return the frames that a request takes, u8[B, T, 3, H, W], and the motion where it is known."""
        places = places_of(parts)
        shape = clip_columns.clip_shape(parts[0].chunk, request)
        frames = room_like("frames", (len(places), *shape), np.dtype(np.uint8), room)
        motions = room_like("motion", (len(places), 2), np.dtype(np.int64), room)
        target, moved, known = frames.numpy(), motions.numpy(), False
        for place, (chunk, offset) in enumerate(places):
            clip_columns.copy_clip(chunk, offset, request, target[place])
            motion = clip_columns.motion_of(chunk, offset, request)
            if motion is not None:
                known, moved[place] = True, motion
        return Joined(pixels=frames, motion=motions if known else None)

    def pieces(self, chunk: Chunk, pathway: PathwayConfig, *, size: int) -> Iterator["Pixels"]:
        """Yield u8[n, T, 3, H, W]."""
        import torch

        clips = clip_columns.read_clips(chunk, self.request(pathway))
        for start in range(0, len(chunk), size):
            yield torch.from_numpy(clips[start : start + size].copy())

    def empty(self, pathway: PathwayConfig, *, canvas_px: int, sensor: tuple[int, int]) -> "Pixels":
        """Return a black clip, u8[1, T, 3, canvas, canvas]."""
        import torch

        return torch.zeros(1, _cut(pathway).num_frames, 3, canvas_px, canvas_px, dtype=torch.uint8)

    def floor(self, pixels: "Pixels") -> "Tensor":
        """Return the pixels from 0 to 1, f32[B, T, 3, H, W]."""
        return _clips(pixels) / 255

    def pictures(self, pixels: "Pixels") -> NDArray[np.uint8]:
        """Return the frame in the middle of each clip."""
        clips = _clips(pixels)
        shown: NDArray[np.uint8] = clips[:, clips.shape[1] // 2].cpu().numpy()
        return shown

    def watched(self, pixels: "Pixels") -> tuple[str, "Tensor"]:
        """Return the bytes."""
        return "images", _clips(pixels)

    def words(self, pixels: "Pixels") -> str:
        """Return e.g. `uint8 [8, 16, 3, 64, 64]`."""
        return f"uint8 {list(_clips(pixels).shape)}"


def _cut(pathway: PathwayConfig) -> ClipSettings:
    assert isinstance(pathway.cut, ClipSettings), "refused by the settings"
    return pathway.cut


def _requests(config: RunConfig, names: Collection[str]) -> dict[str, ClipSettings]:
    """Return the distinct requests of some pathways by name."""
    cuts = [_cut(config.pathways[name]) for name in names]
    return {request_name(cut): cut for cut in cuts}


def _clips(pixels: "Pixels") -> "Tensor":
    from torch import Tensor

    assert isinstance(pixels, Tensor)
    return pixels


def _three_frames(meta: ClipMeta) -> FramePlan:
    last = meta.num_frames - 1
    return FramePlan(frames=np.unique([0, last // 2, last]), large=np.zeros(0, np.int64))
