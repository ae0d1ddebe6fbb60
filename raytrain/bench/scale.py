"""What grows with the data set: a chunk's task, its bytes, the start, and the memory of driver and task.

Rows are generated over a few real images, so that a data set of ten million costs no disk; each measurement
is made in a process of its own, which has done nothing else.
"""

import io
import json
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipelines.order.plan import ChunkPlan
from pipelines.storage.manifest import MANIFEST_FILE, RUN_SPLITS, Manifest
from pipelines.storage.payload import checksum
from pipelines.stream.source import StreamSource
from raytrain.bench.processes import peak_mib
from raytrain.config.data import DataConfig

SIZES = (10_000, 100_000, 1_281_167, 10_000_000)
NUM_IMAGES, NUM_CLASSES, NUM_CHUNKS, CHUNK = 32, 1000, 6, 64
SIDE, STORED = 224, (500, 375)
RESUMED_EPOCH = 3


def run(*, device: str = "cpu", repeats: int = 3, sizes: tuple[int, ...] = SIZES) -> list[dict[str, Any]]:
    """Measure every size; of the CPU times of a task the smallest of all repeats counts."""
    del device
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as name:
        folder = Path(name)
        _write_images(folder)
        found: dict[int, dict[str, float]] = {}
        for size in sizes:
            _call("prepare", folder, size)
            found[size] = _call("start", folder, size) | _call("tasks", folder, size)
        for _ in range(repeats):  # in turn: what else the machine does meets all sizes alike
            for size in sizes:
                for name, value in _call("decode", folder, size).items():
                    found[size][name] = min(value, found[size].get(name, value))
        for size in sizes:
            rows += _rows(size, found[size], least=found[sizes[0]])
    return rows


def _rows(size: int, found: dict[str, float], *, least: dict[str, float]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(name: str, value: float, unit: str, **more: Any) -> None:
        rows.append({"name": f"{size:,} rows: {name}", "value": value, "unit": unit, **more})

    for run_name in ("first", "resumed"):
        ratio = found[run_name] / least[run_name]
        against = {"against": "the smallest set", "ratio": ratio, "bound": "<= 1.1"}
        add(f"a chunk of {CHUNK} in its task, {run_name} run", found[run_name], "CPU ms", **against)
    add("a task", found["task_bytes"] / CHUNK, "bytes a sample", bound="<= 1024")
    add("making a task", found["make_task"], "CPU ms")
    add("start: load, checks, hash, splits", found["start"], "CPU s", bound="<= 1.5 at 1.28 M")
    add("peak memory of that process", found["start_mib"], "MiB", bound="<= 2048 at 10 M")
    add("peak memory of the producer of tasks", found["tasks_mib"], "MiB")
    add("peak memory of a decode task", found["decode_mib"], "MiB")
    return rows


def _call(part: str, folder: Path, size: int) -> dict[str, float]:
    """Run a part of the measurement in a process of its own and return what it found."""
    command = [sys.executable, "-m", "raytrain.bench.scale", part, str(folder), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"bench scale: {part} of {size} rows failed: {done.stderr.strip()[-500:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _write_images(folder: Path) -> None:
    """Write photographs of noise that is smooth enough to be packed like a real one."""
    rng = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        coarse = rng.integers(0, 256, (24, 32, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize(STORED, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        (folder / f"{number}.jpg").write_bytes(file.getvalue())


def _prepare(folder: Path, size: int) -> dict[str, float]:
    """Write a prepared manifest of so many rows."""
    numbers = np.arange(size)
    stored = [(folder / f"{number}.jpg").read_bytes() for number in range(NUM_IMAGES)]
    places = pa.array(numbers % NUM_IMAGES)
    keys = pa.array([f"class{number % NUM_CLASSES:04d}/{number:08d}.jpg" for number in range(size)])
    of_split = np.where(numbers % 100 < 90, 0, numbers % 2 + 1)
    table = pa.table(
        {
            "key": keys,
            "uri": pa.array([f"{number}.jpg" for number in range(NUM_IMAGES)]).take(places),
            "offset": pa.array(np.zeros(size, np.int64)),
            "bytes": pa.array([len(data) for data in stored], pa.int64()).take(places),
            "checksum": pa.array([checksum(data) for data in stored]).take(places),
            "label": pa.array(numbers % NUM_CLASSES),
            "split": pa.array(["train", "select", "test"]).take(pa.array(of_split)),
            "group": keys,
        }
    )
    classes = tuple(f"class{number:04d}" for number in range(NUM_CLASSES))
    Manifest(table=table, root=str(folder), classes=classes).save(str(_home(folder, size) / MANIFEST_FILE))
    return {}


def _start(folder: Path, size: int) -> dict[str, float]:
    """Do what every start does with a manifest."""
    began = time.process_time()
    manifest = Manifest.load(str(_home(folder, size) / MANIFEST_FILE))
    found = [manifest.hash, *(len(manifest.indices(split)) for split in RUN_SPLITS)]
    assert all(found), "a hash, and samples of every split"
    return {"start": time.process_time() - began, "start_mib": peak_mib()}


def _tasks(folder: Path, size: int) -> dict[str, float]:
    """Make tasks of a first and of a resumed run, and keep them for the process that decodes."""
    source = _source(folder, size)
    firsts = {"first": 0, "resumed": RESUMED_EPOCH * source.plan.chunks_per_epoch}
    source.task(firsts["resumed"] + NUM_CHUNKS)  # the order of an epoch is found once
    began = time.process_time()
    made = {name: [source.task(first + n) for n in range(NUM_CHUNKS)] for name, first in firsts.items()}
    sent = {name: [pickle.dumps(task) for task in tasks] for name, tasks in made.items()}
    spent = time.process_time() - began
    (_home(folder, size) / "tasks.pickle").write_bytes(pickle.dumps((source.decoder, sent)))
    return {
        "task_bytes": max(len(data) for tasks in sent.values() for data in tasks),
        "make_task": 1000 * spent / (2 * NUM_CHUNKS),
        "tasks_mib": peak_mib(),
    }


def _decode(folder: Path, size: int) -> dict[str, float]:
    """Do the tasks, one after the other, as a process that decodes does."""
    decoder, sent = pickle.loads((_home(folder, size) / "tasks.pickle").read_bytes())
    found: dict[str, float] = {}
    decoder.make(pickle.loads(sent["first"][0]))  # the libraries are loaded once a process
    for name, tasks in sent.items():
        times = []
        for data in tasks:
            began = time.process_time()
            made = decoder.make(pickle.loads(data))
            times.append(1000 * (time.process_time() - began))
            assert made.valid.all(), "generated samples can be decoded"
        found[name] = min(times)
    return {**found, "decode_mib": peak_mib()}


def _source(folder: Path, size: int) -> StreamSource:
    data = DataConfig(root=str(folder), canvas_px=SIDE)
    manifest = Manifest.load(str(_home(folder, size) / MANIFEST_FILE))
    rows = manifest.indices("pretrain")
    plan = ChunkPlan(num_samples=len(rows), chunk_samples=CHUNK)
    return StreamSource(manifest=manifest, rows=rows, data=data, seed=0, plan=plan)


def _home(folder: Path, size: int) -> Path:
    home = folder / str(size)
    home.mkdir(exist_ok=True)
    return home


if __name__ == "__main__":
    parts = {"prepare": _prepare, "start": _start, "tasks": _tasks, "decode": _decode}
    sys.stdout.write(json.dumps(parts[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))) + "\n")
