"""Our stream beside other loaders over the same files with the same decoding: samples a second of processor.

One reader, and four that train beside one another: ours share one stream, of the others each has a loader.
Start-up is left out: of the others the first epoch, of ours what a run of one epoch takes of a longer one.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.order.plan import Cursor
from pipelines.sources import open_manifest
from raytrain.bench.peers import MAX_PIXELS, PEERS, Files, write_settings
from raytrain.bench.processes import TICKS_A_SECOND, CpuMeter
from raytrain.config import RunConfig, from_mapping
from raytrain.errors import ClusterError, ConfigError, DataError
from raytrain.training.plan import RunSetup

NUM_IMAGES, EPOCHS, BATCH = 2048, 4, 64
SIZE_PX, CANVAS_PX = (500, 375), 224
READERS = (1, 4)
OURS = "raytrain through ray"
TORCH = "torch DataLoader"

Rates = dict[tuple[str, int], float]
"""samples a second of processor that every reader gets, by loader and number of readers"""


def run(
    *, device: str = "cpu", repeats: int = 3, root: str = "", num_images: int = NUM_IMAGES
) -> list[dict[str, Any]]:
    """Measure in rounds in which all take turns; a row is the median, and its least and most.

    Args:
        root: a data set of image files; empty: JPEGs of 500 x 375 px are made.
        num_images: how many are made.

    Raises:
        ConfigError: Ray's processes would be another's.
        DataError: what lies at `root` are no plain files.
    """
    del device  # loading is the processor's
    if os.environ.get("RAY_ADDRESS"):
        raise ConfigError("bench loaders counts the processes that it starts itself; unset RAY_ADDRESS")
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as name:
        folder = Path(name)
        if not root:
            write_images(folder / "data", num_images)
        config = _config(folder, root or str(folder / "data"))
        files = _files(config, folder / "packed")
        loaders: dict[str, Callable[[int], float]] = {}
        for peer in (name for name, one in PEERS.items() if one.is_installed):
            loaders[peer] = _Peer.packed(peer, files)
        from raytrain.training.cluster import connect

        with connect(config), CpuMeter(os.getpid()) as meter:
            setup = RunSetup.build(config, open_manifest(config.data), folder, {})
            ours = _Ours(setup, meter)
            ours.read(READERS[0], 1)  # starts the processes
            loaders[OURS] = ours
            rounds: list[Rates] = [
                {(name, count): measure(count) for name, measure in loaders.items() for count in READERS}
                for _ in range(repeats)
            ]
    absent = [name for name, peer in PEERS.items() if not peer.is_installed]
    return rows_of(rounds) + ours.broadcast_rows() + [_absent(absent)] * bool(absent)


def rows_of(rounds: Sequence[Rates]) -> list[dict[str, Any]]:
    """Return a row a loader and number of readers; ratios are medians of the rounds' own.

    Ours is held against torch's loader with as many readers; four readers of ours against one, ours and
    torch's, too.
    """
    one, four = READERS
    rows = [_row(rounds, loader) for loader in rounds[0]]
    against_torch = [
        _row(rounds, (OURS, count), (TORCH, other), bound=">= 1" if count == other == four else None)
        for count, other in ((one, one), (four, four), (four, one))
    ]
    return [*rows, *against_torch, _row(rounds, (OURS, four), (OURS, one), bound=">= 0.9")]


def _row(
    rounds: Sequence[Rates],
    loader: tuple[str, int],
    other: tuple[str, int] | None = None,
    *,
    bound: str | None = None,
) -> dict[str, Any]:
    values = [rates[loader] for rates in rounds]
    row = {
        "name": _named(loader),
        "value": statistics.median(values),
        "unit": f"samples/cpu-s, {min(values):.4g} to {max(values):.4g}",
    }
    if other is None:
        return row
    ratio = statistics.median(rates[loader] / rates[other] for rates in rounds)
    return row | {"against": _named(other), "ratio": ratio, "bound": bound}


def _named(loader: tuple[str, int]) -> str:
    name, count = loader
    return f"{name}, {count} reader{'s' if count > 1 else ''}"


def _absent(names: Sequence[str]) -> dict[str, Any]:
    """Return the row that says what was not measured."""
    return {
        "name": f"not installed: {', '.join(names)}",
        "value": len(names),
        "unit": "(pip install 'raytrain[peers]')",
    }


def write_images(folder: Path, count: int) -> None:
    """Write JPEGs with edges and grain, which take as many bytes as photographs of their size."""
    random = np.random.default_rng(0)
    for number in range(count):
        spots = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
        coarse = spots.resize(SIZE_PX, Image.Resampling.BICUBIC)
        grain = random.normal(0, 10, (SIZE_PX[1], SIZE_PX[0], 1))
        pixels = np.clip(np.asarray(coarse, np.float64) + grain, 0, 255).astype(np.uint8)
        path = folder / "train" / f"class{number % 10}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def _config(folder: Path, root: str) -> RunConfig:
    return from_mapping(
        {
            "preset": "bench",
            "out": str(folder / "run"),
            "data": {
                "root": root,
                "canvas_px": CANVAS_PX,
                "select_fraction": 0.0,
                "max_pixels": MAX_PIXELS,
                "fit": "squash",
            },
            "training": {"epochs": 1 + EPOCHS, "batch_size": BATCH, "device": "cpu"},
            "pathways": {"identity": {}},
            "cache": {"enabled": False},
        }
    )


def _files(config: RunConfig, packed: Path) -> Files:
    """Return the files of the pretrain split, for the others to read."""
    manifest = open_manifest(config.data)
    rows = manifest.indices("pretrain")
    paths = [str(Path(manifest.root) / manifest.table["uri"][row].as_py()) for row in rows.tolist()]
    if not all(Path(path).is_file() for path in paths):
        raise DataError(
            f"data.root {config.data.root}: bench loaders needs image files in folders of classes"
        )
    return Files(
        paths=paths,
        labels=manifest.labels[rows].tolist(),
        canvas_px=config.data.canvas_px,
        batch_size=BATCH,
        epochs=EPOCHS,
        packed=str(packed),
    )


@dataclass(frozen=True)
class _Peer:
    """One of the others: each reader is a process with a loader of its own."""

    name: str
    settings: Path
    num_samples: int

    @classmethod
    def packed(cls, name: str, files: Files) -> "_Peer":
        """Let the peer make its form of the files, which is not measured."""
        folder = Path(files.packed) / PEERS[name].package
        folder.mkdir(parents=True)
        own = replace(files, packed=str(folder))
        PEERS[name].pack(own)
        settings = folder.with_suffix(".json")
        write_settings(own, settings)
        return cls(name, settings, len(files.paths))

    def __call__(self, num_readers: int) -> float:
        command = [sys.executable, "-m", "raytrain.bench.peers", self.name, str(self.settings)]
        started = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(num_readers)
        ]
        seconds = 0.0
        for process in started:
            told, complaint = process.communicate()
            if process.returncode:
                last = complaint.strip().splitlines()[-1:]
                raise ClusterError(f"bench loaders: {self.name} failed: {''.join(last)}")
            count, taken = json.loads(told.splitlines()[-1])
            if count != EPOCHS * self.num_samples:
                raise ClusterError(
                    f"bench loaders: {self.name} gave {count} samples, not {EPOCHS} x {self.num_samples}"
                )
            seconds += taken
        return EPOCHS * self.num_samples / seconds


@dataclass(frozen=True, kw_only=True)
class _Read:
    samples: int
    """that every reader got"""
    seconds: float
    """of all cores"""
    broadcast_s: float
    """of the broadcast's process"""


@dataclass(frozen=True)
class _Ours:
    """Our stream: readers that cut batches out of the same chunks, as trainings do."""

    setup: RunSetup
    meter: CpuMeter
    broadcast_s: dict[int, list[float]] = field(default_factory=dict)
    """seconds of processor that the broadcast's own process took a sample, by number of readers"""

    def __call__(self, num_readers: int) -> float:
        few, many = (self.read(num_readers, epochs) for epochs in (1, 1 + EPOCHS))
        count = many.samples - few.samples
        self.broadcast_s.setdefault(num_readers, []).append((many.broadcast_s - few.broadcast_s) / count)
        return count / max(many.seconds - few.seconds, 1 / TICKS_A_SECOND)

    def broadcast_rows(self) -> list[dict[str, Any]]:
        """Return what the process that hands out chunks takes for a sample, whoever reads it."""
        return [
            {
                "name": f"the process of the broadcast, {count} reader{'s' if count > 1 else ''}",
                "value": 1000 * statistics.median(values),
                "unit": f"CPU ms a sample, chunks of {self.setup.source('main').plan.chunk_samples}",
                "bound": "<= 0.1",
            }
            for count, values in self.broadcast_s.items()
        ]

    def read(self, num_readers: int, epochs: int) -> "_Read":
        """Read so many epochs with so many readers beside one another."""
        import ray

        from pipelines.stream.broadcast import Broadcast

        class Metered(Broadcast):
            def seconds(self) -> float:
                return time.process_time()

        began = self.meter.seconds()
        actor: Any = ray.remote(Metered).options(num_cpus=0, max_concurrency=100).remote()
        actor.serve.remote({"main": self._request(num_readers, epochs)})
        try:
            with ThreadPoolExecutor(num_readers) as pool:
                counts = list(pool.map(lambda place: self._read(actor, place, epochs), range(num_readers)))
            own_s = ray.get(actor.seconds.remote())
            return _Read(samples=min(counts), seconds=self.meter.seconds() - began, broadcast_s=own_s)
        finally:
            ray.kill(actor)

    def _request(self, num_readers: int, epochs: int) -> Any:
        from pipelines.stream.broadcast import StreamRequest
        from raytrain.training.cluster import cluster_resources
        from raytrain.training.experiment import window_chunks

        setup, source = self.setup, self.setup.source("main")
        plan = setup.plan("identity")
        store_bytes = cluster_resources().get("object_store_memory", 2**30)
        return StreamRequest(
            source=source,
            cursors={f"reader/{place}": 0 for place in range(num_readers)},
            num_chunks=epochs * source.plan.chunks_per_epoch,
            num_used=[plan.num_used(epoch) for epoch in range(epochs)],
            window_chunks=window_chunks(setup, "main", store_bytes=store_bytes),
            chunk_bytes=source.plan.chunk_samples * setup.sample_bytes["main"],
            decode_tasks=setup.allotment.decode_tasks,
        )

    def _read(self, actor: Any, place: int, epochs: int) -> int:
        """Read all batches; return the samples."""
        from pipelines.stream.batch import BatchReader
        from pipelines.stream.reader import ChunkReader

        plan = self.setup.plan("identity")
        chunks = ChunkReader(actor, "main", f"reader/{place}", plan.needed_chunks(Cursor(), epochs))
        batches = BatchReader(plan, chunks, self.setup.config.pathways["identity"])
        count = sum(
            len(batches.read(Cursor(epoch, step)))
            for epoch in range(epochs)
            for step in range(plan.num_steps(epoch))
        )
        chunks.close()
        return count
