"""TensorBoard events of a run, made of the lines of metrics.jsonl: one folder a pathway.

metrics.jsonl is the truth. A recorder that starts again writes the events anew from it, so that a run that
was killed has neither gaps nor steps twice.
"""

import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
FLUSH_S = 2.0  # a flush waits for the disk
_NAMED = {
    "samples_per_s": "rate/samples_per_s",
    "events_per_s": "rate/events_per_s",
    "memory_mib": "memory/mib",
}


class TensorBoardEvents:
    """Writes logged lines as events; what goes wrong is kept in `problem`, once, and nothing more is written.

    Written here rather than by tensorboardX's SummaryWriter: that one writes from a thread, which a full disk
    ends, and whoever logs then waits for it for ever.

    Args:
        folder: run folder.
        former: lines of metrics.jsonl from before, taken up again.
    """

    def __init__(self, folder: Path, former: Iterable[dict[str, Any]] = ()) -> None:
        self._folder = folder / FOLDER
        self._files: dict[str, Any] = {}
        self.problem = ""
        self._flushed_at = 0.0
        try:
            import tensorboardX  # noqa: F401 - comes with ray[tune]; an inline run may be without
        except ImportError:
            self.problem = "no TensorBoard events: tensorboardX is not installed"
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        for line in former:
            self._add(line)
        self._flush()

    def log(self, line: dict[str, Any]) -> None:
        """Write a logged step of rank 0; lines of other ranks have nothing to show."""
        self._add(line)
        if time.monotonic() - self._flushed_at > FLUSH_S:
            self._flush()

    def close(self) -> None:
        """Close the files."""
        self._flush()
        files, self._files = self._files, {}
        for file in files.values():
            self._try(file.close)

    def _add(self, line: dict[str, Any]) -> None:
        if not self.problem:
            self._try(lambda: self._write(line))

    def _write(self, line: dict[str, Any]) -> None:
        """Write one event with all figures of a step."""
        values = list(scalars(line))
        if not values:
            return
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        pathway, when = line["pathway"], float(line.get("time", time.time()))
        if pathway not in self._files:
            self._files[pathway] = self._open(pathway, when)
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values])
        event = Event(wall_time=when, step=line["step"], summary=summary)
        self._files[pathway].write(event.SerializeToString())

    def _open(self, pathway: str, when: float) -> Any:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter

        folder = self._folder / pathway
        folder.mkdir(parents=True, exist_ok=True)
        # The process number too: a recorder may come back within the second.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        file = RecordWriter(str(folder / name))
        file.write(Event(wall_time=when, file_version="brain.Event:2").SerializeToString())
        return file

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        for file in list(self._files.values()):
            self._try(file.flush)

    def _try(self, work: Any) -> None:
        try:
            work()
        except (OSError, ValueError, TypeError, AttributeError) as error:
            self.problem = self.problem or f"TensorBoard events end here: {error}"


def scalars(line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield (tag, value) of a logged line: losses and their sum, rate, memory, waits, health by layer."""
    losses = line.get("losses", {})
    for layer, loss in losses.items():
        yield f"loss/{layer}", loss
    if losses:
        yield "loss/total", sum(losses.values())
    for key, tag in _NAMED.items():
        if line.get(key) is not None:
            yield tag, line[key]
    for account, share in line.get("waits", {}).items():
        yield f"waits/{account}", share
    for layer, figures in line.get("health", {}).items():
        for name, value in figures.items():
            if value is not None:
                yield f"health_{name}/{layer}", value
