"""What the pathways of a run take of its samples: whole images, or some frames of a clip."""

from collections.abc import Collection, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.forms.chunk import Chunk
from pipelines.forms.clip_columns import read_clips
from pipelines.forms.clips import ClipPlanner, request_name
from pipelines.stream.batch import EVENTS
from pipelines.views.events import Events, join_events
from raytrain.config.cuts import ClipSettings
from raytrain.config.pathway import PathwayConfig
from raytrain.config.run import RunConfig


def clip_requests(config: RunConfig, names: Collection[str]) -> dict[str, ClipSettings]:
    """Return the distinct requests of some pathways by name; {} for images."""
    cuts = [config.pathways[name].cut for name in names]
    return {request_name(cut): cut for cut in cuts if isinstance(cut, ClipSettings)}


def clip_planner(config: RunConfig, names: Collection[str], *, train: bool = True) -> ClipPlanner | None:
    """Return who says which frames some pathways take; None for images."""
    requests = clip_requests(config, names)
    if not requests:
        return None
    epochs: dict[str, int] = {}
    for name in names if train else ():
        request = request_of(config.pathways[name])
        epochs[request] = max(epochs.get(request, 0), config.epochs(name))
    return ClipPlanner(requests=requests, seed=config.seed, train=train, epochs=epochs)


def request_of(pathway: PathwayConfig) -> str:
    """Return the name of the frames that a pathway takes of a clip; EVENTS for recordings, "" for images."""
    if pathway.modality == "events":
        return EVENTS
    return request_name(pathway.cut) if isinstance(pathway.cut, ClipSettings) else ""


def pixels_of(chunk: Chunk, pathway: PathwayConfig) -> NDArray[np.uint8]:
    """Return what a pathway takes of a chunk, u8[L, 3, H, W] or clips u8[L, T, 3, H, W]."""
    request = request_of(pathway)
    return read_clips(chunk, request) if request else chunk.images


def inputs_of(chunk: Chunk, pathway: PathwayConfig, *, size: int) -> Iterator[Tensor | Events]:
    """Yield what a pathway takes of a chunk in pieces of at most `size` samples, in memory of their own."""
    if request_of(pathway) == EVENTS:
        for start in range(0, len(chunk), size):
            yield join_events([(chunk, place) for place in range(start, min(start + size, len(chunk)))])
        return
    pixels = pixels_of(chunk, pathway)
    for start in range(0, len(chunk), size):
        yield torch.from_numpy(pixels[start : start + size].copy())
