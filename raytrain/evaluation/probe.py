"""Probes: what the frozen pathways are worth, alone and joined, beside their controls and floors.

Every figure comes from the same classifier, training rows and test rows, and all intervals from the same
resamples of the test groups, so that differences are paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from raytrain.errors import DataError
from raytrain.evaluation.features import FeatureFile, Mode, open_features
from raytrain.evaluation.gram import Representations, join, train_test_gram
from raytrain.evaluation.ridge import STRENGTHS, Factor, GramPair, Integers, RidgeResult, fit_ridge
from raytrain.metrics import Interval, Intervals, accuracy, group_bootstrap

__all__ = [
    "GramPair",
    "ProbeRequest",
    "RidgeResult",
    "control_name",
    "fit_ridge",
    "floor_name",
    "join",
    "run_probes",
    "same_strength_name",
    "train_test_gram",
]


def control_name(pathway: str) -> str:
    """Return the name of the features of a pathway's initial weights."""
    return f"{pathway}.control"


def same_strength_name(pathway: str) -> str:
    """Return the name of the control's result at the strength that the trained features chose."""
    return f"{pathway}.control.same_strength"


def floor_name(name: str) -> str:
    """Return the name of a floor's features: what needs no encoder (pixels, an operator's output)."""
    return f"floor.{name}"


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """What to probe: features files by name, and arrays over their N rows.

    `labels` int[N] (-1: none, left out), `groups` int[N] (one numbering for all splits), `train_rows` and
    `test_rows` the row indices of the two splits.
    """

    folder: Path
    pathways: Sequence[str]
    labels: ArrayLike
    groups: ArrayLike
    train_rows: ArrayLike
    test_rows: ArrayLike
    epoch: int
    seed: int
    mode: Mode = "flat"
    num_bootstrap: int = 2000
    floors: Sequence[str] = ()
    reference: str = "identity"
    """pathway whose gain the others' gains are compared with, where it is among them"""
    split: str = "test"


@dataclass(frozen=True, kw_only=True)
class _Splits:
    """The labelled rows of both splits."""

    labels: Integers
    groups: Integers
    train: Integers
    test: Integers

    @property
    def num_classes(self) -> int:
        return int(self.labels.max()) + 1


def run_probes(request: ProbeRequest) -> list[dict[str, Any]]:
    """Return the probe entries of summary.json: each single pathway, then all joined where there are several.

    A test sample whose class has no training sample counts as wrong. Floors are always probed flat.

    Raises:
        ConfigError: too many samples and features at once.
        DataError: features that are missing or do not fit, a split without labels, groups in both splits.
    """
    splits = _labelled_splits(request)
    sets: list[tuple[str, ...]] = [(name,) for name in request.pathways]
    if len(request.pathways) > 1:
        sets.append(tuple(request.pathways))
    results: dict[str, RidgeResult] = {}
    for naming in (str, control_name):
        representations = Representations(splits.train, splits.test)
        for names in sets:
            plain = "+".join(names)
            files = [_open(request, naming(name), len(splits.labels)) for name in names]
            factor = representations.factor(files, request.mode)
            results[naming(plain)] = _fit(factor, splits)
            if naming is control_name:
                # All features have unit variance, so that the trained one's strength means the same here.
                strength = results[plain].strength / factor.scale
                results[same_strength_name(plain)] = _fit(factor, splits, strengths=[strength])
    for floor in request.floors:
        key = floor_name(floor)
        features = _open(request, key, len(splits.labels))
        results[key] = _fit(Representations(splits.train, splits.test).factor([features], "flat"), splits)
    truth = splits.labels[splits.test]
    table = _Table(
        keys=list(results),
        intervals=group_bootstrap(
            [result.predictions == truth for result in results.values()],
            splits.groups[splits.test],
            num_resamples=request.num_bootstrap,
            seed=request.seed,
        ),
    )
    return [_entry(request, splits, names, results, table) for names in sets]


def _labelled_splits(request: ProbeRequest) -> _Splits:
    labels, groups = np.asarray(request.labels, dtype=np.int64), np.asarray(request.groups, dtype=np.int64)
    train, test = (np.asarray(rows, dtype=np.int64) for rows in (request.train_rows, request.test_rows))
    train, test = train[labels[train] >= 0], test[labels[test] >= 0]
    for name, rows in (("probe_train", train), (request.split, test)):
        if np.unique(groups[rows]).size < 2:
            raise DataError(
                f"probe: split {name} has {rows.size} labelled samples in {np.unique(groups[rows]).size} "
                "groups; it needs two groups or more"
            )
    shared = np.intersect1d(groups[train], groups[test])
    if shared.size:
        raise DataError(
            f"probe: {shared.size} groups have samples in both probe_train and {request.split}, the first is "
            f"group {shared[0]}; samples of one group are near copies: split by group"
        )
    return _Splits(labels=labels, groups=groups, train=train, test=test)


def _fit(factor: Factor, splits: _Splits, strengths: ArrayLike = STRENGTHS) -> RidgeResult:
    return fit_ridge(
        factor,
        splits.labels[splits.train],
        splits.groups[splits.train],
        num_classes=splits.num_classes,
        strengths=strengths,
    )


def _open(request: ProbeRequest, name: str, num_rows: int) -> FeatureFile:
    features = open_features(Path(request.folder), name)
    if len(features) != num_rows:
        raise DataError(
            f"features {name}: {len(features)} rows for {num_rows} labels; run represent again on this data"
        )
    return features


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The intervals of all results, by name."""

    keys: list[str]
    intervals: Intervals

    def sum(self, plus: Sequence[str], minus: Sequence[str] = ()) -> Interval:
        """Return the paired interval of the accuracies in `plus` minus those in `minus`."""
        weights = np.zeros(len(self.keys))
        for names, sign in ((plus, 1.0), (minus, -1.0)):
            for name in names:
                weights[self.keys.index(name)] += sign
        return self.intervals.contrast(weights)


def _entry(
    request: ProbeRequest,
    splits: _Splits,
    names: tuple[str, ...],
    results: dict[str, RidgeResult],
    table: _Table,
) -> dict[str, Any]:
    key = "+".join(names)
    control = control_name(key)
    trained, initial, gain = table.sum([key]), table.sum([control]), table.sum([key], [control])
    same_strength = table.sum([key], [same_strength_name(key)])
    return {
        "pathways": list(names),
        "epoch": request.epoch,
        "features": request.mode,
        "protocol": _protocol(request, splits, len(names)),
        "split": request.split,
        "accuracy": accuracy(results[key].predictions, splits.labels[splits.test]),
        "interval": [trained.low, trained.high],
        "control": initial.estimate,
        "control_interval": [initial.low, initial.high],
        "gain": gain.estimate,
        "gain_interval": [gain.low, gain.high],
        "gain_same_strength": same_strength.estimate,
        "gain_same_strength_interval": [same_strength.low, same_strength.high],
        "n": int(splits.test.size),
        "groups": int(np.unique(splits.groups[splits.test]).size),
        "seed": request.seed,
        "strength": results[key].strength,
        "strength_edge": results[key].edge,
        "control_strength": results[control].strength,
        "control_strength_edge": results[control].edge,
        "logo_accuracy": results[key].logo_accuracy,
        "control_logo_accuracy": results[control].logo_accuracy,
        "floors": [_floor(name, key, results, table) for name in request.floors],
        "contrasts": _contrasts(request, names, results, table),
    }


def _floor(name: str, key: str, results: dict[str, RidgeResult], table: _Table) -> dict[str, Any]:
    """Return a floor, and the pathway's accuracy minus it."""
    floor = floor_name(name)
    value, lead = table.sum([floor]), table.sum([key], [floor])
    return {
        "name": name,
        "features": "flat",
        "accuracy": value.estimate,
        "interval": [value.low, value.high],
        "difference": lead.estimate,
        "difference_interval": [lead.low, lead.high],
        "strength": results[floor].strength,
        "strength_edge": results[floor].edge,
        "logo_accuracy": results[floor].logo_accuracy,
    }


def _contrasts(
    request: ProbeRequest, names: tuple[str, ...], results: dict[str, RidgeResult], table: _Table
) -> list[dict[str, Any]]:
    """Return the joined against the best single pathway, and the gain against the reference's gain."""
    key, reference = "+".join(names), request.reference
    chosen: list[tuple[str, Interval]] = []
    if len(names) > 1:
        # The best by training rows: picking it by test accuracy would flatter the single pathway.
        best = max(names, key=lambda name: results[name].logo_accuracy)
        chosen.append((f"joined - {best} (best single by logo_accuracy)", table.sum([key], [best])))
    if reference in request.pathways and key != reference:
        difference = table.sum(
            [key, control_name(reference)],
            [control_name(key), reference],
        )
        title = "joined" if len(names) > 1 else key
        chosen.append((f"gain of {title} - gain of {reference}", difference))
    return [
        {"name": name, "difference": value.estimate, "interval": [value.low, value.high]}
        for name, value in chosen
    ]


def _protocol(request: ProbeRequest, splits: _Splits, num_pathways: int) -> str:
    num_groups = np.unique(splits.groups[splits.train]).size
    what = "every cell's channels" if request.mode == "flat" else "channels averaged over the cells"
    joined = f" of {num_pathways} pathways, each scaled to unit variance" if num_pathways > 1 else ""
    return (
        f"ridge classifier with intercept on frozen features ({what}{joined}), "
        f"trained on {splits.train.size} samples of {num_groups} groups, "
        "strength by leave-one-group-out accuracy on these, "
        f"tested once on split {request.split}; "
        f"95 % intervals from {request.num_bootstrap} resamples of the test groups; "
        "control: the same with the initial weights"
    )
