"""Two runs do not train the same thing at the same time: marks, and the waiting for each other's."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from raytrain import api
from raytrain.config import from_mapping
from raytrain.errors import Interrupted
from raytrain.training import turns
from raytrain.training.marks import FOLDER, STALE_S, Holder, Marks
from tests.conftest import small_values

KEY = "a" * 24


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def held_by(holder: Holder | None) -> int | None:
    return holder.process if holder else None


def from_elsewhere(cache: Path, steps: int, clock: Clock) -> Path:
    """A mark of another machine."""
    path = cache / FOLDER / f"{KEY}-{steps:08d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"process": 7, "host": "elsewhere", "since": clock.now, "token": "t"}))
    os.utime(path, (clock.now, clock.now))
    return path


def test_the_second_is_told_who_trains(tmp_path: Path, clock: Clock) -> None:
    first, second = Marks(tmp_path, clock), Marks(tmp_path, clock)
    assert first.claim(KEY, 9) is None
    assert first.claim(KEY, 9) is None
    holder = second.claim(KEY, 9)
    assert holder is not None
    assert holder.process == os.getpid()
    assert second.claim("b" * 24, 9) is None
    first.release()
    assert second.claim(KEY, 9) is None
    assert held_by(first.claim(KEY, 9)) == os.getpid()


def test_a_shorter_training_is_waited_for_and_a_longer_one_is_not(tmp_path: Path, clock: Clock) -> None:
    from_elsewhere(tmp_path, 5, clock)
    marks = Marks(tmp_path, clock)
    assert held_by(marks.claim(KEY, 9)) == 7
    assert marks.claim(KEY, 3) is None


def test_a_silent_mark_is_taken_over_and_a_heartbeat_keeps_it(tmp_path: Path, clock: Clock) -> None:
    first, second = Marks(tmp_path, clock), Marks(tmp_path, clock)
    first.claim(KEY, 9)
    clock.now += STALE_S - 1
    first.beat()
    clock.now += STALE_S - 1
    assert second.claim(KEY, 9) is not None
    clock.now += 2
    assert second.claim(KEY, 9) is None
    first.beat()  # it woke up: the mark is another's now
    first.release()
    assert held_by(Marks(tmp_path, clock).claim(KEY, 9)) == os.getpid()
    second.release()
    assert Marks(tmp_path, clock).claim(KEY, 9) is None


def test_the_mark_of_a_process_that_was_killed_is_taken_over_at_once(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib\nfrom raytrain.training.marks import Marks\n"
        f"Marks(pathlib.Path(sys.argv[1])).claim({KEY!r}, 9)\nos._exit(9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert ended.returncode == 9
    assert len(list((tmp_path / FOLDER).glob(f"{KEY}-*.json"))) == 1
    assert Marks(tmp_path).claim(KEY, 9) is None


def test_one_of_many_gets_the_mark(tmp_path: Path) -> None:
    everyone = [Marks(tmp_path) for _ in range(16)]
    begin, claimed = threading.Barrier(len(everyone)), []

    def claim(marks: Marks) -> None:
        begin.wait()
        claimed.append(marks.claim(KEY, 9))

    threads = [threading.Thread(target=claim, args=(marks,)) for marks in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(holder is None for holder in claimed) == 1


def test_a_mark_is_alive_while_it_is_entered_and_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.training.marks.BEAT_S", 0.01)
    beaten = threading.Event()
    monkeypatch.setattr(Marks, "beat", lambda self: beaten.set())

    def fail() -> None:
        with Marks(tmp_path) as marks:
            marks.claim(KEY, 9)
            assert beaten.wait(10)
            raise RuntimeError("in the training")

    with pytest.raises(RuntimeError, match="in the training"):
        fail()
    assert not list((tmp_path / FOLDER).glob("*.json"))


def test_a_cut_off_mark_and_a_folder_that_cannot_be_written_hold_nobody_up(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / f"{KEY}-00000009.json").write_text('{"process"')
    assert Marks(tmp_path).claim(KEY, 9) is None
    (tmp_path / "file").write_text("")
    assert Marks(tmp_path / "file").claim(KEY, 9) is None


def train(out: Path, **changes: Any) -> dict[str, Any]:
    return api.train(from_mapping({**small_values(**changes), "out": str(out)})).summary


def trained(summary: dict[str, Any]) -> dict[str, int]:
    return {p["name"]: p["steps"] - p["cached_steps"] for p in summary["pathways"]}


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The entry of pathway lbp, trained before and laid aside: another process is at it, as its mark says."""
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))
    train(tmp_path / "before")
    for one in (tmp_path / "cache").iterdir():
        if one.name != FOLDER and json.loads((one / "entry.json").read_text())["name"] == "lbp":
            one.rename(tmp_path / one.name)
        elif one.name != FOLDER:
            shutil.rmtree(one)
    (aside,) = (one for one in tmp_path.iterdir() if len(one.name) == 24)
    other = tmp_path / "cache" / FOLDER / f"{aside.name}-00000009.json"
    other.write_text(json.dumps({"process": 7, "host": "elsewhere", "since": 0.0, "token": "t"}))
    return aside


def when_it_waits(monkeypatch: pytest.MonkeyPatch, then: Any) -> list[str]:
    """Do something at each wait; return the lines that were said then."""
    said: list[str] = []
    real = turns._wait

    def wait(setup: Any, held: Any, told: Any, training: Any, sleep: Any) -> None:
        real(setup, held, told, training, lambda _: None)
        said[:] = sorted(told)
        then(training)

    monkeypatch.setattr(turns, "_wait", wait)
    return said


@pytest.mark.slow
def test_a_run_trains_its_own_and_loads_what_another_has_trained_meanwhile(
    tmp_path: Path, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(_: Any) -> None:
        assert [one.name for one in (tmp_path / "cache" / FOLDER).glob("*.json")] == [
            f"{entry.name}-00000009.json"
        ]
        entry.rename(tmp_path / "cache" / entry.name)

    said = when_it_waits(monkeypatch, finish)
    summary = train(tmp_path / "run")
    assert trained(summary) == {"identity": 9, "lbp": 0}
    assert len(said) == 1
    assert said[0].startswith("pathway lbp is being trained by process 7 on host elsewhere (since ")
    assert said[0].endswith("); waiting for it")


@pytest.mark.slow
def test_what_another_gave_up_is_trained_here(
    tmp_path: Path, entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "cache" / FOLDER / f"{entry.name}-00000009.json"
    when_it_waits(monkeypatch, lambda _: mark.unlink())
    assert trained(train(tmp_path / "run")) == {"identity": 9, "lbp": 9}
    assert len(list((tmp_path / "cache").glob("*/step-*"))) == 2
    assert not list((tmp_path / "cache" / FOLDER).glob("*.json"))


def test_a_stop_ends_the_waiting(tmp_path: Path, entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(training: Any) -> None:
        training.stop = lambda: True

    when_it_waits(monkeypatch, stop)
    with pytest.raises(
        Interrupted, match="stopped while another run was training lbp; what this run has trained"
    ):
        train(tmp_path / "run")
    assert len(list((tmp_path / "cache").glob("*/step-*"))) == 1


def test_a_dry_run_marks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))
    api.dry_run(from_mapping({**small_values(), "out": str(tmp_path / "run")}))
    assert not (tmp_path / "cache" / FOLDER).exists()
