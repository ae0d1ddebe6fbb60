import builtins
import json
import resource
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from raytrain.training import tensorboard
from raytrain.training.recorder import Recorder


def line(pathway: str, step: int, **more: Any) -> dict[str, Any]:
    return {
        "pathway": pathway,
        "step": step,
        "rank": 0,
        "time": 1000.0 + step,
        "losses": {"layer1": 0.5 * step, "layer2": 2.0},
        "samples_per_s": 40.0,
        "memory_mib": 512,
        "waits": {"data": 0.25, "step": 0.75},
        "health": {"layer1": {"rank": 3.5, "dead": 0.0}, "layer2": {"rank": 2.0}},
        **more,
    }


def read(folder: Path, pathway: str) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard" / pathway))
    events.Reload()
    return events


def series(folder: Path, pathway: str, tag: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in read(folder, pathway).Scalars(tag)]


def test_every_figure_of_a_line_is_an_event(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path), "demo")
    recorder.log(line("lbp", 10))
    recorder.log({"pathway": "lbp", "step": 10, "rank": 1, "time": 5.0})  # has nothing to show
    recorder.log(line("rg", 10))
    recorder.log(line("lbp", 20, losses={"layer1": 1.0}, health={"layer1": {"rank": None}}))
    recorder.close()
    assert sorted(read(tmp_path, "lbp").Tags()["scalars"]) == [
        "health_dead/layer1",
        "health_rank/layer1",
        "health_rank/layer2",
        "loss/layer1",
        "loss/layer2",
        "loss/total",
        "memory/mib",
        "rate/samples_per_s",
        "waits/data",
        "waits/step",
    ]
    assert series(tmp_path, "lbp", "loss/total") == [(10, 7.0), (20, 1.0)]
    assert series(tmp_path, "lbp", "health_rank/layer1") == [(10, 3.5)]
    assert series(tmp_path, "rg", "waits/data") == [(10, 0.25)]
    assert read(tmp_path, "lbp").Scalars("loss/layer1")[1].wall_time == 1020.0


def test_a_run_that_was_killed_has_neither_gaps_nor_steps_twice(tmp_path: Path) -> None:
    first = Recorder(str(tmp_path), "demo")
    for step in (10, 20, 30):
        first.log(line("lbp", step))  # and is killed: the last ones were not flushed
    again = Recorder(str(tmp_path), "demo")
    for step in (20, 30, 40):  # the worker came back from a checkpoint
        again.log(line("lbp", step))
    again.close()
    assert [step for step, _ in series(tmp_path, "lbp", "loss/total")] == [10, 20, 30, 40]
    first.close()


def test_without_tensorboardx_the_run_says_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    recorder = Recorder(str(tmp_path), "demo")
    recorder.log(line("lbp", 10))
    recorder.log(line("lbp", 20))
    assert recorder.drain()["events"] == ["no TensorBoard events: tensorboardX is not installed"]
    recorder.close()
    assert not (tmp_path / "tensorboard").exists()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_full_disk_ends_the_events_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    monkeypatch.setattr(tensorboard, "FLUSH_S", 0.0)
    recorder = Recorder(str(tmp_path), "demo")
    recorder.log(line("lbp", 10))
    file = next((tmp_path / "tensorboard" / "lbp").iterdir())
    limits, handler = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, limits[1]))
    try:
        recorder._board.log(line("lbp", 20))
        recorder._board.log(line("lbp", 30))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    recorder.log(line("lbp", 40))
    assert recorder.drain()["events"] == ["TensorBoard events end here: [Errno 27] File too large"]
    recorder.close()
    logged = [json.loads(text)["step"] for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert logged == [10, 40]
