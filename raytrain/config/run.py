"""Settings of a run: pathways, training, probes, and the whole."""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from raytrain.config.cache import CacheConfig
from raytrain.config.checks import at_least, positive
from raytrain.config.cuts import (
    BinsConfig,
    CutConfig,
    Modality,
    MotionConfig,
    PatchesConfig,
)
from raytrain.config.data import DataConfig
from raytrain.config.encoders import EncoderConfig, Vgg6Config
from raytrain.config.objectives import ClappConfig, ObjectiveConfig, PredictionSettings
from raytrain.config.operators import AnyOperatorConfig, EventOperatorConfig, IdentityConfig, num_bins
from raytrain.config.probe import ClassifierProbeConfig, protocol_names
from raytrain.errors import ConfigError

_FLAT = ("patches", "frames", "bins")
CUTS_OF_ENCODERS = {
    "vgg6": _FLAT,
    "resnet18": _FLAT,
    "resnet34": _FLAT,
    "movnet": ("volume", "motion"),
}


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random change of a sample; draws are shared by all pathways."""

    crop_px: int = 0
    """side of a random crop of the canvas (centred when representing); 0: none"""
    flip: bool = False
    """mirror left and right with probability one half"""

    def __post_init__(self) -> None:
        at_least("augmentation.crop_px", self.crop_px, 0)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam."""

    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    implementation: Literal["fused", "foreach"] = "fused"

    def __post_init__(self) -> None:
        positive("optimizer.learning_rate", self.learning_rate)
        at_least("optimizer.weight_decay", self.weight_decay, 0)


@dataclass(frozen=True, kw_only=True)
class PathwayConfig:
    """One parallel encoder: augmentation, operator, cut, encoder, objective."""

    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    operator: AnyOperatorConfig = field(default_factory=IdentityConfig)
    placement: Literal["worker", "stream"] = "worker"
    """stream: augmentation and operator run once, in a Ray Data stage, for all pathways with the same ones"""
    cut: CutConfig = field(default_factory=PatchesConfig)
    encoder: EncoderConfig = field(default_factory=Vgg6Config)
    objective: ObjectiveConfig = field(default_factory=ClappConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    epochs: int = 0
    """0: training.epochs"""
    workers: int = 0
    """data-parallel workers; 0: training.workers"""
    stream: str = "main"
    """pathways of one stream share its decoded chunks; another name decouples them"""

    def __post_init__(self) -> None:
        at_least("pathways.*.workers", self.workers, 0)
        at_least("pathways.*.epochs", self.epochs, 0)

    @property
    def modality(self) -> Modality:
        """What a sample is: an event operator reads recordings, else the cut says."""
        return "events" if isinstance(self.operator, EventOperatorConfig) else self.cut.modality


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the pathways are trained."""

    executor: Literal["ray", "inline"] = "ray"
    """inline: one process, without Ray; bitwise the same weights"""
    epochs: int = 4
    batch_size: int = 32
    """samples a step over all workers of a pathway"""
    workers: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    threads_per_worker: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
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
        at_least("training.max_restarts", self.max_restarts, 0)
        at_least("training.cpus_per_worker", self.cpus_per_worker, 0)
        at_least("training.gpus_per_worker", self.gpus_per_worker, 0)


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """What is measured on the frozen representation."""

    enabled: bool = True
    features: Literal["flat", "pooled"] = "flat"
    """flat: every cell's channels; pooled: their mean over the cells"""
    protocols: str = "ridge"
    """classifiers joined by commas: ridge, logistic, knn, classifier"""
    layers: bool = True
    """measure every layer of each pathway too: its channels averaged over the cells, by ridge"""
    subsets: bool = False
    """measure every subset of the pathways too, by ridge"""
    classifier: ClassifierProbeConfig = field(default_factory=ClassifierProbeConfig)
    batch_size: int = 64
    num_bootstrap: int = 2000
    """resamples of the test groups for the 95 % intervals"""
    max_features_gib: float = 20.0
    shortcut: bool = True
    """how far the light of a patch alone solves the task, an operator: seconds, without labels"""

    def __post_init__(self) -> None:
        at_least("probe.batch_size", self.batch_size, 1)
        at_least("probe.num_bootstrap", self.num_bootstrap, 100)
        protocol_names(self.protocols)
        positive("probe.max_features_gib", self.max_features_gib)

    @property
    def protocol_names(self) -> tuple[str, ...]:
        """The names in `protocols`, ridge first."""
        return protocol_names(self.protocols)


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
            _check_parts(name, pathway)
            self._check_cut(name, pathway)
        self._check_modality()
        self._check_batch()

    @property
    def modality(self) -> Modality:
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
        if self.modality != "image" and self.data.cache != "none":
            why = "each epoch takes other frames" if self.modality == "clip" else "it is for images"
            raise ConfigError(f"data.cache is {self.data.cache}, but {why}; set it to none")

    def _check_cut(self, name: str, pathway: PathwayConfig) -> None:
        view_px = pathway.augmentation.crop_px or self.data.canvas_px
        if view_px > self.data.canvas_px:
            raise ConfigError(
                f"pathways.{name}.augmentation.crop_px is {view_px}, larger than data.canvas_px "
                f"{self.data.canvas_px}"
            )
        if isinstance(pathway.cut, BinsConfig):
            rows = num_bins(pathway.operator)
        elif pathway.modality == "events":
            return  # patches of a sensor whose size the data set says: see `Pathway`
        else:
            rows = pathway.cut.num_steps(view_px)
        if isinstance(pathway.objective, PredictionSettings):
            needed = pathway.objective.num_steps + pathway.objective.skip + 1
            if rows < needed:
                raise ConfigError(
                    f"pathways.{name}: {_sequence(pathway.cut, rows, view_px)}, but objective.num_steps "
                    f"{pathway.objective.num_steps} with skip {pathway.objective.skip} needs {needed}; "
                    f"lower num_steps or {_longer(pathway.cut)}"
                )
        if isinstance(pathway.cut, PatchesConfig) and rows < 1:
            raise ConfigError(
                f"pathways.{name}: cut.size_px {pathway.cut.size_px} exceeds the {view_px} px view"
            )

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


def _sequence(cut: CutConfig, length: int, view_px: int) -> str:
    if isinstance(cut, PatchesConfig):
        return f"{length} rows of patches on {view_px} px"
    if isinstance(cut, BinsConfig):
        return f"{length} bins of time (operator.num_bins)"
    return f"{length} frames (cut.num_frames)"


def _longer(cut: CutConfig) -> str:
    if isinstance(cut, PatchesConfig):
        return "the cut's stride_px, or raise data.canvas_px"
    return "raise operator.num_bins" if isinstance(cut, BinsConfig) else "raise cut.num_frames"


def _check_events(name: str, pathway: PathwayConfig) -> None:
    if not isinstance(pathway.operator, EventOperatorConfig):
        raise ConfigError(
            f"pathways.{name}: cut bins takes the surface of an event operator, e.g. operator = "
            f"'voxel_grid'; got operator {pathway.operator.name}"
        )
    if not isinstance(pathway.cut, PatchesConfig | BinsConfig):
        raise ConfigError(
            f"pathways.{name}: operator {pathway.operator.name} makes a surface of events, which cut patches "
            f"or bins takes, not {pathway.cut.name}"
        )
    if pathway.augmentation != AugmentationConfig():
        raise ConfigError(f"pathways.{name}.augmentation is for images and clips; leave it out for events")


def _check_parts(name: str, pathway: PathwayConfig) -> None:
    """Raise ConfigError where cut, encoder and objective do not belong together."""
    cut, encoder, objective = pathway.cut.name, pathway.encoder.name, pathway.objective.name
    if cut not in CUTS_OF_ENCODERS[encoder]:
        raise ConfigError(
            f"pathways.{name}: encoder {encoder} takes cut {' or '.join(CUTS_OF_ENCODERS[encoder])}, "
            f"not {cut}"
        )
    if (cut == "motion") != (objective == "motion"):
        raise ConfigError(
            f"pathways.{name}: cut motion and objective motion go together; got cut {cut} with objective "
            f"{objective}"
        )
    if cut == "volume" and isinstance(pathway.objective, PredictionSettings):
        raise ConfigError(
            f"pathways.{name}: objective {objective} predicts along patches or frames; for cut volume use "
            "objective clapp_video or supervised"
        )
    if objective == "clapp_video" and cut != "volume":
        raise ConfigError(f"pathways.{name}: objective clapp_video takes cut volume, not {cut}")
    if pathway.modality != "image" and pathway.placement == "stream":
        raise ConfigError(f"pathways.{name}.placement is stream, which is for images; set it to worker")
    if pathway.modality == "events":
        _check_events(name, pathway)
    if isinstance(pathway.cut, MotionConfig) and pathway.augmentation != AugmentationConfig():
        raise ConfigError(
            f"pathways.{name}.augmentation: cut motion takes windows of its own, and a mirrored motion is "
            "another one; leave augmentation out"
        )
