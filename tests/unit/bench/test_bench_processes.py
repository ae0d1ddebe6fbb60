"""Processor time over processes: each second counted once, whoever waits for whom."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raytrain.bench import processes
from raytrain.bench.processes import CpuMeter
from raytrain.errors import ConfigError


def put(proc: Path, number: int, parent: int, *, own: int, waited: int = 0, ignores: bool = False) -> None:
    """Write what Linux says of a process; its name is meant to confuse."""
    folder = proc / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    fields = ["S", str(parent), *["7"] * 9, str(own), "0", str(waited), "0", *["9"] * 4, str(number), "1"]
    (folder / "stat").write_text(f"{number} (a) b) {' '.join(fields)}\n")
    (folder / "status").write_text(f"Name:\ta\nSigIgn:\t{0x10000 * ignores:016x}\n")


def end(proc: Path, number: int) -> None:
    for path in (proc / str(number)).iterdir():
        path.unlink()
    (proc / str(number)).rmdir()


def test_a_family_is_added_up_and_strangers_are_not(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    put(tmp_path, 10, 1, own=100)
    put(tmp_path, 11, 10, own=20, waited=3)
    put(tmp_path, 12, 11, own=4)
    put(tmp_path, 50, 1, own=9_000)
    assert CpuMeter(10, proc=tmp_path).seconds() == pytest.approx(127 / processes.TICKS_A_SECOND)


@pytest.mark.parametrize("ignores", [False, True])
def test_the_time_of_the_ended_is_counted_once(tmp_path: Path, ignores: bool) -> None:
    put(tmp_path, 10, 1, own=100, ignores=ignores)
    put(tmp_path, 11, 10, own=20)
    meter = CpuMeter(10, proc=tmp_path)
    assert meter.seconds() == pytest.approx(120 / processes.TICKS_A_SECOND)
    end(tmp_path, 11)
    if not ignores:
        put(tmp_path, 10, 1, own=100, waited=20)
    for _ in range(2):
        assert meter.seconds() == pytest.approx(120 / processes.TICKS_A_SECOND)
    put(tmp_path, 11, 10, own=5)  # the number is given out again
    assert meter.seconds() == pytest.approx(125 / processes.TICKS_A_SECOND)


BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


@pytest.mark.parametrize("waits", [True, False])
def test_real_children_are_counted(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    """The middle process waits for the one that computes, or ignores its end as Ray's raylet does."""
    monkeypatch.setattr(processes, "LOOK_S", 0.02)
    ignore = "" if waits else "signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
    code = (
        f"import signal, subprocess, sys; {ignore}"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); "
        "child.wait(); print('done', flush=True); sys.stdin.read()"
    )
    with CpuMeter(os.getpid()) as meter:
        began = meter.seconds()
        command = [sys.executable, "-c", code, BURN]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as middle:
            assert middle.stdout is not None
            assert middle.stdout.readline() == b"done\n"
            taken = meter.seconds() - began
        assert 0.2 < taken < 1.5
        assert 0.2 < meter.seconds() - began < 1.5


def test_without_proc_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"/10/stat: no such file; the time of processes is read on Linux only"
    ):
        CpuMeter(10, proc=tmp_path)
