"""What each operator makes of a data set's first samples: a contact sheet, of clips film strips."""

from pathlib import Path

import numpy as np

from pipelines.forms.clip_columns import motion_of
from pipelines.forms.clips import motion_words
from pipelines.modalities import MODALITIES, modality_of
from pipelines.storage.manifest import Manifest
from pipelines.stream.source import first_samples
from pipelines.views.views import Operated
from raytrain.config import RunConfig
from raytrain.errors import ConfigError
from raytrain.reporting.contact_sheet import contact_sheet
from raytrain.reporting.film_strip import Strips, film_strips

MAX_TITLE = 16  # characters beside a row


def operator_sheet(config: RunConfig, manifest: Manifest, path: Path, *, num_samples: int) -> None:
    """Draw the first samples of the pretrain split, and what each pathway's operator makes of them.

    Raises:
        ConfigError: samples that are drawn as the pathways see them, and pathways of another kind.
    """
    kind = MODALITIES[manifest.modality]
    if kind.in_strips:
        if config.modality != kind.name:
            raise ConfigError(
                f"samples of kind {kind.name} are drawn as pathways see them, but pathways."
                f"{next(iter(config.pathways))} takes {config.modality}; use {kind.wanted}"
            )
        _strips(config, manifest, path, num_samples=max(1, num_samples // 2))
        return
    chunk = first_samples(manifest, config.data, seed=config.seed, count=num_samples)
    titles = [Path(key).stem[-MAX_TITLE:] for key in chunk.keys]
    first = next(iter(config.pathways.values()))
    (pixels,) = kind.pieces(chunk, first, size=len(chunk))
    contact_sheet(kind.pictures(pixels), kind.operated(config, pixels), str(path), row_titles=titles)


def _strips(config: RunConfig, manifest: Manifest, path: Path, *, num_samples: int) -> None:
    """Draw clips as the pathways see them in the first epoch of training."""
    kind = modality_of(config)
    planner = kind.planner(config, config.pathways)
    chunk = first_samples(manifest, config.data, seed=config.seed, count=num_samples, clips=planner)
    made: dict[str, Strips] = {}
    for pathway in config.pathways.values():
        key = f"{kind.request(pathway)} {pathway.augmentation} {pathway.operator}"
        if key in made:
            continue
        operated = Operated(pathway.augmentation, pathway.operator, canvas_px=config.data.canvas_px)
        draws = operated.draw(chunk.key_hashes, seed=config.seed, epoch=0)
        (pixels,) = kind.pieces(chunk, pathway, size=len(chunk))
        maps = operated(pixels, draws)
        motions = [motion_of(chunk, place, kind.request(pathway)) for place in range(len(chunk))]
        notes = [motion_words(*motion) for motion in motions if motion is not None]
        made[key] = Strips(
            title=pathway.operator.name, maps=np.asarray(maps.numpy(), np.float32), notes=notes
        )
    film_strips(list(made.values()), chunk.keys, path)
