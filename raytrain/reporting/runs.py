"""A run, or several that differ in their seed, as one: a test sample's score is its mean over the seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import ConfigError, DataError
from raytrain.evaluation.entries import same_strength_name
from raytrain.evaluation.features import control_name
from raytrain.metrics import Paired
from raytrain.reporting.predictions import Predictions
from raytrain.reporting.results import by_protocol
from raytrain.reporting.run_data import SEEDS, RunData, load_run, read_json
from raytrain.training.paths import CONFIG

AGAIN = "run `raytrain train ... --seeds N` again"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of merit, the mean over the seeds."""

    value: float
    seeds: list[float]
    """of each seed"""
    interval: list[float] | None
    """95 %, over resamples of the test groups, not of the seeds; None: predictions were not kept"""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Runs that differ in their seed, at least one."""

    folder: Path
    """the run's, or the one that holds a folder for each seed"""
    runs: list[RunData]

    @classmethod
    def of(cls, run: RunData) -> "Runs":
        """Return one run by itself."""
        return cls(folder=run.folder, runs=[run])

    @property
    def first(self) -> RunData:
        """The run of the first seed, for what all have in common."""
        return self.runs[0]

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return [run.config.seed for run in self.runs]

    @property
    def name(self) -> str:
        """The folder and the seeds."""
        return f"{self.folder} (seed{'s' * (len(self.runs) > 1)} {', '.join(map(str, self.seeds))})"

    @property
    def each(self) -> "dict[int, Runs]":
        """Each run by itself, by its seed."""
        return {run.config.seed: Runs.of(run) for run in self.runs}

    @property
    def lacking(self) -> list[Path]:
        """Folders of the runs whose predictions were not kept."""
        return [run.folder for run in self.runs if run.predictions is None]

    @cached_property
    def unlike(self) -> str:
        """How the seeds' test samples differ; empty: they do not. Needs predictions."""
        return next(filter(None, (why_other(self.first, run) for run in self.runs[1:])), "")

    @property
    def without_intervals(self) -> str:
        """Why figures of several seeds have no intervals; empty: they have them."""
        if self.lacking:
            return f"predictions were not kept; {how_to_keep(self.lacking)}"
        return self.unlike

    @property
    def protocols(self) -> list[str]:
        """The protocols that all seeds have, the main one first."""
        found = [list(table) for table in self._tables]
        return [name for name in found[0] if all(name in one for one in found)]

    def representations(self, protocol: str) -> list[str]:
        """Return the representations that all seeds have, pathways with + between."""
        found = [list(table.get(protocol, {})) for table in self._tables]
        return [key for key in found[0] if all(key in one for one in found)]

    @property
    def groups(self) -> NDArray[np.int64]:
        """The group of each test sample, i64[n]."""
        return _predictions(self.first).groups

    @property
    def predicted_protocols(self) -> list[str]:
        """The protocols whose predictions the first run has."""
        return list(_predictions(self.first).predicted)

    def predicted(self, protocol: str) -> list[str]:
        """Return the names of the predictions that all seeds have."""
        found = [_predictions(run).keys(protocol) for run in self.runs]
        return [key for key in found[0] if all(key in one for one in found)]

    def scores(self, protocol: str, key: str) -> NDArray[np.float64]:
        """Return each test sample's score, f64[n]."""
        each = [_predictions(run).correct(protocol, key) for run in self.runs]
        return np.asarray(np.mean(each, axis=0), np.float64)

    def measured(self, protocol: str, key: str, measure: str) -> Figure | None:
        """Return a figure of the summaries, e.g. `gain`; None where a seed has none."""
        seeds = self._of_seeds(protocol, key, measure)
        if not seeds:
            return None
        if len(self.runs) > 1:
            interval = self._interval(protocol, *_terms(key, measure))
        else:
            name = "interval" if measure == "accuracy" else f"{measure}_interval"
            interval = self._tables[0][protocol][key].get(name)
        return Figure(value=float(np.mean(seeds)), seeds=seeds, interval=interval)

    def lead(self, protocol: str, key: str, base: str, measure: str = "accuracy") -> Figure | None:
        """Return a figure minus that of another representation, paired by test sample."""
        values, others = (self._of_seeds(protocol, name, measure) for name in (key, base))
        if not (values and others):
            return None
        seeds = [value - other for value, other in zip(values, others, strict=True)]
        (plus, minus), (base_plus, base_minus) = _terms(key, measure), _terms(base, measure)
        interval = self._interval(protocol, [*plus, *base_minus], [*minus, *base_plus])
        return Figure(value=float(np.mean(seeds)), seeds=seeds, interval=interval)

    @cached_property
    def _tables(self) -> list[dict[str, dict[str, dict[str, Any]]]]:
        """Of each seed, protocol -> representation -> entry of the summary."""
        return [
            {
                entries[0].get("protocol_name", "ridge"): {"+".join(one["pathways"]): one for one in entries}
                for entries in by_protocol(run.summary)
            }
            for run in self.runs
        ]

    def _of_seeds(self, protocol: str, key: str, measure: str) -> list[float]:
        found: list[Any] = [table.get(protocol, {}).get(key, {}).get(measure) for table in self._tables]
        return [] if None in found else [float(value) for value in found]

    def _interval(self, protocol: str, plus: Sequence[str], minus: Sequence[str]) -> list[float] | None:
        if self._paired is None or any((protocol, key) not in self._paired for key in (*plus, *minus)):
            return None
        return self._paired.sum([(protocol, key) for key in plus], [(protocol, key) for key in minus]).bounds

    @cached_property
    def _paired(self) -> Paired[tuple[str, str]] | None:
        """All predictions, resampled as the probe of one run does it; None where they cannot be averaged."""
        if self.without_intervals:
            return None
        config = self.first.config
        names = [(protocol, key) for protocol in self.predicted_protocols for key in self.predicted(protocol)]
        scores = {name: self.scores(*name) for name in names}
        return Paired(scores, self.groups, num_resamples=config.probe.num_bootstrap, seed=config.seed)


def load_runs(folder: Path) -> Runs:
    """Read a run, or all runs of a folder of seeds.

    Raises:
        ConfigError: neither, or nothing trained yet.
        DataError: broken files.
    """
    folder = Path(folder)
    if not has_seeds(folder):
        return Runs.of(load_run(folder))
    seeds = read_json(folder / SEEDS, AGAIN).get("seeds")
    if not isinstance(seeds, list) or not seeds:
        raise DataError(f"{folder / SEEDS}: names no seeds; {AGAIN}")
    folders = [folder / f"seed-{seed}" for seed in seeds]
    missing = next((one.name for one in folders if not one.is_dir()), "")
    if missing:
        raise ConfigError(f"{folder}: has {SEEDS} but no {missing}; copy its run folders too")
    return Runs(folder=folder, runs=[load_run(one) for one in folders])


def has_seeds(folder: Path) -> bool:
    """Return whether a folder holds a folder for each seed."""
    return (folder / SEEDS).exists() and not (folder / CONFIG).exists()


def why_other(first: RunData, second: RunData) -> str:
    """Return how the test samples of two runs differ, or nothing; both have predictions."""
    hashes = [run.environment.get("manifest_hash", "") for run in (first, second)]
    if hashes[0] != hashes[1]:
        return f"other data: manifest {hashes[0][:16] or 'unknown'} and {hashes[1][:16] or 'unknown'}"
    one, other = _predictions(first), _predictions(second)
    names = ("rows", "truth", "groups")
    if not all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names):
        return f"{second.folder} was tested on other samples than {first.folder}"
    return ""


def how_to_keep(folders: Sequence[Path]) -> str:
    """Return the commands that keep predictions."""
    return "run " + "; ".join(f"`raytrain probe {folder}`" for folder in dict.fromkeys(folders))


def _terms(key: str, measure: str) -> tuple[list[str], list[str]]:
    """Return the names of the predictions whose scores a figure adds, and of those it subtracts."""
    return {
        "accuracy": ([key], []),
        "control": ([control_name(key)], []),
        "gain": ([key], [control_name(key)]),
        "gain_same_strength": ([key], [same_strength_name(key)]),
    }.get(measure, ([""], []))


def _predictions(run: RunData) -> Predictions:
    assert run.predictions is not None
    return run.predictions
