"""The encoder cache: trained pathways and features on disk, found by what they were made of.

A folder an entry, `<key>/`: `entry.json` (what it is), `step-<n>/` (checkpoint), `metrics.jsonl` (the logged
steps), `outcome-<n>.json` (what the summary says), `features-<key>/` (feature files, and which samples they
lack). Files are hard links to those of the run where the file system allows it: nobody writes to them again,
they are replaced as a whole.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytrain.checkpoint import latest_step, load_checkpoint
from raytrain.config import CacheConfig
from raytrain.errors import ConfigError
from raytrain.training import provenance
from raytrain.training.left_out import LeftOut, add_to_quarantine, found_bad
from raytrain.training.paths import METRICS
from raytrain.training.plan import RunSetup
from raytrain.training.recorder import write_note
from raytrain.training.run_folder import write_atomic

VARIABLE = "RAYTRAIN_CACHE"
ENTRY = "entry.json"
LACKING = "quarantined.json"
KEY_CHARACTERS = 24


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A pathway that came from the cache."""

    name: str
    step: int
    outcome: dict[str, Any]
    """what the summary of its run said"""
    goes_on: bool
    """whether the run trains it further"""
    folder: Path

    @property
    def text(self) -> str:
        """One line that says so."""
        without = LeftOut.from_json(self.outcome.get("quarantined")).text
        then = f", {without}" if without else ""
        then += "; it goes on from there" if self.goes_on else ""
        return f"{self.name}: {self.step} steps were trained before, loaded from {self.folder}{then}"


class EncoderCache:
    """Trained pathways by key, within a bound of bytes; several processes may use one folder."""

    def __init__(self, folder: Path, *, max_gib: float) -> None:
        self.folder, self.max_gib = folder, max_gib

    @classmethod
    def open(cls, config: CacheConfig) -> "EncoderCache | None":
        """Return the cache of the settings, or None where it is switched off."""
        variable = os.environ.get(VARIABLE, "")
        if not config.enabled or variable == "off":
            return None
        folder = config.folder or variable or "~/.cache/raytrain"
        return cls(Path(folder).expanduser().absolute(), max_gib=config.max_gib)

    def name_of(self, setup: RunSetup, name: str) -> str:
        """Return the name of a pathway's entry."""
        return self._entry(setup.identity.pathway(name).key).name

    def load_all(self, setup: RunSetup, names: Iterable[str]) -> dict[str, Loaded]:
        """Put what was trained before, wholly or for a shorter time, of some pathways into the run folder."""
        found = {name: self.load(setup, name) for name in names}
        return {name: one for name, one in found.items() if one}

    def load(self, setup: RunSetup, name: str) -> Loaded | None:
        """Put the longest training of a pathway that fits into the run folder; None if there is none.

        A longer schedule goes on from a shorter one. Nothing is done where the run itself is as far. What was
        trained without some samples is taken where just these cannot be decoded now either.
        """
        entry = self._entry(setup.identity.pathway(name).key)
        own = latest_step(setup.checkpoints(name))
        wanted = setup.num_steps(name)
        for kept in sorted(entry.glob("step-*"), reverse=True):
            step = int(kept.name.removeprefix("step-"))
            if step > wanted or (own is not None and step <= own[1]):
                continue
            if load_checkpoint(kept) is None:
                shutil.rmtree(kept, ignore_errors=True)  # damaged: trained again, and kept again
                continue
            outcome = _read_json(entry / f"outcome-{step}.json")
            if not outcome or not _lacks_the_same(setup, name, outcome):
                continue
            _link_folder(kept, setup.checkpoints(name) / kept.name)
            provenance.loaded(setup, name)
            _add_metrics(entry / METRICS, setup.folder / METRICS, run=setup.folder.name, name=name, last=step)
            os.utime(entry / ENTRY)
            return Loaded(name=name, step=step, outcome=outcome, goes_on=step < wanted, folder=entry)
        return None

    def store(self, setup: RunSetup, name: str, outcome: dict[str, Any]) -> None:
        """Keep a finished pathway's last checkpoint, its logged steps and its outcome.

        Not one that was begun under another key, or without more samples than can be named. One that lacks
        samples gives way to one that does not, or that lacks others.
        """
        entry = self._entry(setup.identity.pathway(name).key)
        found = latest_step(setup.checkpoints(name))
        if found is None or not setup.done(name):
            return
        step_name = f"step-{found[1]:08d}"
        left_out = LeftOut.from_json(outcome.get("quarantined"))
        if not left_out.is_named or not provenance.is_of_one_key(setup, name):
            return
        if (entry / step_name).exists():
            former = LeftOut.from_json(_read_json(entry / f"outcome-{found[1]}.json").get("quarantined"))
            if former in (left_out, LeftOut()):
                return
            shutil.rmtree(entry / step_name)
        entry.mkdir(parents=True, exist_ok=True)
        write_atomic(entry / ENTRY, json.dumps(setup.identity.pathway(name).to_json(), indent=1))
        write_atomic(entry / f"outcome-{found[1]}.json", json.dumps(outcome))
        write_atomic(entry / METRICS, "".join(_lines_of(setup.folder / METRICS, name)))
        _link_folder(setup.checkpoints(name) / step_name, entry / step_name)
        self.trim()

    def known_features(self, key: str, evaluation: str, names: Iterable[str]) -> LeftOut | None:
        """Return the samples that kept feature files lack; None where not all of the files are there."""
        kept = self._entry(key) / f"features-{evaluation}"
        files = [kept / f"{name}{ending}" for name in names for ending in (".npy", ".json")]
        if not files or not all(file.exists() for file in files):
            return None
        return LeftOut.from_json(_read_json(kept / LACKING) or None)

    def load_features(self, key: str, evaluation: str, folder: Path, names: Iterable[str]) -> None:
        """Put feature files that were made before into a folder."""
        kept = self._entry(key) / f"features-{evaluation}"
        files = [kept / f"{name}{ending}" for name in names for ending in (".npy", ".json")]
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(files, key=lambda file: file.suffix, reverse=True):  # the description comes last
            _link(file, folder / file.name)
        with contextlib.suppress(OSError):
            os.utime(self._entry(key))

    def store_features(
        self,
        key: str,
        evaluation: str,
        folder: Path,
        names: Iterable[str],
        *,
        left_out: LeftOut,
        about: dict[str, Any],
    ) -> None:
        """Keep feature files of a folder, in which some samples are others in their place.

        `about` describes an entry that is new.
        """
        kept = self._entry(key) / f"features-{evaluation}"
        kept.mkdir(parents=True, exist_ok=True)
        if not (self._entry(key) / ENTRY).exists():
            write_atomic(self._entry(key) / ENTRY, json.dumps(about))
        if left_out.num:
            write_atomic(kept / LACKING, json.dumps(left_out.to_json()))
        else:
            (kept / LACKING).unlink(missing_ok=True)
        for name in names:
            for ending in (".npy", ".json"):
                _link(folder / f"{name}{ending}", kept / f"{name}{ending}")

    def listing(self) -> Iterator[dict[str, Any]]:
        """Yield what is kept, the most recently used first."""
        for entry in sorted(self._entries(), key=_last_used, reverse=True):
            described = _read_json(entry / ENTRY)
            settings = described.get("settings", {})
            yield {
                "key": entry.name,
                "name": described.get("name", "features"),
                "operator": settings.get("operator.name", "-"),
                "objective": settings.get("objective.name", "-"),
                "seed": settings.get("seed", "-"),
                "steps": sorted(int(kept.name.removeprefix("step-")) for kept in entry.glob("step-*")),
                "mib": _size(entry) / 2**20,
                "used": time.strftime("%Y-%m-%d %H:%M", time.localtime(_last_used(entry))),
            }

    def trim(self) -> None:
        """Remove what was unused longest until the rest fits."""
        entries = sorted(self._entries(), key=_last_used)
        sizes = {entry: _size(entry) for entry in entries}
        total = sum(sizes.values())
        for entry in entries[:-1]:  # what was just stored stays, or nothing could ever be kept
            if total <= self.max_gib * 2**30:
                return
            aside = entry.with_name(f".removing-{entry.name}-{os.getpid()}")
            with contextlib.suppress(OSError):
                entry.rename(aside)
                shutil.rmtree(aside, ignore_errors=True)
            total -= sizes[entry]

    def _entry(self, key: str) -> Path:
        return self.folder / key[:KEY_CHARACTERS]

    def _entries(self) -> list[Path]:
        found = self.folder.iterdir() if self.folder.is_dir() else iter(())
        return [entry for entry in found if entry.is_dir() and not entry.name.startswith(".")]


def _lacks_the_same(setup: RunSetup, name: str, outcome: dict[str, Any]) -> bool:
    """Return whether the samples that a training went without cannot be decoded now; they are quarantined."""
    left_out = LeftOut.from_json(outcome.get("quarantined"))
    if not left_out.num:
        return True
    bad = found_bad(setup.source(setup.config.pathways[name].stream), left_out.keys)
    if bad.keys() < set(left_out.keys):
        text = (
            f"{name}: a training {left_out.text}, is not used: {left_out.num - len(bad)} of them can be now"
        )
        write_note(setup.folder, text)
        return False
    add_to_quarantine(setup, bad)
    return True


def check_folder(config: CacheConfig) -> None:
    """Raise ConfigError where the cache cannot be written, before anything is trained."""
    cache = EncoderCache.open(config)
    if cache is None:
        return
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
        probe = cache.folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"cache.folder {cache.folder}: cannot be written: {error.strerror}; name another, or set "
            "cache.enabled = false"
        ) from None


def _link_folder(source: Path, target: Path) -> None:
    """Make `target` a copy of a checkpoint's folder, whole or not at all."""
    if target.exists():
        return
    aside = target.with_name(f".writing-{target.name}-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for file in source.iterdir():
        _link(file, aside / file.name)
    with contextlib.suppress(OSError):  # another process was first
        aside.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """Link a file, or copy it to another file system; an older one is replaced."""
    aside = target.with_name(f".linking-{target.name}-{os.getpid()}")
    aside.unlink(missing_ok=True)
    try:
        os.link(source, aside)
    except OSError:
        shutil.copy2(source, aside)
    aside.replace(target)


def _add_metrics(source: Path, target: Path, *, run: str, name: str, last: int) -> None:
    """Append a pathway's logged steps up to `last` that the run does not have."""
    had = max((json.loads(line)["step"] for line in _lines_of(target, name)), default=0)
    fresh = [json.loads(line) for line in _lines_of(source, name)]
    with target.open("a", encoding="utf-8") as file:
        for line in fresh:
            if had < line["step"] <= last:
                file.write(json.dumps({**line, "run": run, "cached": True}) + "\n")


def _lines_of(path: Path, name: str) -> list[str]:
    """Return the whole lines of metrics.jsonl that belong to a pathway."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n") and json.loads(line)["pathway"] == name]


def _read_json(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    return {}


def _last_used(entry: Path) -> float:
    with contextlib.suppress(OSError):
        stamps = [entry.stat().st_mtime]
        if (entry / ENTRY).exists():
            stamps.append((entry / ENTRY).stat().st_mtime)
        return max(stamps)
    return 0.0


def _size(entry: Path) -> int:
    total = 0
    for path in entry.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total
