"""Operators placed in the stream: computed once, in a Ray Data actor stage, for all pathways that ask."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipelines.forms.chunk import Chunk, from_table, to_table
from pipelines.forms.randomness import hash_words
from pipelines.views.augmentations import ImageAugmentation
from pipelines.views.operators import build_operator
from raytrain.config.pathway import PathwayConfig
from raytrain.device import given_device

PIECE = 64  # samples operated on at a time: bounds memory, and changes no value


def operated_name(pathway: PathwayConfig) -> str:
    """Return the name of what augmentation and operator make: equal settings, equal name."""
    settings = repr((pathway.augmentation, pathway.operator))
    return f"{pathway.operator.name}-{hash_words(settings):016x}"


def staged_name(pathway: PathwayConfig) -> str:
    """Return the name of what the stream makes for a pathway; "": it operates itself."""
    return operated_name(pathway) if pathway.placement == "stream" else ""


def operated_sample_bytes(pathway: PathwayConfig, canvas_px: int) -> int:
    """Return the bytes of what augmentation and operator make of one sample."""
    size = pathway.augmentation.crop_px or canvas_px
    probe = build_operator(pathway.operator)(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    return int(probe.numel() * probe.element_size())


@dataclass(frozen=True)
class StageSettings:
    """What a stage actor is built from."""

    pathways: dict[str, PathwayConfig]
    """by `operated_name`"""
    canvas_px: int
    seed: int
    on_operated: Callable[[str, int], None] | None = None
    device: str = "cpu"


class OperatorStage:
    """Adds the outputs of augmentation and operator to a chunk, f32[L, C, H, W] by `operated_name`."""

    def __init__(self, settings: StageSettings) -> None:
        self._settings = settings
        self._device = given_device(settings.device, whose="an operator stage")
        torch.set_num_threads(1)
        self._parts = {
            name: (
                ImageAugmentation(pathway.augmentation, canvas_px=settings.canvas_px),
                build_operator(pathway.operator).to(self._device),
            )
            for name, pathway in settings.pathways.items()
        }

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the chunk's table with those outputs added."""
        return to_table(self.operate(from_table(table)))

    @torch.no_grad()
    def operate(self, chunk: Chunk) -> Chunk:
        """Return the chunk with those outputs added."""
        return replace(chunk, operated={name: self._operate(name, chunk) for name in self._parts})

    def _operate(self, name: str, chunk: Chunk) -> NDArray[Any]:
        augmentation, operator = self._parts[name]
        images = torch.from_numpy(chunk.images.copy())
        draws = augmentation.draw(chunk.key_hashes, seed=self._settings.seed, epoch=chunk.epoch)
        augmented = augmentation(images.to(self._device), draws)
        made = torch.cat([operator(piece) for piece in augmented.split(PIECE)])
        if self._settings.on_operated:
            self._settings.on_operated(name, len(chunk))
        values: NDArray[Any] = made.cpu().numpy()
        return values
