"""What each operator makes of a data set's first samples: a contact sheet, of clips film strips."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.forms.clip_columns import motion_of
from pipelines.forms.clips import motion_words
from pipelines.storage.manifest import Manifest
from pipelines.stream.requests import clip_planner, pixels_of, request_of
from pipelines.stream.source import first_samples
from pipelines.views.events import Events, event_pictures, join_events
from pipelines.views.operators import build_operator
from pipelines.views.operators.events import build_event_operator
from pipelines.views.views import Operated
from raytrain.config import RunConfig
from raytrain.config.operators import UNCHANGED, EventOperatorConfig
from raytrain.reporting.contact_sheet import contact_sheet
from raytrain.reporting.film_strip import Strips, film_strips

Float32s = NDArray[np.float32]
UInt8s = NDArray[np.uint8]

MAX_TITLE = 16  # characters beside a row


def operator_sheet(config: RunConfig, manifest: Manifest, path: Path, *, num_samples: int) -> None:
    """Draw the first samples of the pretrain split, and what each pathway's operator makes of them."""
    if config.modality == "clip":
        _strips(config, manifest, path, num_samples=max(1, num_samples // 2))
        return
    chunk = first_samples(manifest, config.data, seed=config.seed, count=num_samples)
    titles = [Path(key).stem[-MAX_TITLE:] for key in chunk.keys]
    columns: dict[str, Any]
    if manifest.modality == "events":
        events = join_events([(chunk, place) for place in range(len(chunk))])
        columns = {operator.name: _surfaces(operator, events) for operator in _event_operators(config)}
        contact_sheet(event_pictures(events), columns, str(path), row_titles=titles)
        return
    operators = {pathway.operator.name: pathway.operator for pathway in config.pathways.values()}
    images = torch.from_numpy(chunk.images)
    columns = {name: build_operator(operator)(images).numpy() for name, operator in operators.items()}
    contact_sheet(chunk.images, columns, str(path), row_titles=titles)


def _event_operators(config: RunConfig) -> list[EventOperatorConfig]:
    """Return the surfaces that the pathways take; where they are for other samples one of each kind."""
    operators = {pathway.operator.name: pathway.operator for pathway in config.pathways.values()}
    found: list[EventOperatorConfig] = [
        operator for operator in operators.values() if isinstance(operator, EventOperatorConfig)
    ]
    if config.modality != "events":
        found = [kind() for kind in get_args(EventOperatorConfig)]
    return [operator for operator in found if operator.name not in UNCHANGED]


def _surfaces(config: EventOperatorConfig, events: Events) -> Float32s:
    operator = build_event_operator(config)
    return polarities(operator(events).numpy(), operator.num_polarities)


def polarities(maps: Float32s, num_polarities: int) -> Float32s:
    """Return a surface's sum over its bins: two polarities as colours, one as grey; f32[N, 1 or 3, H, W]."""
    if num_polarities == 1:
        return np.asarray(maps.sum(axis=1, keepdims=True), np.float32)
    darker, brighter = maps.reshape(len(maps), 2, -1, *maps.shape[2:]).sum(axis=2).transpose(1, 0, 2, 3)
    return np.asarray(np.stack([brighter, np.zeros_like(darker), darker], axis=1), np.float32)


def _strips(config: RunConfig, manifest: Manifest, path: Path, *, num_samples: int) -> None:
    """Draw clips as the pathways see them in the first epoch of training."""
    planner = clip_planner(config, config.pathways)
    chunk = first_samples(manifest, config.data, seed=config.seed, count=num_samples, clips=planner)
    made: dict[str, Strips] = {}
    for pathway in config.pathways.values():
        key = f"{request_of(pathway)} {pathway.augmentation} {pathway.operator}"
        if key in made:
            continue
        operated = Operated(pathway.augmentation, pathway.operator, canvas_px=config.data.canvas_px)
        draws = operated.draw(chunk.key_hashes, seed=config.seed, epoch=0)
        maps = operated(torch.from_numpy(pixels_of(chunk, pathway)), draws)
        motions = [motion_of(chunk, place, request_of(pathway)) for place in range(len(chunk))]
        notes = [motion_words(*motion) for motion in motions if motion is not None]
        made[key] = Strips(
            title=pathway.operator.name, maps=np.asarray(maps.numpy(), np.float32), notes=notes
        )
    film_strips(list(made.values()), chunk.keys, path)
