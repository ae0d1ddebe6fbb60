"""What a run is made with: pathways with their initial weights, standardisers."""

from collections.abc import Iterator
from typing import Any

import torch

from pipelines.forms.chunk import Chunk
from pipelines.modalities import modality_of
from pipelines.storage.manifest import Manifest
from pipelines.stream.source import first_samples
from pipelines.stream.stage import operated_name
from pipelines.views.standardise import Standardiser
from pipelines.views.views import Operated
from raytrain.config import PathwayConfig, RunConfig
from raytrain.config.stems import NoStemConfig
from raytrain.pathway import Pathway


def build_pathway(
    config: RunConfig, name: str, num_classes: int, standardiser: Any, device: torch.device
) -> Pathway:
    """Build a pathway with its initial weights, a pure function of (seed, name)."""
    return Pathway(
        name,
        config.pathways[name],
        seed=config.seed,
        canvas_px=config.data.canvas_px,
        sensor=(config.data.events.sensor_width, config.data.events.sensor_height),
        num_classes=num_classes,
        device=device,
        training=config.training,
        standardiser=Standardiser.from_json(standardiser),
    )


def estimate_standardisers(config: RunConfig, manifest: Manifest) -> dict[str, Any]:
    """Estimate each operator's mean and deviation a channel from the first positions, centrally cropped.

    What could not be decoded is left out. Raises: DataError where nothing could.
    """
    kind = modality_of(config)
    planner = kind.planner(config, config.pathways, train=False)
    count = kind.standardiser_samples
    chunk = first_samples(manifest, config.data, seed=config.seed, count=count, clips=planner)
    chunk = chunk.without_invalid()
    estimated: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for name, pathway in config.pathways.items():
        if not isinstance(pathway.stem, NoStemConfig):  # a stem's maps change as it is trained
            estimated[name] = {"mean": [], "deviation": []}
            continue
        key = f"{operated_name(pathway)} {kind.request(pathway)}"
        if key not in found:
            maps = _operated(pathway, chunk, config.data.canvas_px)
            found[key] = Standardiser.estimate(maps).to_json()
        estimated[name] = found[key]
    return estimated


def _operated(pathway: PathwayConfig, chunk: Chunk, canvas_px: int) -> Iterator[torch.Tensor]:
    """Yield the operator's maps f32[n, C, h, w] in pieces."""
    operated = Operated(pathway.augmentation, pathway.operator, canvas_px=canvas_px)
    kind = modality_of(pathway)
    for part in kind.pieces(chunk, pathway, size=kind.piece_samples):
        yield operated(part, None).flatten(0, -4)
