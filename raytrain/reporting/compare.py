"""Two runs, or two folders of seeds, against each other: settings that differ, then paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import ConfigError, DataError
from raytrain.evaluation.entries import same_strength_name
from raytrain.evaluation.features import control_name
from raytrain.metrics import CONFIDENCE, group_bootstrap
from raytrain.reporting.results import points
from raytrain.reporting.runs import Runs, how_to_keep, load_runs, why_other
from raytrain.training.run_folder import differences

NUM_RESAMPLES = 2000
OF_CONTROL = (control_name(""), same_strength_name(""))
"""how the names of a control's predictions end"""
# Places and names: they differ between any two runs.
_UNTOLD = {"out", "preset", "report", "data.root", "seed"}


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

    first: Runs
    second: Runs
    settings: list[tuple[str, Any, Any]]
    pairing: str
    """how the intervals were made, or why there are none"""
    rows: list[Difference]


def compare(first: Path, second: Path) -> Comparison:
    """Compare two runs or folders of seeds: the second minus the first.

    Where both predicted the same test samples of the same data, a sample's score is the mean over the seeds,
    and groups of samples are resampled for both alike (paired). On other samples each side is resampled by
    itself (unpaired). Without predictions there are differences of the summaries, without intervals.

    Raises:
        ConfigError: a folder is no run, nothing trained yet, or they have no representation in common.
        DataError: broken files.
    """
    sides = (load_runs(first), load_runs(second))
    settings = [
        change
        for change in differences(sides[0].first.config, sides[1].first.config)
        if change[0] not in _UNTOLD
    ]
    lacking = [folder for side in sides for folder in side.lacking]
    if lacking:
        pairing = f"no intervals: predictions were not kept; {how_to_keep(lacking)}"
        rows = _of_summaries(*sides)
    else:
        problem = _why_unpaired(sides)
        pairing = f"unpaired: {problem}" if problem else "paired: the same test samples, resampled by group"
        rows = _of_predictions(*sides, paired=not problem)
    if not rows:
        raise ConfigError(
            f"{first} and {second} have no representation in common: "
            f"the first has {', '.join(sides[0].first.pathways)}, the second "
            f"{', '.join(sides[1].first.pathways)}"
        )
    return Comparison(first=sides[0], second=sides[1], settings=settings, pairing=pairing, rows=rows)


def _why_unpaired(sides: Sequence[Runs]) -> str:
    """Return why the sides cannot be paired, or nothing; DataError where a side's seeds cannot be."""
    for side in sides:
        if side.unlike:
            raise DataError(f"{side.folder}: its seeds cannot be averaged: {side.unlike}")
    return why_other(sides[0].first, sides[1].first)


def _of_predictions(first: Runs, second: Runs, *, paired: bool) -> list[Difference]:
    rows = []
    for protocol in first.predicted_protocols:
        known = second.predicted(protocol)
        keys = [key for key in first.predicted(protocol) if key in known]
        for key in (key for key in keys if not key.endswith(OF_CONTROL)):
            rows.append(_difference(first, second, protocol, [key], paired=paired))
            if control_name(key) in keys:
                rows.append(_difference(first, second, protocol, [key, control_name(key)], paired=paired))
    return rows


def _difference(first: Runs, second: Runs, protocol: str, keys: Sequence[str], *, paired: bool) -> Difference:
    """Return the difference of an accuracy, or with two keys of (accuracy - control)."""
    scores = [_scores(side, protocol, keys) for side in (first, second)]
    interval = _interval(scores, [first.groups, second.groups], paired=paired)
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


def _scores(side: Runs, protocol: str, keys: Sequence[str]) -> NDArray[np.float64]:
    score = side.scores(protocol, keys[0])
    return score - side.scores(protocol, keys[1]) if len(keys) > 1 else score


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


def _by_seed(first: Runs, second: Runs, protocol: str, keys: Sequence[str]) -> tuple[float, ...]:
    """Return the difference of each seed that both have, where there are several."""
    means = [
        {seed: float(_scores(run, protocol, keys).mean()) for seed, run in side.each.items()}
        for side in (first, second)
    ]
    common = [seed for seed in means[0] if seed in means[1]]
    return tuple(means[1][seed] - means[0][seed] for seed in common) if len(common) > 1 else ()


def _of_summaries(first: Runs, second: Runs) -> list[Difference]:
    rows = []
    for protocol in first.protocols:
        for key in first.representations(protocol):
            for measure, kind in (("accuracy", ""), ("gain", "gain of ")):
                one, other = (side.measured(protocol, key, measure) for side in (first, second))
                if one and other:
                    rows.append(
                        Difference(
                            protocol=protocol,
                            name=kind + key.replace("+", " + "),
                            first=one.value,
                            second=other.value,
                            difference=other.value - one.value,
                        )
                    )
    return rows


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
    said = points(row.difference, row.interval)
    clear = row.interval is not None and (row.interval[0] > 0 or row.interval[1] < 0)
    each = f"  each seed {' '.join(f'{100 * one:+.1f}' for one in row.seeds)}" if row.seeds else ""
    style = "+.3f" if row.name.startswith("gain of ") else ".3f"
    values = f"{row.first:{style}}".rjust(6) + "  " + f"{row.second:{style}}".rjust(6)
    return f"{row.name:<{width}}  {values}  {said}{' *' * clear}{each}"
