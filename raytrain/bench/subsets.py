"""What it takes to probe every subset of the pathways: shared moments, beside separate fits."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from raytrain.errors import ConfigError
from raytrain.evaluation.curves import all_subsets
from raytrain.evaluation.factor import Floats, Integers
from raytrain.evaluation.features import FeatureFile, FeatureWriter, open_features
from raytrain.evaluation.gram import Representations
from raytrain.evaluation.ridge import STRENGTHS, fit_ridge, group_order

BOUND = 10.0
"""how many times faster than separate fits the shared ones should be"""

Predictions = dict[tuple[str, ...], NDArray[np.integer]]


def run(
    *,
    device: str = "cpu",
    repeats: int = 5,
    num_train: int = 2_000,
    num_test: int = 496,
    num_pathways: int = 5,
    channels: int = 256,
    num_classes: int = 10,
    group_size: int = 8,
) -> list[dict[str, Any]]:
    """Return rows of seconds for all subsets, one thread, median of interleaved repeats.

    Ours is held against two forms: the plain one (each subset concatenated, centred, decomposed by a thin
    SVD, left out group by group) and a call of our own fit a subset that shares nothing. All three must
    predict the same.

    Raises:
        ConfigError: a device that is not the CPU; predictions that differ.
    """
    if device != "cpu":
        raise ConfigError(f"--device is {device}; bench subsets measures the CPU only")
    names = [f"p{index}" for index in range(num_pathways)]
    labels, groups = _labels(num_train + num_test, num_classes=num_classes, group_size=group_size)
    train, test = np.arange(num_train), np.arange(num_train, num_train + num_test)
    train = train[group_order(groups[train])]
    with tempfile.TemporaryDirectory() as folder, threadpoolctl.threadpool_limits(1):
        files = {name: _stored(Path(folder), name, labels, groups, channels=channels) for name in names}
        data = (files, labels, groups, train, test)
        contenders: dict[str, Callable[[], Predictions]] = {
            "ours": lambda: shared_fits(*data),
            "plain": lambda: plain_fits(*data),
            "separate": lambda: separate_fits(*data),
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        found: dict[str, Predictions] = {}
        for _ in range(repeats):
            for name, work in contenders.items():
                started = time.process_time()
                found[name] = work()
                times[name].append(time.process_time() - started)
    for name in ("plain", "separate"):
        _check_same(found["ours"], found[name], name)
    return _rows({name: statistics.median(values) for name, values in times.items()}, len(found["ours"]))


def _rows(medians: dict[str, float], num_subsets: int) -> list[dict[str, Any]]:
    def row(name: str, value: float, **beside: Any) -> dict[str, Any]:
        against: dict[str, Any] = {"against": None, "ratio": None, "bound": None}
        return {"name": name, "value": value, "unit": "CPU s"} | against | beside

    ours = medians["ours"]
    return [
        row(
            f"{num_subsets} subsets, shared moments",
            ours,
            against="as fast as plain fits",
            ratio=medians["plain"] / ours,
            bound=BOUND,
        ),
        row(
            f"{num_subsets} subsets, shared moments",
            ours,
            against="as fast as our fits, nothing shared",
            ratio=medians["separate"] / ours,
        ),
        row(f"{num_subsets} plain fits (thin SVD, group by group)", medians["plain"]),
        row(f"{num_subsets} fits of our own, nothing shared", medians["separate"]),
    ]


def shared_fits(
    files: dict[str, FeatureFile], labels: Integers, groups: Integers, train: Integers, test: Integers
) -> Predictions:
    """Return what each subset predicts, from one set of moments."""
    shared = Representations(train, test, num_classes=int(labels.max()) + 1)
    return {names: _fit(shared, files, names, labels, groups, train) for names in all_subsets(list(files))}


def separate_fits(
    files: dict[str, FeatureFile], labels: Integers, groups: Integers, train: Integers, test: Integers
) -> Predictions:
    """Return what each subset predicts, from moments of its own."""
    num_classes = int(labels.max()) + 1

    def fit(names: Sequence[str]) -> NDArray[np.integer]:
        alone = Representations(train, test, num_classes=num_classes)
        return _fit(alone, files, names, labels, groups, train)

    return {names: fit(names) for names in all_subsets(list(files))}


def _fit(
    shared: Representations,
    files: dict[str, FeatureFile],
    names: Sequence[str],
    labels: Integers,
    groups: Integers,
    train: Integers,
) -> NDArray[np.integer]:
    resolvent = shared.resolvent([files[name] for name in names], "pooled")
    num_classes = int(labels.max()) + 1
    return fit_ridge(resolvent, labels[train], groups[train], num_classes=num_classes).predictions


def plain_fits(
    files: dict[str, FeatureFile], labels: Integers, groups: Integers, train: Integers, test: Integers
) -> Predictions:
    """Return what each subset predicts, each fitted by itself as one would write it down."""
    return {
        names: _plain_fit([files[name] for name in names], labels, groups, train, test)
        for names in all_subsets(list(files))
    }


def _plain_fit(
    files: Sequence[FeatureFile], labels: Integers, groups: Integers, train: Integers, test: Integers
) -> NDArray[np.integer]:
    parts, test_parts = [], []
    for file in files:
        values, others = (file.read(rows, "pooled").astype(np.float64) for rows in (train, test))
        mean = values.mean(axis=0)
        root = np.sqrt(len(train) / ((values - mean) ** 2).sum())
        parts.append((values - mean) * root)
        test_parts.append((others - mean) * root)
    features = np.concatenate(parts, axis=1)
    left, singular, right = np.linalg.svd(features, full_matrices=False)
    classes, truth = np.unique(labels[train], return_inverse=True)
    targets = np.where(truth[:, None] == np.arange(len(classes)), 1.0, -1.0)
    mean = targets.mean(axis=0)
    members = [np.flatnonzero(groups[train] == name) for name in np.unique(groups[train])]
    grid = STRENGTHS * (singular**2).sum() / min(len(train) - 1, features.shape[1])
    accuracies = []
    for strength in grid:
        held_out = _plain_held_out(left, singular**2 / (singular**2 + strength), targets, members)
        accuracies.append(float(np.mean(held_out.argmax(axis=1) == truth)))
    best = max(range(len(grid)), key=lambda index: (accuracies[index], index))
    shrunk = singular / (singular**2 + grid[best])
    weights = right.T @ (shrunk[:, None] * (left.T @ (targets - mean)))
    scores = mean + np.concatenate(test_parts, axis=1) @ weights
    return np.asarray(classes[scores.argmax(axis=1)])


def _plain_held_out(left: Floats, shrink: Floats, targets: Floats, members: Sequence[Integers]) -> Floats:
    """Return what each group is predicted to be by a fit without it, by the hat matrix of its rows."""
    mean = targets.mean(axis=0)
    residuals = targets - mean - left @ (shrink[:, None] * (left.T @ (targets - mean)))
    held_out = np.empty_like(targets)
    for rows in members:
        hat = (left[rows] * shrink) @ left[rows].T + 1 / len(left)
        held_out[rows] = targets[rows] - np.linalg.solve(np.eye(len(rows)) - hat, residuals[rows])
    return held_out


def _check_same(ours: Predictions, theirs: Predictions, name: str) -> None:
    for names, predictions in ours.items():
        differing = int(np.sum(predictions != theirs[names]))
        if differing:
            raise ConfigError(
                f"bench subsets: {differing} of {predictions.size} predictions of {'+'.join(names)} differ "
                f"from those of the {name} fits; this is a bug, please report it"
            )


def _labels(num_rows: int, *, num_classes: int, group_size: int) -> tuple[Integers, Integers]:
    """Return labels and groups of rows in groups of near copies."""
    groups = np.arange(num_rows) // group_size
    classes = np.random.default_rng(0).integers(0, num_classes, groups[-1] + 1)
    return classes[groups], groups


def _stored(folder: Path, name: str, labels: Integers, groups: Integers, *, channels: int) -> FeatureFile:
    """Write features like an encoder's: correlated, none below zero, near copies within a group."""
    random = np.random.default_rng([*name.encode()])
    decay = np.exp(-4 * np.arange(channels) / channels)
    mixing = random.standard_normal((channels, channels)) * decay[:, None]
    latent = 0.3 * random.standard_normal((labels.max() + 1, channels))[labels]
    latent += random.standard_normal((groups.max() + 1, channels))[groups]
    latent += 0.5 * random.standard_normal((len(labels), channels))
    values = np.maximum(latent @ mixing + 0.3 * random.standard_normal((len(labels), channels)), 0)
    writer = FeatureWriter(
        folder, name=name, num_samples=len(labels), cells=1, channels=channels, max_gib=1.0
    )
    writer.write(0, values[:, None])
    writer.close()
    return open_features(folder, name)
