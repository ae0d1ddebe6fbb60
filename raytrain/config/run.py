"""Settings of a run: how it is trained, and the whole."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from raytrain.config.cache import CacheConfig
from raytrain.config.checks import at_least
from raytrain.config.cuts import ModalityName, MotionConfig
from raytrain.config.data import DataConfig
from raytrain.config.parts import check_cut, check_parts
from raytrain.config.pathway import PathwayConfig
from raytrain.config.probe import ProbeConfig
from raytrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the pathways are trained."""

    executor: Literal["ray", "inline"] = "ray"
    """inline: one process, without Ray; bitwise the same weights"""
    epochs: int = 4
    batch_size: int = 32
    """samples a step over all workers of a pathway"""
    batch_events: int = 0
    """most events of a training batch, of recordings; 0: no bound; batch_size stays the most samples. Batches
    then depend on data.lanes; what is represented goes by probe.batch_size"""
    workers: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: Literal["auto"] | float = "auto"
    """auto: 1 where the cluster has a GPU for each worker of all pathways, else a share that fits, or 0"""
    threads_per_worker: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where the workers have GPUs; a run that goes on stays where it began"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast of convolutions and products; losses stay in fp32"""
    channels_last: bool = True
    """memory layout of the maps; on a CPU a step takes a quarter to a third less time than without"""
    compile: bool = False
    log_every: int = 10
    """steps between logged lines, each costs one device synchronisation"""
    checkpoint_every: int = 100
    """steps between checkpoints; one is written at the end of each epoch too"""
    keep_checkpoints: int = 2
    max_restarts: int = 3
    """how often a pathway is restarted by itself"""

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "batch_size",
            "workers",
            "threads_per_worker",
            "log_every",
            "checkpoint_every",
            "keep_checkpoints",
        ):
            at_least(f"training.{name}", getattr(self, name), 1)
        at_least("training.batch_events", self.batch_events, 0)
        at_least("training.max_restarts", self.max_restarts, 0)
        at_least("training.cpus_per_worker", self.cpus_per_worker, 0)
        if self.gpus_per_worker != "auto":
            at_least("training.gpus_per_worker", self.gpus_per_worker, 0)
            if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
                raise ConfigError(
                    f"training.gpus_per_worker is {self.gpus_per_worker:g}; above 1 it must be whole"
                )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run: a set of pathways on one data set."""

    preset: str = "custom"
    seed: int = 0
    out: str = ""
    """run folder; empty: runs/<preset>"""
    report: bool = True
    """write report.html at the end"""
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    pathways: dict[str, PathwayConfig] = field(default_factory=dict)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)

    def __post_init__(self) -> None:
        if not self.pathways:
            raise ConfigError(
                "no pathways; name at least one, e.g. [pathways.lbp] with operator.name = 'lbp'"
            )
        for name, pathway in self.pathways.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", name):
                raise ConfigError(f"pathway name {name!r}: use letters, digits, '-' and '_', at most 41")
            check_parts(name, pathway)
            check_cut(name, pathway, canvas_px=self.data.canvas_px)
        self._check_modality()
        self._check_batch()

    @property
    def modality(self) -> ModalityName:
        """What a sample is."""
        return next(iter(self.pathways.values())).modality

    @property
    def probed(self) -> tuple[str, ...]:
        """The pathways whose representations are measured: all but those that see a clip's still only."""
        cuts = {name: pathway.cut for name, pathway in self.pathways.items()}
        moving = tuple(n for n, cut in cuts.items() if not (isinstance(cut, MotionConfig) and cut.still))
        return moving or tuple(self.pathways)

    def _check_modality(self) -> None:
        for name, pathway in self.pathways.items():
            if pathway.modality != self.modality:
                raise ConfigError(
                    f"pathways.{name}.cut {pathway.cut.name} behind operator {pathway.operator.name} takes "
                    f"samples of kind {pathway.modality}, the first pathway {self.modality}; a run has one "
                    "kind: make two runs"
                )
        if self.training.batch_events and self.modality != "events":
            raise ConfigError(
                f"training.batch_events is {self.training.batch_events}, but the samples are of kind "
                f"{self.modality}, without events; leave it out"
            )
        if self.training.batch_events and self.training.compile:
            raise ConfigError(
                "training.batch_events makes batches of many sizes, and training.compile compiles for one; "
                "set compile to false"
            )
        if self.modality != "image" and self.data.cache != "none":
            why = "each epoch takes other frames" if self.modality == "clip" else "it is for images"
            raise ConfigError(f"data.cache is {self.data.cache}, but {why}; set it to none")

    def _check_batch(self) -> None:
        batch_size, lanes = self.training.batch_size, self.num_lanes
        for name in self.pathways:
            if lanes % self.workers(name):
                raise ConfigError(
                    f"pathways.{name}.workers is {self.workers(name)}, which does not divide data.lanes "
                    f"{lanes}; nearest that fits: data.lanes = {math.lcm(lanes, self.workers(name))}"
                )
        if lanes > 1 and batch_size % (2 * lanes):
            lower = batch_size // (2 * lanes) * 2 * lanes
            near = [value for value in (lower, lower + 2 * lanes) if value > 0]
            raise ConfigError(
                f"training.batch_size is {batch_size}; with {lanes} lanes it must be a multiple of "
                f"{2 * lanes}; nearest that fit: {' or '.join(map(str, near))}"
            )

    def workers(self, pathway: str) -> int:
        """Return the number of data-parallel workers of a pathway."""
        return self.pathways[pathway].workers or self.training.workers

    def epochs(self, pathway: str) -> int:
        """Return how many epochs a pathway is trained."""
        return self.pathways[pathway].epochs or self.training.epochs

    @property
    def num_lanes(self) -> int:
        """V: lanes of the stream."""
        return self.data.lanes or math.lcm(*(self.workers(name) for name in self.pathways))

    @property
    def run_folder(self) -> str:
        """The run folder as given, or runs/<preset>."""
        return self.out or f"runs/{self.preset}"
