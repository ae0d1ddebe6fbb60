"""Events a second that one core reads: .bin files and packed shards beside tonic's reader in the same run."""

import importlib
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.decode.events import decode_events
from pipelines.forms.recording import Recording
from pipelines.generated.moving_shapes import SCHEME, record
from pipelines.storage.event_shards import PackedRow, PlacedRow, unpack_recording, write_event_shard
from pipelines.storage.places import Storage
from pipelines.storage.ranges import read_local

KINDS = {"N-MNIST-like": (34, 300, 4_200, 200), "N-Caltech101-like": (180, 300, 100_000, 12)}
"""name -> side in px, milliseconds, most events, recordings; a few are made and taken several times"""
_MADE = 4
_BOUNDS = {".bin": ">= 2", "packed, none, a shard": ">= 3"}
_REAL = "nmnist"


def run(*, device: str = "cpu", repeats: int = 5, share: float = 1.0) -> list[dict[str, Any]]:
    """Return million events a second of processor time, for each kind of recording and way to read it.

    Generated recordings, and those of N-MNIST below RAYTRAIN_TEST_DATA where it is set. The ways take turns;
    the median of the rounds counts. `against` is the rate of tonic's reader where tonic is installed. Packed
    rows are read by range, in one order and at random; checksums are not part of it. `share` of the
    recordings is read, for a trial.

    The rows of Matrix-LSTM follow.
    """
    rows = []
    kinds = {name: _generated(*sizes, share=share) for name, sizes in KINDS.items()}
    if real := _real(share):
        kinds["N-MNIST"] = real
    for name, recordings in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            rows += _rates(name, _ways(recordings, folder), sum(map(len, recordings)), repeats)
    return rows + _matrix_lstm(device, repeats)


def _rates(
    name: str, ways: dict[str, Callable[[], int]], num_events: int, repeats: int
) -> list[dict[str, Any]]:
    times: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, read in ways.items():
            start = time.process_time()
            if read() != num_events:
                raise AssertionError(f"{way} gave another number of events")
            if repeat:  # the first round warms up
                times[way].append(time.process_time() - start)
    rates = {way: num_events / 1e6 / statistics.median(spent) for way, spent in times.items()}
    tonic = rates.pop("tonic", None)
    rows = [_row(f"read {name}: {way}", rate, tonic) for way, rate in rates.items()]
    return rows if tonic is None else [_row(f"read {name}: .bin, tonic", tonic, None), *rows]


def _row(name: str, value: float, against: float | None) -> dict[str, Any]:
    bound = None
    if against is not None:
        bound = _BOUNDS.get(name.rpartition(": ")[2])
    ratio = None if against is None else value / against
    return {"name": name, "value": value, "unit": "Mev/s", "against": against, "ratio": ratio, "bound": bound}


def _ways(recordings: list[Recording], folder: str) -> dict[str, Callable[[], int]]:
    """Return ways to read all recordings, each of which returns the number of events."""
    paths = [Path(folder, f"{number}.bin") for number in range(len(recordings))]
    for path, recording in zip(paths, recordings, strict=True):
        path.write_bytes(bin_bytes(recording))
    size: dict[str, Any] = {"width": recordings[0].width, "height": recordings[0].height}
    ways: dict[str, Callable[[], int]] = {}
    if importlib.util.find_spec("tonic") is not None:
        ways["tonic"] = _tonic(paths)
    ways[".bin"] = lambda: sum(len(decode_events(read_local(path), name=path.name, **size)) for path in paths)
    rows = [
        PackedRow(key=path.name, label=0, split="train", group=path.name, recording=recording)
        for path, recording in zip(paths, recordings, strict=True)
    ]
    storage = Storage(folder)
    order = np.random.default_rng(0).permutation(len(rows))
    for codec in ("none", "lz4", "zstd"):
        shard = f"{codec}.parquet"
        placed = write_event_shard(storage, shard, rows, codec=codec)
        ways[f"packed, {codec}, a shard"] = _whole(storage, shard, placed, size)
        ways[f"packed, {codec}, rows at random"] = _by_rows(storage, shard, [placed[n] for n in order], size)
    return ways


def _tonic(paths: list[Path]) -> Callable[[], int]:
    reader = importlib.import_module("tonic.io").read_mnist_file
    # As its own N-MNIST asks for them.
    dtype = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    return lambda: sum(len(reader(str(path), dtype)) for path in paths)


def _whole(storage: Storage, shard: str, placed: list[PlacedRow], size: dict[str, int]) -> Callable[[], int]:
    def read() -> int:
        data = memoryview(storage.read_bytes(shard))
        pieces = (data[row.offset : row.offset + row.size] for row in placed)
        return sum(
            len(unpack_recording(piece, row.payload, **size))
            for piece, row in zip(pieces, placed, strict=True)
        )

    return read


def _by_rows(
    storage: Storage, shard: str, placed: list[PlacedRow], size: dict[str, int]
) -> Callable[[], int]:
    def read() -> int:
        pieces = (storage.read_bytes(shard, offset=row.offset, length=row.size) for row in placed)
        return sum(
            len(unpack_recording(piece, row.payload, **size))
            for piece, row in zip(pieces, placed, strict=True)
        )

    return read


def bin_bytes(recording: Recording) -> bytes:
    """Return a recording of less than 2^23 us on at most 240 rows as a file of N-MNIST."""
    t = recording.t.astype(np.uint32)
    octets = np.empty((len(recording), 5), np.uint8)
    octets[:, 0], octets[:, 1] = recording.x, recording.y
    octets[:, 2] = recording.p << 7 | (t >> 16).astype(np.uint8)
    octets[:, 3], octets[:, 4] = t >> 8 & 0xFF, t & 0xFF
    return octets.tobytes()


def _generated(side: int, duration_ms: int, most: int, count: int, *, share: float) -> list[Recording]:
    count = max(1, round(share * count))
    made = [
        record(f"{SCHEME}0/{side}/{duration_ms}/train/{number}").part(0, most)
        for number in range(min(_MADE, count))
    ]
    return [made[number % len(made)] for number in range(count)]


def _real(share: float) -> list[Recording]:
    data = os.environ.get("RAYTRAIN_TEST_DATA")
    paths = sorted((Path(data) / _REAL).rglob("*.bin")) if data else []
    paths = paths[: max(1, round(share * 200))]
    return [decode_events(path.read_bytes(), name=path.name, width=34, height=34) for path in paths]


def _matrix_lstm(device: str, repeats: int) -> list[dict[str, Any]]:
    """Return the rows of `raytrain.bench.matrix_lstm`, where it is."""
    if importlib.util.find_spec("raytrain.bench.matrix_lstm") is None:
        return []
    module = importlib.import_module("raytrain.bench.matrix_lstm")
    rows: list[dict[str, Any]] = module.run(device=device, repeats=repeats)
    return rows
