"""Represent once: one pass over the labelled splits makes the features of all pathways, controls and floors.

Through Ray actors that hold the encoders take what Ray Data decodes; inline it is the same without Ray.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pipelines.forms.chunk import Chunk, from_table, pack, unpack
from pipelines.modalities import modality_of
from pipelines.order.plan import ChunkPlan
from pipelines.storage.manifest import Manifest
from pipelines.stream.source import StreamSource
from pipelines.views.events import Events
from pipelines.views.views import Operated
from raytrain.checkpoint import load_latest
from raytrain.config import RunConfig
from raytrain.config.operators import UNCHANGED
from raytrain.cpu import prepare_cpu
from raytrain.device import given_device
from raytrain.errors import ConfigError
from raytrain.evaluation.features import LAYERS, FeatureWriter, control_name, layers_name
from raytrain.pathway import Pathway

VALID = "valid.npy"  # bool[N]: False where a sample could not be decoded
FLOOR_CELLS = 16  # floors are area-averaged to at most 16 x 16 cells
FLOOR_CELLS_OF_FRAME = 8  # a clip's to 8 x 8 of each frame
Int64s = NDArray[np.int64]
Features = dict[str, NDArray[np.float16]]
Bad = dict[str, str]
"""why a sample could not be decoded: `reason` and `fate`, as a chunk's `quarantined` has them"""
BAD = pa.struct({"reason": pa.string(), "fate": pa.string()})


@dataclass(frozen=True, kw_only=True)
class RepresentRequest:
    """What to represent; small enough to be sent to every actor."""

    config: RunConfig
    checkpoints: dict[str, str]
    """folder of each pathway's checkpoints"""
    build: Callable[[str, torch.device], Pathway]
    """builds a pathway with its initial weights"""
    device: str = "cpu"
    wanted: tuple[str, ...] = ()
    """features files to make, e.g. `lbp`, `lbp.control`, `floor.pixels`; empty: all. Those of the layers come
    with their encoder's"""

    def wants(self, name: str) -> bool:
        """Return whether a features file is to be made."""
        return not self.wanted or name in self.wanted


class Representer:
    """Holds every pathway with its trained and its initial weights; turns images into features.

    Args:
        statistics: each control's batch-norm statistics from one pass over the pretrain split.
    """

    def __init__(self, request: RepresentRequest, statistics: dict[str, dict[str, torch.Tensor]]) -> None:
        prepare_cpu(threads=request.config.training.threads_per_worker)
        device = given_device(request.device, whose="a process that represents")
        self._config, self._request = request.config, request
        self._kind = modality_of(request.config)
        self._encoders: dict[str, Pathway] = {}
        for name, folder in request.checkpoints.items():
            if request.wants(name):
                checkpoint = load_latest(Path(folder))
                if checkpoint is None:
                    raise ConfigError(f"{folder}: no whole checkpoint of pathway {name}; train it first")
                self._encoders[name] = request.build(name, device)
                self._encoders[name].load_state_tensors(checkpoint.tensors)
            if request.wants(control_name(name)):
                self._encoders[control_name(name)] = request.build(name, device)
                self._encoders[control_name(name)].load_statistics(statistics[name])
        pathways = request.config.pathways.values()
        # The first pathway of each operator stands for it.
        self._floors = {pathway.operator.name: pathway for pathway in reversed(pathways)}
        self._operated = {
            name: Operated(
                pathway.augmentation, pathway.operator, canvas_px=request.config.data.canvas_px
            ).to(device)
            for name, pathway in self._floors.items()
        }
        self._device = device

    @torch.no_grad()
    def features(self, chunk: Chunk) -> Features:
        """Return [n, cells, channels] float16 by name for the samples of a chunk."""
        size = self._config.probe.batch_size
        pathways = self._config.pathways.values()
        readers = {
            self._kind.request(pathway): self._kind.pieces(chunk, pathway, size=size) for pathway in pathways
        }
        parts: list[Features] = []
        for inputs in zip(*readers.values(), strict=True):
            moved = (piece.to(self._device) for piece in inputs)
            parts.append(self._batch(dict(zip(readers, moved, strict=True))))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _batch(self, pieces: Mapping[str, torch.Tensor | Events]) -> Features:
        made: Features = {}
        for name, config in self._config.pathways.items():
            keys = [key for key in (name, control_name(name)) if key in self._encoders]
            views = self._encoders[keys[0]].views_of(pieces[self._kind.request(config)]) if keys else None
            for key in keys:
                assert views is not None
                made |= self._encoded(key, views)
        if self._request.wants("floor.pixels"):
            first = next(iter(self._config.pathways.values()))
            made["floor.pixels"] = _cells(self._kind.floor(pieces[self._kind.request(first)]))
        for name, config in self._floors.items():
            if name not in UNCHANGED and self._request.wants(f"floor.{name}"):
                made[f"floor.{name}"] = _cells(self._operated[name](pieces[self._kind.request(config)], None))
        return made

    def _encoded(self, name: str, views: torch.Tensor | Events) -> Features:
        """Return one encoder's features of some views, those of all layers from the same pass."""
        pathway = self._encoders[name]
        if not self._config.probe.layers:
            return {name: pathway.represent_views(views).cpu().numpy()}
        last, layers = pathway.represent_layers(views)
        return {name: last.cpu().numpy(), layers_name(name): layers.cpu().numpy()}

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the features of a chunk's table, as fixed-size binary columns beside `row` and `bad`."""
        chunk = from_table(table)
        features = self.features(chunk)
        columns = {"row": pa.array(chunk.positions), "bad": pa.array(bad_of(chunk), BAD)}
        columns |= {name: pack(value) for name, value in features.items()}
        shapes = {name: pa.array([list(value.shape[1:])] * len(value)) for name, value in features.items()}
        return pa.table(columns | {f"{name}:shape": shape for name, shape in shapes.items()})


def _cells(maps: torch.Tensor) -> NDArray[np.float16]:
    """Area-average maps f32[n, C, H, W], or with a T behind n, to [n, cells, C]."""
    size = min(FLOOR_CELLS if maps.ndim == 4 else FLOOR_CELLS_OF_FRAME, maps.shape[-1])
    frames = maps.flatten(0, -4)
    pooled = functional.adaptive_avg_pool2d(frames, size).flatten(2).transpose(1, 2)
    cells = pooled.reshape(len(maps), -1, pooled.shape[-1])
    values: NDArray[np.float16] = cells.to(torch.float16).cpu().numpy()
    return values


class Calibrator:
    """Gathers what a trained encoder has from its training and its control lacks: batch-norm statistics.

    They are the cumulative average over the batches of one pass over the pretrain split, in its order; all
    controls are shown each chunk, so that it is decoded once.
    """

    def __init__(self, request: RepresentRequest, names: Sequence[str]) -> None:
        prepare_cpu(threads=request.config.training.threads_per_worker)
        device = given_device(request.device, whose="a process that represents")
        self._config = request.config
        self._controls = {name: request.build(name, device) for name in names}
        for control in self._controls.values():
            control.reset_statistics()

    @property
    def needs_chunks(self) -> bool:
        """Whether any of the controls has statistics."""
        return any(control.has_statistics for control in self._controls.values())

    def add(self, chunk: Chunk) -> None:
        """Show a chunk's valid samples to all controls, in pieces of the training's batch size."""
        chunk = chunk.without_invalid()
        for name, control in self._controls.items():
            if control.has_statistics:
                settings = self._config.pathways[name]
                pieces = modality_of(settings).pieces
                for piece in pieces(chunk, settings, size=self._config.training.batch_size):
                    control.accumulate_statistics(piece)

    def statistics(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return each control's statistics by pathway; {} for one without batch norm."""
        return {
            name: control.statistics() if control.has_statistics else {}
            for name, control in self._controls.items()
        }


def calibrated_names(request: RepresentRequest) -> list[str]:
    """Return the pathways whose controls are to be calibrated."""
    return [name for name in request.checkpoints if request.wants(control_name(name))]


def decoded(source: StreamSource) -> Iterator[Chunk]:
    """Yield a source's chunks of one epoch, decoded here."""
    for number in range(source.plan.chunks_per_epoch):
        yield source.chunk(number)


def evaluation_source(config: RunConfig, manifest: Manifest, rows: Int64s, *, seed: int = 0) -> StreamSource:
    """Return the unshuffled stream of some manifest rows, in pieces of the probe's batch size.

    Of a clip the frames in its middle.
    """
    return StreamSource(
        manifest=manifest,
        rows=rows,
        data=config.data,
        seed=seed,
        plan=ChunkPlan(num_samples=len(rows), chunk_samples=max(2, config.probe.batch_size // 2 * 2)),
        clips=modality_of(config).planner(config, config.pathways, train=False),
        name="represent",
        shuffle=False,
    )


class FeatureSink:
    """Writes features that come in any order into one file a name, opened at the first block."""

    def __init__(self, folder: Path, num_samples: int, config: RunConfig) -> None:
        self._folder, self._num_samples, self._config = folder, num_samples, config
        self._writers: dict[str, FeatureWriter] = {}
        self.bad: dict[int, Bad] = {}
        """the samples that could not be decoded, by their place in the files"""

    def write(self, start: int, features: Features, bad: list[Bad | None]) -> None:
        """Write the features of samples from `start` on; what is named bad is another one's in its place."""
        self.bad |= {start + place: why for place, why in enumerate(bad) if why is not None}
        if not self._writers:
            total = sum(value.nbytes // len(value) for value in features.values()) * self._num_samples
            limit = self._config.probe.max_features_gib
            if total > limit * 2**30:
                raise ConfigError(
                    f"the features need {total / 2**30:.1f} GiB, more than probe.max_features_gib {limit:g}; "
                    "raise it, use fewer pathways, or a smaller encoder.width"
                )
        for name, values in features.items():
            if name not in self._writers:
                self._writers[name] = FeatureWriter(
                    self._folder,
                    name=name,
                    num_samples=self._num_samples,
                    cells=values.shape[1],
                    channels=values.shape[2],
                    max_gib=self._config.probe.max_features_gib,
                )
            self._writers[name].write(start, values)

    def close(self, meta: dict[str, Any], *, layers: Mapping[str, Any] | None = None) -> None:
        """Finish all files; `meta` says what the features are of.

        `layers`: where each layer's channels lie in the files of all layers, by pathway.
        """
        slices = {
            layers_name(naming(name)): {LAYERS: found}
            for name, found in (layers or {}).items()
            for naming in (str, control_name)
        }
        for name, writer in self._writers.items():
            writer.close({**meta, **slices.get(name, {})})
        valid = np.ones(self._num_samples, np.bool_)
        valid[list(self.bad)] = False
        np.save(self._folder / VALID, valid)

    def discard(self) -> None:
        """Remove what was written."""
        for writer in self._writers.values():
            writer.discard()


def represent_inline(
    request: RepresentRequest, source: StreamSource, pretrain: StreamSource, sink: FeatureSink
) -> None:
    """Represent in this process."""
    calibrator = Calibrator(request, calibrated_names(request))
    for chunk in decoded(pretrain) if calibrator.needs_chunks else ():
        calibrator.add(chunk)
    representer = Representer(request, calibrator.statistics())
    start = 0
    for chunk in decoded(source):
        sink.write(start, representer.features(chunk), bad_of(chunk))
        start += len(chunk)


def bad_of(chunk: Chunk) -> list[Bad | None]:
    """Return why each sample of a chunk could not be decoded, and its fate; None for the good ones."""
    found = {entry["key"]: {"reason": entry["reason"], "fate": entry["fate"]} for entry in chunk.quarantined}
    return [found.get(key) for key in chunk.keys]


def features_of(table: pa.Table) -> tuple[int, Features, list[Bad | None]]:
    """Return (first row, features, what is bad) of a table that a Representer made."""
    features = {
        name: unpack(table.column(name), "float16", tuple(table.column(f"{name}:shape")[0].as_py()))
        for name in table.column_names
        if name not in ("row", "bad") and not name.endswith(":shape")
    }
    return table.column("row")[0].as_py(), features, table.column("bad").to_pylist()
