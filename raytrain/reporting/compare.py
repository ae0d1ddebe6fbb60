"""Two runs, or two folders of seeds, against each other: settings that differ, then paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import ConfigError, DataError
from raytrain.metrics import CONFIDENCE, group_bootstrap
from raytrain.reporting.predictions import Predictions
from raytrain.reporting.results import points
from raytrain.reporting.run_data import SEEDS, RunData, load_run, read_json
from raytrain.training.run_folder import CONFIG, differences

NUM_RESAMPLES = 2000
CONTROL = ".control"
# Places and names: they differ between any two runs.
_UNTOLD = {"out", "preset", "report", "data.root", "seed"}


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two: a run, or several that differ in their seed."""

    folder: Path
    runs: list[RunData]

    @property
    def name(self) -> str:
        """Its folder, and how many seeds it has."""
        seeds = ", ".join(str(run.config.seed) for run in self.runs)
        return f"{self.folder} (seed{'s' * (len(self.runs) > 1)} {seeds})"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The second minus the first, of one representation or of its gain over the control."""

    protocol: str
    name: str
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None = None
    seeds: tuple[float, ...] = ()
    """difference of each seed that both have"""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two sides differ by."""

    first: Side
    second: Side
    settings: list[tuple[str, Any, Any]]
    pairing: str
    """how the intervals were made, or why there are none"""
    rows: list[Difference]


def load_side(folder: Path) -> Side:
    """Read a run, or all runs of a folder of seeds.

    Raises:
        ConfigError: neither, or nothing trained yet.
        DataError: broken files.
    """
    folder = Path(folder)
    if (folder / SEEDS).exists() and not (folder / CONFIG).exists():
        table = read_json(folder / SEEDS, "run `raytrain train ... --seeds N` again")
        runs = [load_run(folder / f"seed-{seed}") for seed in table.get("seeds", [])]
        if not runs:
            raise DataError(f"{folder / SEEDS}: names no seeds; run `raytrain train ... --seeds N` again")
        return Side(folder=folder, runs=runs)
    return Side(folder=folder, runs=[load_run(folder)])


def compare(first: Path, second: Path) -> Comparison:
    """Compare two runs or folders of seeds: the second minus the first.

    Where both predicted the same test samples of the same data, a sample's score is the mean over the seeds,
    and groups of samples are resampled for both alike (paired). On other samples each side is resampled by
    itself (unpaired). Without predictions there are differences of the summaries, without intervals.

    Raises:
        ConfigError: a folder is no run, nothing trained yet, or they have no representation in common.
        DataError: broken files.
    """
    sides = (load_side(first), load_side(second))
    settings = [
        change
        for change in differences(sides[0].runs[0].config, sides[1].runs[0].config)
        if change[0] not in _UNTOLD
    ]
    lacking = [run.folder for side in sides for run in side.runs if run.predictions is None]
    if lacking:
        commands = "; ".join(f"`raytrain probe {folder}`" for folder in dict.fromkeys(lacking))
        pairing = f"no intervals: predictions were not kept; run {commands}"
        rows = _of_summaries(*sides)
    else:
        problem = _why_unpaired(sides)
        pairing = f"unpaired: {problem}" if problem else "paired: the same test samples, resampled by group"
        rows = _of_predictions(*sides, paired=not problem)
    if not rows:
        raise ConfigError(
            f"{first} and {second} have no representation in common: "
            f"the first has {', '.join(sides[0].runs[0].pathways)}, the second "
            f"{', '.join(sides[1].runs[0].pathways)}"
        )
    return Comparison(first=sides[0], second=sides[1], settings=settings, pairing=pairing, rows=rows)


def _why_unpaired(sides: Sequence[Side]) -> str:
    """Return why the sides cannot be paired, or nothing; DataError where a side's seeds cannot be."""
    for side in sides:
        for run in side.runs[1:]:
            problem = _why_other(side.runs[0], run)
            if problem:
                raise DataError(f"{side.folder}: its seeds cannot be averaged: {problem}")
    return _why_other(sides[0].runs[0], sides[1].runs[0])


def _why_other(first: RunData, second: RunData) -> str:
    """Return how the test samples of two runs differ, or nothing."""
    hashes = [run.environment.get("manifest_hash", "") for run in (first, second)]
    if hashes[0] != hashes[1]:
        return f"other data: manifest {hashes[0][:16] or 'unknown'} and {hashes[1][:16] or 'unknown'}"
    one, other = _predictions(first), _predictions(second)
    names = ("rows", "truth", "groups")
    if not all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names):
        return f"{second.folder} was tested on other samples than {first.folder}"
    return ""


def _predictions(run: RunData) -> Predictions:
    assert run.predictions is not None
    return run.predictions


def _of_predictions(first: Side, second: Side, *, paired: bool) -> list[Difference]:
    rows = []
    for protocol in _predictions(first.runs[0]).predicted:
        keys = _common_keys((first, second), protocol)
        for key in (key for key in keys if not key.endswith((CONTROL, ".same_strength"))):
            rows.append(_difference(first, second, protocol, [key], paired=paired))
            if key + CONTROL in keys:
                rows.append(_difference(first, second, protocol, [key, key + CONTROL], paired=paired))
    return rows


def _common_keys(sides: Sequence[Side], protocol: str) -> list[str]:
    """Return the results that every run has, in the order of the first."""
    runs = [run for side in sides for run in side.runs]
    known = [set(_predictions(run).keys(protocol)) for run in runs]
    return [key for key in _predictions(runs[0]).keys(protocol) if all(key in one for one in known)]


def _difference(first: Side, second: Side, protocol: str, keys: Sequence[str], *, paired: bool) -> Difference:
    """Return the difference of an accuracy, or with two keys of (accuracy - control)."""
    scores = [_mean_scores(side, protocol, keys) for side in (first, second)]
    groups = [_predictions(side.runs[0]).groups for side in (first, second)]
    interval = _interval(scores, groups, paired=paired)
    means = [float(one.mean()) for one in scores]
    return Difference(
        protocol=protocol,
        name=_title(keys),
        first=means[0],
        second=means[1],
        difference=means[1] - means[0],
        interval=interval,
        seeds=_by_seed(first, second, protocol, keys),
    )


def _title(keys: Sequence[str]) -> str:
    name = keys[0].removeprefix("floor.")
    kind = "floor " if keys[0].startswith("floor.") else "gain of " if len(keys) > 1 else ""
    return kind + name.replace("+", " + ")


def _mean_scores(side: Side, protocol: str, keys: Sequence[str]) -> NDArray[np.float64]:
    """Return each sample's score f64[n], the mean over the seeds."""
    return np.asarray(np.mean([_scores(run, protocol, keys) for run in side.runs], axis=0), np.float64)


def _scores(run: RunData, protocol: str, keys: Sequence[str]) -> NDArray[np.float64]:
    found = _predictions(run)
    score = found.correct(protocol, keys[0])
    return score - found.correct(protocol, keys[1]) if len(keys) > 1 else score


def _interval(
    scores: Sequence[NDArray[np.float64]], groups: Sequence[NDArray[np.int64]], *, paired: bool
) -> tuple[float, float]:
    if paired:
        found = group_bootstrap(
            np.stack([scores[1] - scores[0]]), groups[0], num_resamples=NUM_RESAMPLES, seed=0
        ).row(0)
        return found.low, found.high
    parts = [
        group_bootstrap(one[None], group, num_resamples=NUM_RESAMPLES, seed=place)
        for place, (one, group) in enumerate(zip(scores, groups, strict=True))
    ]
    low, high = np.quantile(
        parts[1].resampled[:, 0] - parts[0].resampled[:, 0], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    )
    return float(low), float(high)


def _by_seed(first: Side, second: Side, protocol: str, keys: Sequence[str]) -> tuple[float, ...]:
    """Return the difference of each seed that both have, where there are several."""
    means = [
        {run.config.seed: float(_scores(run, protocol, keys).mean()) for run in side.runs}
        for side in (first, second)
    ]
    common = [seed for seed in means[0] if seed in means[1]]
    return tuple(means[1][seed] - means[0][seed] for seed in common) if len(common) > 1 else ()


def _of_summaries(first: Side, second: Side) -> list[Difference]:
    tables = [_summary_means(side) for side in (first, second)]
    rows = []
    for protocol, key in tables[0]:
        if (protocol, key) in tables[1]:
            for place, name in enumerate((key.replace("+", " + "), f"gain of {key.replace('+', ' + ')}")):
                before, after = (table[protocol, key][place] for table in tables)
                rows.append(
                    Difference(
                        protocol=protocol, name=name, first=before, second=after, difference=after - before
                    )
                )
    return rows


def _summary_means(side: Side) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the mean accuracy and gain over the seeds, by protocol and representation."""
    values: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for run in side.runs:
        for entry in run.summary.get("probes") or []:
            key = (entry.get("protocol_name", "ridge"), "+".join(entry["pathways"]))
            values.setdefault(key, []).append((entry["accuracy"], entry["gain"]))
    return {
        key: (float(np.mean([a for a, _ in found])), float(np.mean([g for _, g in found])))
        for key, found in values.items()
        if len(found) == len(side.runs)
    }


def comparison_text(found: Comparison) -> str:
    """Return a comparison as lines: settings that differ, then a row a representation."""
    lines = [f"first:  {found.first.name}", f"second: {found.second.name}"]
    lines += [f"{key}: {before!r} -> {after!r}" for key, before, after in found.settings]
    if not found.settings:
        lines.append("settings: the same")
    lines += [found.pairing, ""]
    width = max(14, *(len(row.name) for row in found.rows))
    protocols = list(dict.fromkeys(row.protocol for row in found.rows))
    for protocol in protocols:
        lines.append(f"{protocol:<{width}}  first   second  second - first, points")
        lines += [_line(row, width) for row in found.rows if row.protocol == protocol]
    if any(row.interval for row in found.rows):
        lines.append("* the 95 % interval leaves out zero")
    if any(len(side.runs) > 1 for side in (found.first, found.second)):
        lines.append("figures are means over the seeds; intervals resample test samples, not seeds")
    return "\n".join(lines)


def _line(row: Difference, width: int) -> str:
    said = points(row.difference, list(row.interval)) if row.interval else f"{100 * row.difference:+.1f}"
    clear = row.interval is not None and (row.interval[0] > 0 or row.interval[1] < 0)
    each = f"  each seed {' '.join(f'{100 * one:+.1f}' for one in row.seeds)}" if row.seeds else ""
    style = "+.3f" if row.name.startswith("gain of ") else ".3f"
    values = f"{row.first:{style}}".rjust(6) + "  " + f"{row.second:{style}}".rjust(6)
    return f"{row.name:<{width}}  {values}  {said}{' *' * clear}{each}"
