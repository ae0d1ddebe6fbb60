"""Where a run's batches and chunks are: its streams, lanes, plans, limits and cursors, for every executor."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.modalities import modality_of
from pipelines.order.event_limits import EventLimits
from pipelines.order.plan import BatchLimits, BatchPlan, ChunkPlan, Cursor, chunk_samples
from pipelines.storage.manifest import Manifest
from pipelines.stream.source import StreamSource
from pipelines.stream.stage import operated_sample_bytes, staged_name
from raytrain.checkpoint import latest_step
from raytrain.config import PathwayConfig, RunConfig
from raytrain.device import device_here
from raytrain.errors import ConfigError
from raytrain.identity import Identity
from raytrain.pathway import Pathway
from raytrain.training.allotment import Allotment
from raytrain.training.factory import build_pathway
from raytrain.training.paths import FEATURES, checkpoints_of, kept_chunks, known_device


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
    sample_bytes: dict[str, int]
    """the most bytes that one sample of a stream takes, by its name; of recordings about their mean"""
    limits: BatchLimits | None = None
    """where batches end that events bound too"""
    allotment: Allotment = field(default_factory=Allotment)
    """what each process gets"""

    @classmethod
    def build(
        cls,
        config: RunConfig,
        manifest: Manifest,
        folder: Path,
        standardisers: dict[str, Any],
        *,
        allotment: Allotment | None = None,
    ) -> "RunSetup":
        """Return the setup of a run on a manifest; `allotment`: None for what a process here can do alone."""
        wanted = config.training.device
        config = modality_of(config).settled(config, manifest)
        return cls(
            config=config,
            folder=folder,
            sample_bytes={
                stream: _sample_bytes(config, names, manifest) for stream, names in streams_of(config).items()
            },
            limits=event_limits(config, manifest),
            standardisers=standardisers,
            num_samples=len(manifest.indices("pretrain")),
            num_classes=max(1, len(manifest.classes)),
            manifest=manifest,
            allotment=allotment or Allotment(device=known_device(folder) or device_here(wanted).type),
        )

    @property
    def device(self) -> str:
        """Where the run is trained, cpu or cuda: resolved once, kept by its folder, part of its key."""
        return self.allotment.device

    def pathway(self, name: str, device: torch.device) -> Pathway:
        """Build a pathway with its initial weights."""
        return build_pathway(self.config, name, self.num_classes, self.standardisers[name], device)

    def checkpoints(self, name: str) -> Path:
        """The folder of a pathway's checkpoints."""
        return checkpoints_of(self.folder, name)

    @property
    def features(self) -> Path:
        """The folder of the features files."""
        return self.folder / FEATURES

    @property
    def identity(self) -> Identity:
        """What identifies the results of this run."""
        assert self.manifest is not None, "results are named where the manifest is"
        return Identity(config=self.config, data=self.manifest.hash, device=self.device)

    def streams(self) -> dict[str, list[str]]:
        """Return the pathways of each stream."""
        return streams_of(self.config)

    def staged(self, stream: str) -> dict[str, PathwayConfig]:
        """Return the pathways whose operator a stream computes, by the name of what is made."""
        placed = [self.config.pathways[name] for name in self.streams()[stream]]
        return {staged_name(pathway): pathway for pathway in placed if staged_name(pathway)}

    def chunk_plan(self, stream: str) -> ChunkPlan:
        """Return how a stream's epochs are cut into chunks."""
        data = self.config.data
        length = chunk_samples(
            self.sample_bytes[stream],
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
            clips=modality_of(self.config).planner(self.config, self.streams()[stream]),
            name=stream,
            cache_folder=self._cache_folder(stream),
        )

    def _cache_folder(self, stream: str) -> str:
        """Return the folder of a stream's kept chunks: another one for other data or other chunks."""
        if self.config.data.cache != "disk":
            return ""
        made_of = self.identity.chunks(stream, asdict(self.chunk_plan(stream)))
        return str(kept_chunks(self.folder, stream, made_of.key))

    def plan(self, name: str, rank: int = 0) -> BatchPlan:
        """Return the batches of one rank of a pathway."""
        return BatchPlan(
            chunks=self.chunk_plan(self.config.pathways[name].stream),
            batch_size=self.config.training.batch_size,
            rank=rank,
            num_workers=self.config.workers(name),
            limits=self.limits,
        )

    def cursor(self, name: str) -> Cursor:
        """Return where a pathway's newest whole checkpoint goes on."""
        found = latest_step(self.checkpoints(name))
        return self.plan(name).cursor_at(found[1]) if found else Cursor()

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
        return found is not None and found[1] >= self.num_steps(name)

    def num_steps(self, name: str) -> int:
        """Return how many steps a pathway is trained."""
        return self.plan(name).steps_before(self.config.epochs(name))

    @property
    def left_out(self) -> int:
        """Positions of an epoch that no batch reads; where that varies, the mean of the epochs."""
        name = max(self.config.pathways, key=self.config.epochs)
        epochs, plan = self.config.epochs(name), self.plan(name)
        return round(sum(self.num_samples - plan.num_used(epoch) for epoch in range(epochs)) / epochs)


def streams_of(config: RunConfig) -> dict[str, list[str]]:
    """Return the pathways of each stream."""
    groups: dict[str, list[str]] = {}
    for name, pathway in config.pathways.items():
        groups.setdefault(pathway.stream, []).append(name)
    return groups


def _sample_bytes(config: RunConfig, names: list[str], manifest: Manifest) -> int:
    """Return the bytes of a decoded sample, and of what the stream's stage adds to it."""
    staged = {staged_name(pathway): pathway for pathway in (config.pathways[name] for name in names)}
    added = sum(
        operated_sample_bytes(pathway, config.data.canvas_px) for name, pathway in staged.items() if name
    )
    return modality_of(config).sample_bytes(config, names, manifest) + added


def event_limits(config: RunConfig, manifest: Manifest) -> EventLimits | None:
    """Return where batches end by training.batch_events; None: nothing but their samples bounds them.

    Raises:
        ConfigError: recordings of the pretrain split whose events nobody has counted, or which could make a
        batch of one, which batch norm cannot use.
    """
    if not config.training.batch_events:
        return None
    rows = manifest.indices("pretrain")
    counts = np.full(len(rows), -1) if manifest.num_events is None else manifest.num_events[rows]
    unknown = int((counts < 0).sum())
    if unknown:
        raise ConfigError(
            f"training.batch_events needs the number of events of every recording, which {unknown} of "
            f"{len(rows)} in {manifest.root} lack; `raytrain prepare` counts them"
        )
    longest, bound = int(counts.max(initial=0)), config.training.batch_events
    normed = any(_has_batch_norm(pathway) for pathway in config.pathways.values())
    if normed and config.num_lanes == 1 and 2 * longest > bound:
        raise ConfigError(
            f"training.batch_events is {bound:,}, but a recording of {longest:,} events could be a batch of "
            f"its own, and batch norm needs two samples: set it to {2 * longest:,} or more, or cut long "
            "recordings by `raytrain prepare --data.events.slice_events`"
        )
    return EventLimits(
        num_events=counts,
        batch_size=config.training.batch_size,
        batch_events=bound,
        seed=config.seed,
        unit=2 * config.num_lanes if config.num_lanes > 1 else 1,
    )


def _has_batch_norm(pathway: PathwayConfig) -> bool:
    return bool(getattr(pathway.encoder, "batch_norm", False))
