import io
from typing import Any

import pytest
from rich.console import Console

from raytrain.reporting.progress import ProgressPrinter, clock, event_rate


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("raytrain.reporting.progress.time", time)
    return time


def printer_of(
    *, num_steps: int = 100, own_steps: int = 0, terminal: bool = False
) -> tuple[ProgressPrinter, io.StringIO]:
    said = io.StringIO()
    console = Console(file=said, width=200, force_terminal=terminal)
    steps = {"identity": num_steps, "lbp": own_steps or num_steps}
    printer = ProgressPrinter(console, num_steps=steps, epochs=4)
    return printer, said


def line(pathway: str, step: int, **changes: Any) -> dict[str, Any]:
    return {
        "pathway": pathway,
        "step": step,
        "epoch": step // 25,
        "losses": {"layer1": 0.5, "layer2": 1.0},
        "samples_per_s": 100.0,
        "memory_mib": 512,
    } | changes


def test_a_line_comes_when_the_slowest_pathway_has_passed(time: Time) -> None:
    printer, said = printer_of()
    printer.update([line("identity", 10)])
    printer.update([line("identity", 20)])
    assert said.getvalue() == ""
    printer.update([line("lbp", 10)])
    assert said.getvalue().startswith("step 10/100  epoch 1/4  ")
    printer.update([line("identity", 30)])
    assert said.getvalue().count("\n") == 1
    printer.update([line("lbp", 20), line("lbp", 30)])
    printer.update([])
    assert [text.split()[1] for text in said.getvalue().splitlines()] == ["10/100", "30/100"]


def test_a_line_says_losses_rate_memory_and_time(time: Time) -> None:
    printer, said = printer_of()
    time.now += 20
    printer.update([line("identity", 10)])
    time.now += 10
    lbp = line("lbp", 10, losses={"layer1": 0.25}, samples_per_s=60.0, memory_mib=1024)
    printer.update([line("identity", 20), lbp])
    assert said.getvalue() == (
        "step 10/100  epoch 1/4  loss identity 0.7500  lbp 0.2500  160 samples/s  1.5 GiB  "
        "elapsed 0:30  left ?\n"
    )


def test_a_line_says_the_events_of_recordings(time: Time) -> None:
    printer, said = printer_of()
    printer.update([line("identity", 10, events_per_s=1.05e6), line("lbp", 10, events_per_s=2e5)])
    assert "  200 samples/s  1.2 Mev/s  1.0 GiB  " in said.getvalue()


def test_the_memory_of_one_process_is_counted_once(time: Time) -> None:
    printer, said = printer_of()
    printer.update([line("identity", 10, process=7), line("lbp", 10, process=7)])
    assert "  0.5 GiB  " in said.getvalue()


@pytest.mark.parametrize(
    ("per_s", "text"), [(12e6, "12.0 Mev/s"), (340_000, "340.0 kev/s"), (999.4, "999 ev/s"), (0, "0 ev/s")]
)
def test_event_rate(per_s: float, text: str) -> None:
    assert event_rate(per_s) == text


def test_the_estimate_leaves_the_start_up_out(time: Time) -> None:
    printer, said = printer_of()
    time.now += 500  # workers start
    printer.update([line("identity", 10), line("lbp", 10)])
    time.now += 20
    printer.update([line("identity", 20), line("lbp", 20)])  # 2 s a step, 80 to go
    assert said.getvalue().splitlines()[-1].endswith("elapsed 8:40  left 2:40")
    assert printer.first_step_s == 500


def test_the_estimate_of_a_resumed_run_counts_its_own_steps_only(time: Time) -> None:
    printer, said = printer_of()
    time.now += 5
    printer.update([line("identity", 60), line("lbp", 60)])
    time.now += 30
    printer.update([line("identity", 70), line("lbp", 70)])
    assert said.getvalue().splitlines()[-1].endswith("left 1:30")


def test_a_pathway_that_is_done_is_not_waited_for(time: Time) -> None:
    printer, said = printer_of()
    printer.update([line("lbp", 50)], {"identity"})
    assert said.getvalue().startswith("step 50/100")
    printer.update([line("lbp", 60)], {"identity", "lbp"})
    assert said.getvalue().count("\n") == 1


def test_a_pathway_with_fewer_steps_is_not_waited_for_behind_them(time: Time) -> None:
    printer, said = printer_of(num_steps=100, own_steps=20)
    printer.update([line("identity", 30), line("lbp", 20)])
    printer.update([line("identity", 100)])
    shown = [text.split()[1] for text in said.getvalue().splitlines()]
    assert shown == ["30/100", "100/100"]


def test_other_lines_are_said_as_they_are_however_long(time: Time) -> None:
    printer, said = printer_of()
    text = "/data [old]/:key: was not read" + 40 * " words"
    printer.say(text)
    assert said.getvalue() == text + "\n"


def test_a_terminal_gets_a_bar_that_goes_away(time: Time) -> None:
    printer, said = printer_of(terminal=True)
    printer.update([line("identity", 10), line("lbp", 10)])
    assert "step 10/100" in said.getvalue()
    printer.close()
    assert said.getvalue().endswith("\x1b[2K")  # the bar's line is erased
    printer.close()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3599.7, "1:00:00"), (7265, "2:01:05")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
