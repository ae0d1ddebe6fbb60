"""Progress: one line a logged step, and a bar on a terminal."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressPrinter:
    """Prints a line when the slowest pathway has passed a logged step.

    Args:
        num_steps: steps of each pathway, by name.
        epochs: for the line's `epoch`.
    """

    def __init__(self, console: Console, *, num_steps: dict[str, int], epochs: int) -> None:
        self._console, self._num_steps, self._epochs = console, max(num_steps.values()), epochs
        self._own_steps = num_steps
        self._latest: dict[str, dict[str, Any]] = {}
        self._printed = 0
        self._began = time.monotonic()
        self._first: tuple[int, float] | None = None
        self.first_step_s: float | None = None
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=self._num_steps)
            self._bar.start()

    def say(self, text: str) -> None:
        """Print a line of its own."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def update(self, lines: list[dict[str, Any]], done: set[str] | None = None) -> None:
        """Take new logged lines; print when all pathways have passed another one."""
        for line in lines:
            self._latest[line["pathway"]] = line
            if self._first is None:
                self._first = (line["step"], time.monotonic())
                self.first_step_s = time.monotonic() - self._began
        waiting = [name for name in self._own_steps if name not in (done or set())]
        if not waiting or any(name not in self._latest for name in waiting):
            return
        steps = {name: self._latest[name]["step"] for name in waiting}
        unfinished = [step for name, step in steps.items() if step < self._own_steps[name]]
        step = min(unfinished) if unfinished else max(steps.values())
        if step > self._printed:
            self._printed = step
            self.say(self._line(step))
            if self._bar:
                self._bar.update(self._task, completed=step, description="training")

    def _line(self, step: int) -> str:
        losses = "  ".join(
            f"{name} {sum(line['losses'].values()) / max(1, len(line['losses'])):.4f}"
            for name, line in self._latest.items()
        )
        running = [line for line in self._latest.values() if line["step"] < self._own_steps[line["pathway"]]]
        running = running or list(self._latest.values())
        rate = f"{sum(line['samples_per_s'] for line in running):.0f} samples/s"
        if any("events_per_s" in line for line in running):
            rate += f"  {event_rate(sum(line.get('events_per_s', 0.0) for line in running))}"
        # pathways that are trained in one process share its memory
        held = {line.get("process", name): line["memory_mib"] for name, line in self._latest.items()}
        memory = sum(held.values()) / 1024
        epoch = max(line["epoch"] for line in self._latest.values()) + 1
        elapsed = time.monotonic() - self._began
        return (
            f"step {step}/{self._num_steps}  epoch {epoch}/{self._epochs}  loss {losses}  "
            f"{rate}  {memory:.1f} GiB  elapsed {clock(elapsed)}  left {self._left(step)}"
        )

    def _left(self, step: int) -> str:
        assert self._first is not None
        done, seconds = step - self._first[0], time.monotonic() - self._first[1]
        if done <= 0:
            return "?"
        return clock((self._num_steps - step) * seconds / done)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
            self._bar = None


def event_rate(per_s: float) -> str:
    """Return events a second in words, e.g. `1.2 Mev/s`."""
    for size, unit in ((1e6, "Mev/s"), (1e3, "kev/s")):
        if per_s >= size:
            return f"{per_s / size:.1f} {unit}"
    return f"{per_s:.0f} ev/s"


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    whole = int(seconds + 0.5)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
