"""Load what `raytrain export` wrote: encoders for other programs; torch, not ray, and no run folder.

Example:
    encoder = raytrain.load_encoder("runs/first/export")
    cells = encoder(images)["lbp"]  # u8[B, 3, H, W] -> f32[B, cells, channels]
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipelines.modalities import modality_of
from pipelines.views.augmentations import ImageAugmentation
from pipelines.views.cuts import Patches
from pipelines.views.operators import build_operator
from pipelines.views.standardise import Standardiser
from raytrain.config import (
    AugmentationConfig,
    EncoderConfig,
    OperatorConfig,
    PatchesConfig,
    PathwayConfig,
    settings_of,
)
from raytrain.config.operators import AnyOperatorConfig
from raytrain.encoders import build_encoder
from raytrain.errors import ConfigError, StorageError

FORMAT, VERSION = "raytrain-export", 1
CONFIG, TENSORS = "config.json", "model.safetensors"


class ExportedPathway(nn.Module):
    """One trained pathway: centre crop, operator, standardiser, cut, encoder.

    u8[B, 3, canvas, canvas] -> f32[B, cells, channels], cells row by row. In evaluation mode batch norm
    uses the statistics of training; gradients reach the encoder, never the operator. `channels_last`, the
    memory layout of training, keeps the last bits as they were.
    """

    def __init__(
        self,
        *,
        canvas_px: int,
        crop_px: int,
        operator: AnyOperatorConfig,
        cut: PatchesConfig,
        encoder: EncoderConfig,
        standardiser: Mapping[str, list[float]],
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.canvas_px = canvas_px
        self.crop = ImageAugmentation(AugmentationConfig(crop_px=crop_px), canvas_px=canvas_px)
        self.operator = build_operator(operator)
        self.standardiser = Standardiser.from_json(dict(standardiser))
        self.cut = Patches(cut)
        self.channels_last = channels_last
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        built = build_encoder(encoder, in_channels=len(standardiser["mean"]), seed_words=("exported",))
        self.encoder = built.to(memory_format=self._layout)  # type: ignore[call-overload]

    @classmethod
    def of(
        cls,
        config: PathwayConfig,
        *,
        canvas_px: int,
        standardiser: Mapping[str, list[float]],
        channels_last: bool,
    ) -> "ExportedPathway":
        """Return the exported form of a pathway's settings, with weights of no meaning yet.

        Raises:
            ConfigError: the pathway takes no images.
        """
        if not modality_of(config).can_export:
            raise ConfigError(
                f"export is for pathways of images, not of kind {config.modality}; their weights are in the "
                "run's checkpoints, as safetensors"
            )
        assert isinstance(config.cut, PatchesConfig)
        return cls(
            canvas_px=canvas_px,
            crop_px=config.augmentation.crop_px,
            operator=config.operator,
            cut=config.cut,
            encoder=config.encoder,
            standardiser=standardiser,
            channels_last=channels_last,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the representation f32[B, cells, channels] of u8[B, 3, canvas, canvas]."""
        return self.from_maps(self.maps(images))

    def maps(self, images: Tensor) -> Tensor:
        """Return the operator's maps f32[B, C, h, w] of the centre of u8[B, 3, canvas, canvas]."""
        return self.operator(self.crop(images, None))  # type: ignore[no-any-return]

    def from_maps(self, maps: Tensor) -> Tensor:
        """Return the representation f32[B, cells, channels] of the operator's maps f32[B, C, h, w]."""
        patches = self.cut(self.standardiser(maps))
        maps = self.encoder(patches.flatten(0, 2).contiguous(memory_format=self._layout))
        representation: Tensor = self.encoder.representation(maps, patches.shape[:3])
        return representation.transpose(0, 1).flatten(1, 2)


class ExportedEncoder(nn.Module):
    """All pathways of an export: u8[B, 3, H, W] -> {pathway: f32[B, cells, channels]}.

    Images on the canvas are taken as they are; those of another size are brought to it as in training (fit
    and filter included) by `to_canvas`, on the CPU.
    """

    def __init__(self, pathways: Mapping[str, ExportedPathway], *, canvas_px: int, fit: Any) -> None:
        super().__init__()
        self.names = tuple(pathways)
        self.canvas_px, self.fit = canvas_px, fit
        # a list, because a ModuleDict refuses names such as "values" or "training"
        self._pathways = nn.ModuleList(pathways.values())

    def pathway(self, name: str) -> ExportedPathway:
        """Return one pathway."""
        found = self._pathways[self.names.index(name)]
        assert isinstance(found, ExportedPathway)
        return found

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return each pathway's representation f32[B, cells, channels] of u8[B, 3, H, W], cells row by row.

        Raises:
            ValueError: no batch of RGB bytes.
        """
        images = self.to_canvas(images)
        return {name: self.pathway(name)(images) for name in self.names}

    def to_canvas(self, images: Tensor) -> Tensor:
        """Return u8[B, 3, canvas, canvas] of u8[B, 3, H, W] of any size; on the canvas already: itself."""
        if images.ndim != 4 or tuple(images.shape[2:]) == (self.canvas_px, self.canvas_px):
            return images
        from pipelines.decode.image import fit_canvas

        fitted = [fit_canvas(image.cpu().numpy(), canvas_px=self.canvas_px, fit=self.fit) for image in images]
        empty = torch.empty(0, 3, self.canvas_px, self.canvas_px, dtype=torch.uint8)
        placed = torch.stack([torch.from_numpy(image) for image in fitted]) if fitted else empty
        return placed.to(images.device)

    def read(self, path: str | Path) -> Tensor:
        """Return an image file as training read it, upright and on the canvas: u8[3, canvas, canvas].

        Raises:
            BadSample: no image, or a broken one.
        """
        from pipelines.decode.image import decode_image
        from raytrain.config import DataConfig

        pixels = decode_image(
            Path(path).read_bytes(),
            canvas_px=self.canvas_px,
            fit=self.fit,
            max_pixels=DataConfig().max_pixels,
        )
        return torch.from_numpy(pixels)


def load_encoder(folder: str | Path) -> ExportedEncoder:
    """Return the encoder that `raytrain export` wrote, on the CPU and in evaluation mode.

    Raises:
        ConfigError: no export, or one of a newer raytrain.
        StorageError: its weights are damaged.
    """
    folder = Path(folder)
    config = read_config(folder)
    tensors = _read_tensors(folder / TENSORS, config["files"][TENSORS])
    canvas_px = config["canvas_px"]
    pathways: dict[str, ExportedPathway] = {}
    for name, entry in config["pathways"].items():
        pathways[name] = _build(entry, canvas_px=canvas_px, where=str(folder / CONFIG), name=name)
        own = {
            key.removeprefix(f"{name}."): value
            for key, value in tensors.items()
            if key.startswith(f"{name}.")
        }
        try:
            pathways[name].load_state_dict(own)
        except RuntimeError as error:
            raise StorageError(f"{folder}: weights and {CONFIG} do not fit: {_one_line(error)}") from None
    return ExportedEncoder(pathways, canvas_px=canvas_px, fit=config["fit"]).eval()


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings of an export.

    Raises:
        ConfigError: the folder holds none, or one of a newer format.
    """
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found, version = config["format"], config["format_version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{folder}: not an export (no {CONFIG} of one); name the folder that `raytrain export` wrote"
        ) from None
    if found != FORMAT or version != VERSION:
        raise ConfigError(
            f"{folder}: written in format {found} {version}, this raytrain reads {FORMAT} {VERSION}; "
            "export the run again, or install the raytrain that wrote it"
        )
    return config


def pathway_entry(pathway: ExportedPathway, config: PathwayConfig) -> dict[str, Any]:
    """Return what config.json says of a pathway: all that rebuilds it."""
    images = torch.zeros(1, 3, pathway.canvas_px, pathway.canvas_px, dtype=torch.uint8)
    with torch.no_grad():
        maps = pathway.maps(images)
        cells, channels = pathway.from_maps(maps).shape[1:]
        num_rows, _, num_columns = pathway.cut(maps).shape[:3]
    # The weights are those of the export: a file that they once began with may be gone.
    encoder = {key: value for key, value in dataclasses.asdict(config.encoder).items() if key != "pretrained"}
    return {
        "centre_crop_px": config.augmentation.crop_px,
        "operator": dataclasses.asdict(config.operator),
        "standardiser": pathway.standardiser.to_json(),
        "cut": dataclasses.asdict(config.cut),
        "encoder": encoder,
        "channels_last": pathway.channels_last,
        "maps": list(maps.shape[1:]),
        "output": {"rows": num_rows, "columns": num_columns, "cells": cells, "channels": channels},
    }


def _build(entry: dict[str, Any], *, canvas_px: int, where: str, name: str) -> ExportedPathway:
    def settings(kind: Any, key: str) -> Any:
        return settings_of(kind, entry[key], where=where, path=f"pathways.{name}.{key}")

    return ExportedPathway(
        canvas_px=canvas_px,
        crop_px=entry["centre_crop_px"],
        operator=settings(OperatorConfig, "operator"),
        cut=settings(PatchesConfig, "cut"),
        encoder=settings(EncoderConfig, "encoder"),
        standardiser=entry["standardiser"],
        channels_last=entry["channels_last"],
    )


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        if file_sha256(path) == sha256:
            return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path}: cannot be read: {_one_line(error)}; export the run again") from None
    raise StorageError(f"{path}: damaged, its checksum differs from {CONFIG}; export the run again")


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
