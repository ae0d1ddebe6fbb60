"""The recorder: takes lines and counts from all pathways (fire and forget) and writes them down."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.forms.quarantine import by_fate
from pipelines.stream.decoder import DecodeCount
from raytrain.health import summarise
from raytrain.training.line_file import LineFile
from raytrain.training.paths import COUNTERS, LOG, METRICS, QUARANTINE
from raytrain.training.tensorboard import TensorBoardEvents

SEEN_CHUNKS = 10_000


class Recorder:
    """A plain class: an actor in a Ray run, an object in an inline one.

    Args:
        folder: run folder, absolute.
        run: written into every line.
    """

    def __init__(self, folder: str, run: str) -> None:
        self._folder, self._run = Path(folder), run
        self._files = {name: LineFile(self._folder / name) for name in (METRICS, QUARANTINE, LOG)}
        self._counters_problem = ""
        former = list(_read_lines(self._folder / METRICS))
        self._last = {(line["pathway"], line.get("rank", 0)): line["step"] for line in former}
        self._fresh: list[dict[str, Any]] = []
        self._events: list[str] = []
        self._seen: set[tuple[str, int]] = set()
        self._saved_at = 0.0
        self._counters: dict[str, Any] = {"decodes": 0, "decodes_replayed": 0}
        self._counters |= {"operated": {}, "counts": {}, "front": {}}
        if (self._folder / COUNTERS).exists():
            self._counters |= json.loads((self._folder / COUNTERS).read_text(encoding="utf-8"))
        self._front = dict(self._counters["front"])
        self._bad = _read_bad(self._folder)
        self._made = 0
        self.starts: dict[str, int] = {}
        self._failures: dict[str, tuple[str, str]] = {}
        self._crashes: dict[str, str] = {}
        self._controllers: dict[str, Any] = {}
        self._waiting: set[str] = set()
        self._broadcasts = 0
        self._warned = {
            (line["pathway"], warning["layer"], warning["kind"])
            for line in former
            for warning in line.get("warnings", [])
        }
        self._board = TensorBoardEvents(self._folder, former)
        self._said_problem = False

    def log(self, line: dict[str, Any]) -> None:
        """Write a logged step; one that was written before a restart is not written again."""
        reader = (line["pathway"], line.get("rank", 0))
        if line["step"] <= self._last.get(reader, 0):
            return
        self._last[reader] = line["step"]
        self._write(METRICS, json.dumps({"run": self._run, **line}))
        self._board.log(line)
        if self._board.problem and not self._said_problem:
            self._said_problem = True
            self.event(self._board.problem)
        if "losses" in line:
            self._fresh.append(line)
        for warning in line.get("warnings", []):
            self._warn((line["pathway"], warning["layer"], warning["kind"]), warning["text"])

    def decoded(self, count: DecodeCount) -> None:
        """Count the opened files of a chunk; chunks made before count as replayed too."""
        made = (count.stream, count.chunk)
        for name, number in count.counts.items():
            self._counters["counts"][name] = self._counters["counts"].get(name, 0) + number
        self._made += 1
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
                self._bad[entry["key"]] = entry["fate"]
                self._write(QUARANTINE, json.dumps(entry))
        self._save(force=False)

    def operated(self, name: str, samples: int) -> None:
        """Count samples that a stream-placed operator has computed."""
        self._counters["operated"][name] = self._counters["operated"].get(name, 0) + samples

    def started(self, pathway: str, rank: int, step: int, process: str) -> None:
        """Note a worker's start, or its restart from a checkpoint; `process` says where it runs."""
        self.note(f"{pathway} rank {rank} starts at step {step} as {process}")
        if rank == 0:
            self.starts[pathway] = self.starts.get(pathway, 0) + 1
            if self.starts[pathway] > 1:
                self.event(f"{pathway} restarted from step {step} (restart {self.starts[pathway] - 1})")

    def broadcast_started(self, process: int, lost: str) -> None:
        """Note that the broadcast runs; `lost`: what went with the one before, empty where there was none."""
        self._broadcasts += 1
        self.note(f"broadcast starts as process {process}")
        if lost:
            self.event(lost)

    def waits(self, pathway: str, controller: Any) -> None:
        """Note that `controller` asks for a pathway's workers, and that they are not there yet."""
        self._controllers[pathway] = controller
        self._waiting.add(pathway)
        self._crashes.pop(pathway, None)  # those of the group before

    def placed(self, pathway: str) -> None:
        """Note that a pathway's workers are there."""
        self._waiting.discard(pathway)

    def failed(self, pathway: str, error: tuple[str, str]) -> None:
        """Keep what ended a rank for good: its peers and its restarts would only meet it again."""
        self._failures.setdefault(pathway, error)

    def failure(self, pathway: str) -> tuple[str, str] | None:
        """Return what ended a rank of a pathway for good, if one has said so."""
        return self._failures.get(pathway)

    def crashed(self, pathway: str, rank: int, error: str, trace: str) -> None:
        """Say what made a rank fail, before a restart; what its peers then meet goes to log.txt only."""
        if pathway not in self._crashes:
            self._crashes[pathway] = f"rank {rank} failed: {error}"
            self._events.append(f"{pathway} {self._crashes[pathway]}")
        self.note(f"{pathway} rank {rank} failed: {error}\n{trace.rstrip()}")

    def crash(self, pathway: str) -> str | None:
        """Return what made the present group of a pathway's workers fail, if one has said so."""
        return self._crashes.get(pathway)

    def _warn(self, what: tuple[str, str, str], text: str) -> None:
        """Say a warning of a layer's health, once a run: a restart would find it again."""
        if what not in self._warned:
            self._warned.add(what)
            self.event(f"warning: {text}")

    def event(self, text: str) -> None:
        """Note something to be said, and written to log.txt."""
        self._events.append(text)
        self.note(text)

    def note(self, text: str) -> None:
        """Write a line to log.txt."""
        self._write(LOG, _stamped(text))

    def _write(self, name: str, line: str) -> None:
        file = self._files[name]
        file.write(line)
        # Said, not noted: log.txt may be the file that cannot be written.
        self._events += file.news
        file.news.clear()

    def drain(self) -> dict[str, Any]:
        """Return what came since the last call, the counts, and how the run stands.

        `waiting`: pathways without workers; `made`: chunks so far; `broadcasts`: how often one has started.
        """
        fresh, self._fresh = self._fresh, []
        events, self._events = self._events, []
        controllers, self._controllers = self._controllers, {}
        placement = {"waiting": sorted(self._waiting), "controllers": controllers, "made": self._made}
        placement["broadcasts"] = self._broadcasts
        return {"lines": fresh, "events": events, **placement, **self.counts()}

    def counts(self) -> dict[str, Any]:
        """Return decodes, replayed decodes, quarantined samples, operated samples and starts by name.

        `counts`: samples that were special in some way, e.g. `short`, every decode counted.
        """
        kept = {name: self._counters[name] for name in ("decodes", "decodes_replayed", "operated", "counts")}
        return {**kept, **_counted(self._bad), "starts": dict(self.starts)}

    def close(self) -> dict[str, Any]:
        """Write everything out; return the counts."""
        self._save(force=True)
        for file in self._files.values():
            file.flush()
        self._board.close()
        return self.counts()

    def _save(self, *, force: bool) -> None:
        if force or time.monotonic() - self._saved_at > 1.0:
            self._saved_at = time.monotonic()
            aside = self._folder / f".{COUNTERS}"
            try:
                aside.write_text(json.dumps(self._counters), encoding="utf-8")
                aside.rename(self._folder / COUNTERS)
                self._counters_problem = ""
            except OSError as error:  # the next call writes them all
                if not self._counters_problem:
                    self._counters_problem = error.strerror or str(error)
                    self.event(
                        f"warning: {self._folder / COUNTERS}: cannot be written: {self._counters_problem}; "
                        "free space before the run ends, or a resumed one counts less"
                    )


def write_note(folder: Path, text: str) -> None:
    """Write a line to a run's log.txt."""
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(f"{_stamped(text)}\n")


def _stamped(text: str) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}"


def counts_so_far(folder: Path) -> dict[str, Any]:
    """Return the counts that a run's recorder last wrote, for a run that has nothing left to train."""
    path = folder / COUNTERS
    counters: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {**counters, **_counted(_read_bad(folder))}


def _read_bad(folder: Path) -> dict[str, str]:
    """Return the fate of each quarantined key."""
    return {line["key"]: line.get("fate", "damaged") for line in _read_lines(folder / QUARANTINE)}


def _counted(bad: dict[str, str]) -> dict[str, Any]:
    return {"quarantined": len(bad), "quarantined_by": by_fate(bad.values())}


def health_so_far(folder: Path) -> dict[str, Any]:
    """Return summary.json's `health` and `warnings` of all that a run has logged."""
    return summarise(_read_lines(folder / METRICS))


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON-lines file, once a line that a kill cut off is taken away."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text, encoding="utf-8")
    yield from map(json.loads, text.splitlines())
