"""What every executor needs before the first step: streams, plans, standardisers, cursors."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.augmentations import ImageAugmentation
from pipelines.manifest import Manifest
from pipelines.operators import build_operator
from pipelines.order import BatchPlan, ChunkPlan, Cursor, chunk_samples
from pipelines.randomness import hash_words
from pipelines.stage import view_name, view_sample_bytes
from pipelines.standardise import Standardiser
from pipelines.stream import StreamSource, first_samples, row_chunks
from raytrain.checkpoint import latest_step
from raytrain.config import PathwayConfig, RunConfig
from raytrain.pathway import Pathway

STANDARDISER_SAMPLES = 1024


@dataclass(frozen=True, kw_only=True)
class RunSetup:
    """One run, ready to be trained by any executor."""

    config: RunConfig
    folder: Path
    """absolute"""
    standardisers: dict[str, Any]
    """each pathway's standardiser, as JSON values"""
    num_samples: int
    """of the pretrain split"""
    num_classes: int
    """1 where the data set has none"""
    manifest: Manifest | None
    """None in workers: chunks carry what they need"""

    @classmethod
    def build(
        cls, config: RunConfig, manifest: Manifest, folder: Path, standardisers: dict[str, Any]
    ) -> "RunSetup":
        """Return the setup of a run on a manifest."""
        return cls(
            config=config,
            folder=folder,
            standardisers=standardisers,
            num_samples=len(manifest.indices("pretrain")),
            num_classes=max(1, len(manifest.classes)),
            manifest=manifest,
        )

    def pathway(self, name: str, device: torch.device) -> Pathway:
        """Build a pathway with its initial weights."""
        return build_pathway(self.config, name, self.num_classes, self.standardisers[name], device)

    def checkpoints(self, name: str) -> Path:
        """The folder of a pathway's checkpoints."""
        return self.folder / "checkpoints" / name

    def streams(self) -> dict[str, list[str]]:
        """Return the pathways of each stream."""
        groups: dict[str, list[str]] = {}
        for name, pathway in self.config.pathways.items():
            groups.setdefault(pathway.stream, []).append(name)
        return groups

    def views(self, stream: str) -> dict[str, PathwayConfig]:
        """Return the stream-placed operator outputs that a stream carries, by view name."""
        placed = [self.config.pathways[name] for name in self.streams()[stream]]
        return {view_name(pathway): pathway for pathway in placed if pathway.placement == "stream"}

    def view_bytes(self, stream: str) -> int:
        """Return what the stream-placed operators add to a sample."""
        return sum(view_sample_bytes(p, self.config.data.canvas_px) for p in self.views(stream).values())

    def chunk_plan(self, stream: str) -> ChunkPlan:
        """Return how a stream's epochs are cut into chunks."""
        data = self.config.data
        length = chunk_samples(
            3 * data.canvas_px**2 + self.view_bytes(stream),
            chunk_mib=data.chunk_mib,
            num_samples=self.num_samples,
            num_lanes=self.config.num_lanes,
        )
        return ChunkPlan(num_samples=self.num_samples, chunk_samples=length, num_lanes=self.config.num_lanes)

    def source(self, stream: str) -> StreamSource:
        """Return a stream's source of chunks."""
        assert self.manifest is not None, "streams are made where the manifest is"
        return StreamSource(
            manifest=self.manifest,
            rows=self.manifest.indices("pretrain"),
            data=self.config.data,
            seed=self.config.seed,
            plan=self.chunk_plan(stream),
            name=stream,
            cache_folder=self._cache_folder(stream),
        )

    def _cache_folder(self, stream: str) -> str:
        """Return the folder of a stream's kept chunks: another one for other data or other chunks."""
        assert self.manifest is not None
        data = self.config.data
        if data.cache != "disk":
            return ""
        plan = self.chunk_plan(stream)
        content = (self.manifest.hash, self.config.seed, plan, data.canvas_px, data.fit, data.max_pixels)
        return str(self.folder / "cache" / f"{stream}-{hash_words(repr(content)):016x}")

    def plan(self, name: str, rank: int = 0) -> BatchPlan:
        """Return the batches of one rank of a pathway."""
        return BatchPlan(
            chunks=self.chunk_plan(self.config.pathways[name].stream),
            batch_size=self.config.training.batch_size,
            rank=rank,
            num_workers=self.config.workers(name),
        )

    def cursor(self, name: str) -> Cursor:
        """Return where a pathway's newest whole checkpoint goes on."""
        found = latest_step(self.checkpoints(name))
        return Cursor(*divmod(found[1], self.plan(name).steps_per_epoch)) if found else Cursor()

    @property
    def cold_cache(self) -> str:
        """What is to be said where a run goes on without the samples that its memory held, else ''."""
        if self.config.data.cache != "memory" or all(
            self.cursor(n) == Cursor() for n in self.config.pathways
        ):
            return ""
        return (
            "data.cache = memory starts cold: what was decoded before the stop is decoded again in every "
            "epoch that is left; data.cache = disk would have kept it"
        )

    def done(self, name: str) -> bool:
        """Return whether a pathway has a checkpoint of its last step."""
        found = latest_step(self.checkpoints(name))
        return found is not None and found[1] >= self.config.training.epochs * self.plan(name).steps_per_epoch


def build_pathway(
    config: RunConfig, name: str, num_classes: int, standardiser: Any, device: torch.device
) -> Pathway:
    """Build a pathway with its initial weights, a pure function of (seed, name)."""
    return Pathway(
        name,
        config.pathways[name],
        seed=config.seed,
        canvas_px=config.data.canvas_px,
        num_classes=num_classes,
        device=device,
        training=config.training,
        standardiser=Standardiser.from_json(standardiser),
    )


def estimate_standardisers(config: RunConfig, manifest: Manifest) -> dict[str, Any]:
    """Estimate each operator's mean and deviation a channel from 1,024 positions, centrally cropped."""
    images = first_samples(manifest, config.data, seed=config.seed, count=STANDARDISER_SAMPLES).images
    estimated: dict[str, Any] = {}
    by_view: dict[str, Any] = {}
    for name, pathway in config.pathways.items():
        view = view_name(pathway)
        if view not in by_view:
            by_view[view] = Standardiser.estimate(_operated(pathway, images, config.data.canvas_px)).to_json()
        estimated[name] = by_view[view]
    return estimated


def _operated(pathway: PathwayConfig, images: Any, canvas_px: int) -> Iterator[torch.Tensor]:
    operator = build_operator(pathway.operator)
    augmentation = ImageAugmentation(pathway.augmentation, canvas_px=canvas_px)
    for part in row_chunks(images, 64):
        yield operator(augmentation(torch.from_numpy(part), None))


def choose_device(config: RunConfig) -> torch.device:
    """Return the device that a worker trains on."""
    wanted = config.training.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)
