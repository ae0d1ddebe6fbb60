import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytrain.errors import Interrupted
from raytrain.training.signals import StopSignal, outliving_the_terminal

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def not_under_nohup() -> Iterator[None]:
    """Nothing is ignored at first, as it is where the tests themselves are started by `nohup`."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_to_stop_and_says_so(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    with StopSignal() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert capsys.readouterr().err == (
            f"\n{number.name}: writing checkpoints and stopping; twice more ends at once\n"
        )
        os.kill(os.getpid(), number)  # the second says nothing more, and ends nothing
        assert stop()
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", SIGNALS)
def test_after_the_training_a_signal_ends_at_once(number: signal.Signals) -> None:
    with StopSignal() as stop:
        stop.end_at_once("stopped after training")
        with pytest.raises(Interrupted, match="stopped after training"):
            os.kill(os.getpid(), number)
    with StopSignal() as stop:
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted, match="stopped after training"):
            stop.end_at_once("stopped after training")


def test_former_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignal():
        assert all(signal.getsignal(number) not in before for number in SIGNALS)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_in_another_thread_it_only_never_stops() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    found: list[bool] = []

    def run() -> None:
        with StopSignal() as stop:
            found.append(stop())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]
    assert [signal.getsignal(number) for number in SIGNALS] == before


THREE = """
import os, signal
from raytrain.errors import Interrupted
from raytrain.training.signals import StopSignal
with StopSignal() as stop:
    for count in range(3):
        print(count, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        stop()
    print("still here", flush=True)
"""


def test_the_third_signal_ends_at_once() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", THREE], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 130
    assert ended.stdout.split() == ["0", "1", "2"]
    assert ended.stderr.count("SIGTERM: writing checkpoints") == 1


def test_what_nohup_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, former)


CLOSED = """
import sys, time
from raytrain.training.signals import StopSignal
with StopSignal() as stop:
    print("ready", flush=True)
    for _ in range(1000):
        if stop():
            print("a line to a terminal that is gone", flush=True)
            open(sys.argv[1], "w").write("checkpoint")
            sys.exit(130)
        time.sleep(0.01)
"""


def test_a_closed_terminal_asks_to_stop_and_its_end_is_no_error(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", CLOSED, str(tmp_path / "kept")])
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 100)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert (tmp_path / "kept").read_text() == "checkpoint"


def test_what_is_started_meanwhile_outlives_the_terminal() -> None:
    show = "import signal; print(signal.getsignal(signal.SIGHUP).name)"
    before = signal.getsignal(signal.SIGHUP)
    with outliving_the_terminal():
        shown = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert shown.stdout == "SIG_IGN\n"
    assert signal.getsignal(signal.SIGHUP) == before
