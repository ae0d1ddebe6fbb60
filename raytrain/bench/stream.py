"""The stream against none: steps a second through Ray, and of bare processes on batches in memory."""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from raytrain.config import RunConfig, from_mapping, load_toml, to_toml
from raytrain.cpu import prepare_cpu
from raytrain.errors import ClusterError

STEADY = 20  # steps left out at the start
PATHWAYS = ("identity", "lbp")
NUM_SAMPLES, EPOCHS, BATCH = 1024, 4, 32


def run(*, device: str = "cpu", repeats: int = 5) -> list[dict[str, Any]]:
    """Measure with 1 and with 2 pathways; the two ways take turns, the median of the ratios counts."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as name:
        for num_pathways in (1, 2):
            rounds = [
                _round(Path(name) / f"{num_pathways}-{i}", num_pathways, device) for i in range(repeats)
            ]
            rows += _rows(num_pathways, rounds)
    return rows


def _rows(num_pathways: int, rounds: list[dict[str, float]]) -> list[dict[str, Any]]:
    middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    name = f"stream, {num_pathways} pathway(s)"
    return [
        {"name": f"{name}: bare", "value": middle["bare"], "unit": "steps/s"},
        {
            "name": f"{name}: through ray",
            "value": middle["ray"],
            "unit": "steps/s",
            "against": "bare",
            "ratio": statistics.median(one["ray"] / one["bare"] for one in rounds),
            "bound": ">= 0.9",
        },
        {"name": f"{name}: command to first step", "value": middle["first"], "unit": "s"},
    ]


def _round(folder: Path, num_pathways: int, device: str) -> dict[str, float]:
    config = _config(folder, num_pathways, device)
    folder.mkdir(parents=True)
    settings = folder / "bench.toml"
    settings.write_text(to_toml(config), encoding="utf-8")
    began = time.time()
    _call("train", "--config", str(settings))
    times = _times(folder / "run" / "metrics.jsonl")
    bare = list(_bare(settings, num_pathways))
    return {
        "ray": statistics.mean(_rate(one) for one in times.values()),
        "bare": statistics.mean(_rate(one) for one in bare),
        "first": min(one[1] for one in times.values()) - began,
    }


def _config(folder: Path, num_pathways: int, device: str) -> RunConfig:
    encoder = {"name": "vgg6", "width": 0.0625, "batch_norm": True}
    return from_mapping(
        {
            "preset": "bench",
            "out": str(folder / "run"),
            "data": {"source": "shapes", "shapes": {"num_train": NUM_SAMPLES, "num_test": 16}},
            "training": {"epochs": EPOCHS, "batch_size": BATCH, "log_every": 1, "device": device}
            | {"checkpoint_every": 10**6},
            "pathways": {name: {"operator": name, "encoder": encoder} for name in PATHWAYS[:num_pathways]},
            "probe": {"enabled": False},
            "cache": {"enabled": False},  # the second round would load what the first one trained
        }
    )


def _call(*arguments: str) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "raytrain", *arguments], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise ClusterError(f"bench: `raytrain {' '.join(arguments)}` failed: {made.stderr.strip()[-500:]}")


def _times(metrics: Path) -> dict[str, dict[int, float]]:
    """Return the time of each step of each pathway."""
    times: dict[str, dict[int, float]] = {}
    for line in map(json.loads, metrics.read_text(encoding="utf-8").splitlines()):
        times.setdefault(line["pathway"], {})[line["step"]] = line["time"]
    return times


def _rate(times: dict[int, float]) -> float:
    """Return steps a second from step STEADY on."""
    last = max(times)
    return (last - STEADY) / (times[last] - times[STEADY])


def _bare(settings: Path, num_pathways: int) -> Iterator[dict[int, float]]:
    """Run one process a pathway at the same time, and yield the times of their steps."""
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "raytrain.bench.stream", str(settings), name],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for name in PATHWAYS[:num_pathways]
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # ready
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            yield {int(step): seconds for step, seconds in json.loads(process.stdout.readline()).items()}


def bare_steps(config: RunConfig, name: str) -> dict[int, float]:
    """Take the run's steps on one epoch's batches that lie in memory; return the time of each."""

    import torch

    from pipelines.order.plan import Cursor
    from pipelines.sources import open_manifest
    from pipelines.stream.batch import BatchReader
    from raytrain.training.factory import estimate_standardisers
    from raytrain.training.plan import RunSetup

    prepare_cpu(threads=config.training.threads_per_worker)
    manifest = open_manifest(config.data)
    setup = RunSetup.build(config, manifest, Path(), estimate_standardisers(config, manifest))
    pathway = setup.pathway(name, torch.device(setup.device))
    plan = setup.plan(name)
    bare = replace(config.pathways[name], placement="worker")  # there is no stage here
    reader = BatchReader(plan, setup.source("main").chunk, bare)
    batches = [reader.read(Cursor(0, step)) for step in range(plan.num_steps(0))]
    _tell("ready")
    sys.stdin.readline()
    times: dict[int, float] = {}
    for step in range(config.training.epochs * len(batches)):
        pathway.step(batches[step % len(batches)])
        pathway.check()
        times[step + 1] = time.time()
    return times


def _tell(line: str) -> None:
    """Say a line to the process that measures."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _tell(json.dumps(bare_steps(load_toml(Path(sys.argv[1])), sys.argv[2])))
