"""The recorder: takes lines and counts from all pathways (fire and forget) and writes them down."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.stream import DecodeCount
from raytrain.training.run_folder import COUNTERS, METRICS, QUARANTINE

SEEN_CHUNKS = 10_000


class Recorder:
    """A plain class: an actor in a Ray run, an object in an inline one.

    Args:
        folder: run folder, absolute.
        run: written into every line.
    """

    def __init__(self, folder: str, run: str) -> None:
        self._folder, self._run = Path(folder), run
        self._metrics = (self._folder / METRICS).open("a", buffering=1)
        self._quarantine = self._folder / QUARANTINE
        self._last = self._read_last_steps()
        self._fresh: list[dict[str, Any]] = []
        self._events: list[str] = []
        self._seen: set[tuple[str, int]] = set()
        self._saved_at = 0.0
        self._counters: dict[str, Any] = {"decodes": 0, "decodes_replayed": 0, "operated": {}, "front": {}}
        if (self._folder / COUNTERS).exists():
            self._counters |= json.loads((self._folder / COUNTERS).read_text())
        self._front = dict(self._counters["front"])
        self._bad = set(self._read_bad_keys())
        self.starts: dict[str, int] = {}
        self._failures: dict[str, tuple[str, str]] = {}

    def log(self, line: dict[str, Any]) -> None:
        """Write a logged step; one that was written before a restart is not written again."""
        reader = (line["pathway"], line.get("rank", 0))
        if line["step"] <= self._last.get(reader, 0):
            return
        self._last[reader] = line["step"]
        self._metrics.write(json.dumps({"run": self._run, **line}) + "\n")
        if "losses" in line:
            self._fresh.append(line)

    def decoded(self, count: DecodeCount) -> None:
        """Count the opened files of a chunk; chunks made before count as replayed too."""
        made = (count.stream, count.chunk)
        self._counters["decodes"] += count.decodes
        if made in self._seen or count.chunk <= self._front.get(count.stream, -1):
            self._counters["decodes_replayed"] += count.decodes
        self._seen.add(made)
        front = self._counters["front"]
        front[count.stream] = max(front.get(count.stream, -1), count.chunk)
        if len(self._seen) > 2 * SEEN_CHUNKS:  # chunks are made about in order: what is far behind was made
            self._front = {stream: last - SEEN_CHUNKS for stream, last in front.items()}
            self._seen = {(stream, chunk) for stream, chunk in self._seen if chunk > self._front[stream]}
        for entry in count.quarantined:
            if entry["key"] not in self._bad:
                self._bad.add(entry["key"])
                with self._quarantine.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
        self._save(force=False)

    def operated(self, view: str, samples: int) -> None:
        """Count samples that a stream-placed operator has computed."""
        self._counters["operated"][view] = self._counters["operated"].get(view, 0) + samples

    def started(self, pathway: str, rank: int, step: int, process: str) -> None:
        """Note a worker's start, or its restart from a checkpoint; `process` says where it runs."""
        self.note(f"{pathway} rank {rank} starts at step {step} as {process}")
        if rank == 0:
            self._failures.pop(pathway, None)
            self.starts[pathway] = self.starts.get(pathway, 0) + 1
            if self.starts[pathway] > 1:
                self.event(f"{pathway} restarted from step {step} (restart {self.starts[pathway] - 1})")

    def failed(self, pathway: str, error: tuple[str, str]) -> None:
        """Keep what ended a rank, for its peers."""
        self._failures.setdefault(pathway, error)

    def failure(self, pathway: str) -> tuple[str, str] | None:
        """Return what ended a rank of a pathway, if one has said so."""
        return self._failures.get(pathway)

    def event(self, text: str) -> None:
        """Note something to be said, and written to log.txt."""
        self._events.append(text)
        self.note(text)

    def note(self, text: str) -> None:
        """Write a line to log.txt."""
        with (self._folder / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def drain(self) -> dict[str, Any]:
        """Return what came since the last call, and the counts."""
        fresh, self._fresh = self._fresh, []
        events, self._events = self._events, []
        return {"lines": fresh, "events": events, **self.counts()}

    def counts(self) -> dict[str, Any]:
        """Return decodes, replayed decodes, quarantined samples, operated samples and starts by name."""
        kept = {name: self._counters[name] for name in ("decodes", "decodes_replayed", "operated")}
        return {**kept, "quarantined": len(self._bad), "starts": dict(self.starts)}

    def close(self) -> dict[str, Any]:
        """Write everything out; return the counts."""
        self._save(force=True)
        self._metrics.close()
        return self.counts()

    def _save(self, *, force: bool) -> None:
        if force or time.monotonic() - self._saved_at > 1.0:
            self._saved_at = time.monotonic()
            aside = self._folder / f".{COUNTERS}"
            aside.write_text(json.dumps(self._counters))
            aside.rename(self._folder / COUNTERS)

    def _read_last_steps(self) -> dict[tuple[str, int], int]:
        last: dict[tuple[str, int], int] = {}
        for line in _read_lines(self._folder / METRICS):
            last[(line["pathway"], line.get("rank", 0))] = line["step"]
        return last

    def _read_bad_keys(self) -> list[str]:
        return [line["key"] for line in _read_lines(self._quarantine)]


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file, once a line that a kill cut off is taken away."""
    text = path.read_text() if path.exists() else ""
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text)
    yield from map(json.loads, text.splitlines())
