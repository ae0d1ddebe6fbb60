import errno
import json
import re
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.stream.decoder import DecodeCount
from raytrain.training import line_file
from raytrain.training.recorder import Recorder, counts_so_far

Open = Callable[[], Recorder]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens recorders of one run folder; the former one was killed, so to speak."""
    all_of_them: list[Recorder] = []

    def opened() -> Recorder:
        all_of_them.append(Recorder(str(tmp_path), "demo"))
        return all_of_them[-1]

    yield opened
    for recorder in all_of_them:
        recorder.close()


def line(pathway: str, step: int, rank: int = 0) -> dict[str, Any]:
    logged: dict[str, Any] = {"pathway": pathway, "step": step, "rank": rank}
    return logged | ({"losses": {"layer1": 0.5}} if rank == 0 else {})


def written(folder: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / name).read_text().splitlines()]


Bad = dict[str, str]


def steps(folder: Path) -> list[tuple[str, int, int]]:
    return [(one["pathway"], one["rank"], one["step"]) for one in written(folder)]


def decoded(chunk: int, decodes: int = 4, bad: Bad | None = None, stream: str = "main") -> DecodeCount:
    quarantined = [{"key": key, "reason": "broken", "fate": fate} for key, fate in (bad or {}).items()]
    return DecodeCount(stream, chunk, decodes, quarantined, {"short": 1})


def test_lines_are_written_at_once_and_drained_once(opened: Open, tmp_path: Path) -> None:
    recorder = opened()
    recorder.log(line("lbp", 10))
    recorder.log(line("lbp", 10, rank=1))
    assert written(tmp_path) == [{"run": "demo", **line("lbp", 10)}, {"run": "demo", **line("lbp", 10, 1)}]
    assert recorder.drain()["lines"] == [line("lbp", 10)]  # ranks above 0 have nothing to show
    assert recorder.drain()["lines"] == []


def test_lines_are_not_repeated_after_a_restart(opened: Open, tmp_path: Path) -> None:
    first = opened()
    for step in (10, 20):
        first.log(line("lbp", step))
        first.log(line("lbp", step, rank=1))
    first.log(line("identity", 30))
    first.log(line("lbp", 10))  # a worker that came back from an earlier checkpoint
    again = opened()  # another process, the first one was killed
    for step in (10, 20, 30):
        again.log(line("lbp", step))
    again.log(line("identity", 20))
    assert steps(tmp_path) == [
        ("lbp", 0, 10),
        ("lbp", 1, 10),
        ("lbp", 0, 20),
        ("lbp", 1, 20),
        ("identity", 0, 30),
        ("lbp", 0, 30),
    ]
    assert [one["step"] for one in again.drain()["lines"]] == [30]


def test_a_line_that_a_kill_cut_off_is_written_again(opened: Open, tmp_path: Path) -> None:
    first = opened()
    first.log(line("lbp", 10))
    first.log(line("lbp", 20))
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])
    again = opened()
    again.log(line("lbp", 10))
    again.log(line("lbp", 20))
    assert steps(tmp_path) == [("lbp", 0, 10), ("lbp", 0, 20)]


def test_a_quarantined_key_that_a_kill_cut_off_is_written_again(opened: Open, tmp_path: Path) -> None:
    first = opened()
    first.decoded(decoded(0, bad={"a": "damaged", "b": "damaged"}))
    path = tmp_path / "quarantine.jsonl"
    path.write_text(path.read_text()[:-5])
    again = opened()
    assert again.counts()["quarantined"] == 1
    again.decoded(decoded(0, bad={"a": "damaged", "b": "damaged"}))
    assert opened().counts()["quarantined"] == 2
    assert [one["key"] for one in written(tmp_path, "quarantine.jsonl")] == ["a", "b"]


def test_counters_survive_a_new_process(opened: Open, tmp_path: Path) -> None:
    first = opened()
    for chunk in range(3):
        first.decoded(decoded(chunk))
    first.operated("lbp-1", 8)
    assert first.close() == {
        "decodes": 12,
        "decodes_replayed": 0,
        "operated": {"lbp-1": 8},
        "counts": {"short": 3},
        "quarantined": 0,
        "quarantined_by": {"missing": 0, "damaged": 0, "timed_out": 0},
        "starts": {},
    }
    again = opened()
    again.decoded(decoded(3))
    again.operated("lbp-1", 4)
    counts = again.counts()
    assert (counts["decodes"], counts["decodes_replayed"]) == (16, 0)
    assert counts["operated"] == {"lbp-1": 12}
    assert counts["counts"] == {"short": 4}


def test_replayed_decodes_are_counted_within_and_across_processes(opened: Open, tmp_path: Path) -> None:
    first = opened()
    for chunk in (0, 1, 2, 1):  # the stream went back for a reader
        first.decoded(decoded(chunk))
    assert (first.counts()["decodes"], first.counts()["decodes_replayed"]) == (16, 4)
    first.decoded(decoded(0, stream="other"))  # another stream has its own numbers
    assert first.close()["decodes_replayed"] == 4
    again = opened()
    again.decoded(decoded(2))  # made again after a restart of everything
    again.decoded(decoded(3))
    again.decoded(decoded(1, stream="other"))
    assert again.counts()["decodes_replayed"] == 8
    assert again.counts()["decodes"] == 32


def test_chunks_from_a_cache_cost_no_decodes(opened: Open) -> None:
    recorder = opened()
    for chunk in (0, 1, 0):
        recorder.decoded(decoded(chunk, decodes=0))
    assert recorder.counts()["decodes"] == recorder.counts()["decodes_replayed"] == 0


def test_a_sample_is_quarantined_once(opened: Open, tmp_path: Path) -> None:
    recorder = opened()
    recorder.decoded(decoded(0, bad={"a": "missing"}))
    recorder.decoded(decoded(7, bad={"a": "missing", "b": "timed_out"}))  # the next epoch
    lines = [
        {"key": "a", "reason": "broken", "fate": "missing"},
        {"key": "b", "reason": "broken", "fate": "timed_out"},
    ]
    assert written(tmp_path, "quarantine.jsonl") == lines
    counted = {"missing": 1, "damaged": 0, "timed_out": 1}
    for counts in (recorder.close(), opened().counts(), counts_so_far(tmp_path)):
        assert (counts["quarantined"], counts["quarantined_by"]) == (2, counted)


def test_a_quarantine_of_old_is_of_damaged_samples(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "quarantine.jsonl").write_text('{"key": "a", "reason": "broken"}\n')
    assert opened().counts()["quarantined_by"] == {"missing": 0, "damaged": 1, "timed_out": 0}


def test_a_restart_is_an_event_and_a_first_start_is_not(opened: Open, tmp_path: Path) -> None:
    recorder = opened()
    for rank in (0, 1):
        recorder.started("lbp", rank, 0, "process 7")
    assert recorder.drain()["events"] == []
    for rank in (0, 1):
        recorder.started("lbp", rank, 40, "process 8")
    fresh = recorder.drain()
    assert fresh["events"] == ["lbp restarted from step 40 (restart 1)"]
    assert fresh["starts"] == {"lbp": 2}
    log = (tmp_path / "log.txt").read_text().splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", text) for text in log] == [
        "lbp rank 0 starts at step 0 as process 7",
        "lbp rank 1 starts at step 0 as process 7",
        "lbp rank 0 starts at step 40 as process 8",
        "lbp restarted from step 40 (restart 1)",
        "lbp rank 1 starts at step 40 as process 8",
    ]


def test_the_first_rank_that_fails_is_said_and_its_peers_are_only_noted(opened: Open, tmp_path: Path) -> None:
    recorder = opened()
    recorder.waits("lbp", "controller")
    recorder.crashed("lbp", 1, "ValueError: planted", "Traceback ...\n  line 1\n")
    recorder.crashed("lbp", 0, "RuntimeError: peer gone", "Traceback ...\n  line 2\n")
    assert recorder.crash("lbp") == "rank 1 failed: ValueError: planted"
    assert recorder.drain()["events"] == ["lbp rank 1 failed: ValueError: planted"]
    log = (tmp_path / "log.txt").read_text()
    assert "line 1" in log
    assert "line 2" in log
    recorder.waits("lbp", "controller")  # the group is started again
    assert recorder.crash("lbp") is None


def test_who_waits_is_told_until_it_is_placed_and_its_controller_once(opened: Open) -> None:
    recorder = opened()
    recorder.waits("lbp", "controller")
    fresh = recorder.drain()
    assert (fresh["waiting"], fresh["controllers"]) == (["lbp"], {"lbp": "controller"})
    fresh = recorder.drain()
    assert (fresh["waiting"], fresh["controllers"]) == (["lbp"], {})
    recorder.placed("lbp")
    assert recorder.drain()["waiting"] == []


def test_a_failure_for_good_is_kept_through_a_restart(opened: Open) -> None:
    recorder = opened()
    recorder.failed("lbp", ("StorageError", "disk full"))
    recorder.failed("lbp", ("StorageError", "the second to say so"))
    recorder.started("lbp", 0, 40, "process 8")
    assert recorder.failure("lbp") == ("StorageError", "disk full")
    assert recorder.failure("identity") is None


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_once_and_loses_no_line(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = opened()
    recorder.log(line("lbp", 10))
    with monkeypatch.context() as full:
        full.setattr(line_file, "_append", no_space)
        full.setattr(Path, "write_text", no_space)
        recorder.log(line("lbp", 20))
        recorder.log(line("lbp", 30))
        recorder.decoded(decoded(0, bad={"a": "damaged"}))
        recorder.decoded(decoded(1, bad={"b": "missing"}))
        recorder.note("unseen")
        said = recorder.drain()["events"]
    for name in ("metrics.jsonl", "quarantine.jsonl", "log.txt"):
        warning = (
            f"warning: {tmp_path / name}: cannot be written: No space left on device; the run goes on "
            "and lines wait in memory: free space before it ends"
        )
        assert said.count(warning) == 1, name
    counters = f"warning: {tmp_path / 'counters.json'}: cannot be written: No space left on device; "
    assert sum(text.startswith(counters) for text in said) == 1
    assert len(said) == 4
    assert steps(tmp_path) == [("lbp", 0, 10)]
    recorder.log(line("lbp", 40))
    assert recorder.drain()["events"] == [f"{tmp_path / 'metrics.jsonl'}: 3 lines that waited are written"]
    assert steps(tmp_path) == [("lbp", 0, step) for step in (10, 20, 30, 40)]
    recorder.close()
    assert [entry["key"] for entry in written(tmp_path, "quarantine.jsonl")] == ["a", "b"]
    assert "unseen" in (tmp_path / "log.txt").read_text()
    assert json.loads((tmp_path / "counters.json").read_text())["decodes"] == 8


def test_no_half_line_is_left_where_the_disk_fills_within_it(tmp_path: Path) -> None:
    file = line_file.LineFile(tmp_path / "lines")
    file.write("first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        file.write("second")
        assert (tmp_path / "lines").read_text() == "first\n"
        assert len(file.news) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    file.write("third")
    assert (tmp_path / "lines").read_text() == "first\nsecond\nthird\n"
    assert file.news[1:] == [f"{tmp_path / 'lines'}: 2 lines that waited are written"]


def test_lines_that_wait_are_bounded_and_the_lost_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_file, "MOST_WAITING", 2)
    file = line_file.LineFile(tmp_path / "no" / "lines")
    for text in "abcd":
        file.write(text)
    (tmp_path / "no").mkdir()
    file.write("e")
    assert (tmp_path / "no/lines").read_text() == "c\nd\ne\n"
    assert [text.partition(": ")[2] for text in file.news[1:]] == [
        "3 lines that waited are written, 2 were lost"
    ]
