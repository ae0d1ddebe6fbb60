"""Probes: what the frozen pathways are worth, alone and joined, beside their controls and floors.

Every figure comes from the same training rows and test rows, and all intervals from the same resamples of the
test groups, so that differences are paired.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.config.probe import ClassifierProbeConfig
from raytrain.errors import DataError
from raytrain.evaluation.curves import (
    all_subsets,
    answer_layers,
    layer_entries,
    subset_entries,
)
from raytrain.evaluation.entries import EntryWriter, Row, Table, floor_name, same_strength_name, without
from raytrain.evaluation.factor import GramPair, Integers
from raytrain.evaluation.features import FeatureFile, Mode, control_name, layers_name, open_features
from raytrain.evaluation.gram import Representations, join, train_test_gram
from raytrain.evaluation.protocols import HEAD, PROTOCOLS, Head, answer_head, answer_ridge
from raytrain.evaluation.ridge import RidgeResult, fit_ridge, group_order
from raytrain.evaluation.task import Answer, Question, Task

__all__ = [
    "GramPair",
    "Measured",
    "ProbeRequest",
    "RidgeResult",
    "control_name",
    "fit_ridge",
    "floor_name",
    "join",
    "layers_name",
    "measure",
    "run_probes",
    "same_strength_name",
    "train_test_gram",
]


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """What to probe: features files by name, and arrays over their N rows.

    `labels` int[N] (-1: none, left out), `groups` int[N] (one numbering for all splits), `train_rows`,
    `select_rows` and `test_rows` the row indices of the splits. Several labels a sample: `label_sets` u8[N,
    L], and `labels` 0 where they are known.
    """

    folder: Path
    pathways: Sequence[str]
    labels: ArrayLike
    groups: ArrayLike
    train_rows: ArrayLike
    test_rows: ArrayLike
    epoch: int
    seed: int
    select_rows: ArrayLike = ()
    label_sets: NDArray[np.uint8] | None = None
    label_names: Sequence[str] = ()
    mode: Mode = "flat"
    protocols: Sequence[str] = ("ridge",)
    layers: bool = False
    subsets: bool = False
    classifier: ClassifierProbeConfig = field(default_factory=ClassifierProbeConfig)
    num_bootstrap: int = 2000
    floors: Sequence[str] = ()
    apart: Sequence[str] = ()
    """pathways that the others are joined without too: what each adds to the joined representation"""
    heads: Mapping[str, Head] = field(default_factory=dict)
    """classifiers that networks were trained with, by name of the features, each with its control's"""
    reference: str = "identity"
    """pathway whose gain the others' gains are compared with, where it is among them"""
    split: str = "test"
    device: str = "cpu"
    """where nearest neighbours are looked for"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the probes give: summary.json's lists, and every prediction."""

    probes: list[dict[str, Any]]
    layers: list[dict[str, Any]]
    subsets: list[dict[str, Any]]
    predictions: dict[str, NDArray[np.integer]]
    """the arrays of predictions.npz"""


def run_probes(request: ProbeRequest) -> list[dict[str, Any]]:
    """Return the probe entries of summary.json; see `measure`."""
    return measure(request).probes


def measure(request: ProbeRequest) -> Measured:
    """Probe each single pathway, then all joined, then all but each of `apart`, under each protocol.

    A test sample whose class has no training sample counts as wrong. Floors are always probed flat. Layers
    and subsets are measured by ridge. Last come the networks' own classifiers, of single pathways alone.

    Raises:
        ConfigError: too many samples and features at once, too many subsets.
        DataError: features that are missing or do not fit, a split without labels, groups in both splits.
    """
    task = _task(request)
    sets: list[tuple[str, ...]] = [(name,) for name in request.pathways]
    if len(request.pathways) > 1:
        sets.append(tuple(request.pathways))
        sets += [rest for name in request.apart if (rest := without(request.pathways, name)) not in sets]
    subsets = all_subsets(request.pathways) if request.subsets else []
    answers: dict[tuple[str, str], Answer] = {}
    for naming in (str, control_name):
        _answer_side(request, task, sets, subsets, naming, answers)
    for floor in request.floors:
        features = [_open(request, floor_name(floor), len(task.labels))]
        shared = Representations(task.train, task.test, num_classes=task.num_classes)
        for protocol in request.protocols:
            question = Question(task=task, features=features, mode="flat", shared=shared)
            answers[protocol, floor_name(floor)] = PROTOCOLS[protocol].answer(question).measured(task)
    for key, head in request.heads.items():
        file = _open(request, key, len(task.labels))
        answers[HEAD, key] = answer_head(task, file, head).measured(task)
    layers = answer_layers(task, Path(request.folder), request.pathways) if request.layers else {}
    table = _table(request, task, answers | {("ridge", key): answer for key, answer in layers.items()})
    writer = EntryWriter(
        task=task,
        answers=answers,
        table=table,
        pathways=request.pathways,
        floors=request.floors,
        apart=request.apart,
        reference=request.reference,
        mode=request.mode,
        epoch=request.epoch,
        num_bootstrap=request.num_bootstrap,
        label_names=request.label_names or [str(index) for index in range(task.num_classes)],
    )
    entries = [writer.entry(protocol, names) for protocol in request.protocols for names in sets]
    return Measured(
        probes=entries + _head_entries(request, writer),
        layers=layer_entries(layers, request.pathways, table),
        subsets=subset_entries(subsets, table),
        predictions=_predictions(task, answers),
    )


def _answer_side(
    request: ProbeRequest,
    task: Task,
    sets: Sequence[tuple[str, ...]],
    subsets: Sequence[tuple[str, ...]],
    naming: Callable[[str], str],
    answers: dict[tuple[str, str], Answer],
) -> None:
    """Answer for all representations of the trained pathways, or of their controls."""
    shared = Representations(task.train, task.test, num_classes=task.num_classes)
    files = {name: _open(request, naming(name), len(task.labels)) for name in request.pathways}

    def question(names: tuple[str, ...]) -> Question:
        features = [files[name] for name in names]
        return Question(task=task, features=features, mode=request.mode, shared=shared)

    for protocol in request.protocols:
        for names in sets:
            key = "+".join(names)
            answers[protocol, naming(key)] = PROTOCOLS[protocol].answer(question(names)).measured(task)
            if protocol == "ridge" and naming is control_name:
                # All features have unit variance, so that the trained one's strength means the same here.
                unit = answers[protocol, naming(key)].unit
                strength = answers[protocol, key].settings["strength"] / unit
                again = answer_ridge(question(names), strengths=[strength])
                answers[protocol, same_strength_name(key)] = again.measured(task)
    for names in subsets:
        place = ("ridge", naming("+".join(names)))
        if place not in answers:
            answers[place] = answer_ridge(question(names)).measured(task)


def _head_entries(request: ProbeRequest, writer: EntryWriter) -> list[dict[str, Any]]:
    """Return the entries of the networks' own classifiers, which have no floors and join nothing."""
    names = tuple(name for name in request.pathways if name in request.heads)
    own = replace(writer, pathways=names, floors=(), apart=())
    return [replace(own, mode=request.heads[name].mode).entry(HEAD, (name,)) for name in names]


def _task(request: ProbeRequest) -> Task:
    """Return the labelled rows of the splits; training rows in the order in which ridge wants them."""
    labels, groups = np.asarray(request.labels, dtype=np.int64), np.asarray(request.groups, dtype=np.int64)
    train, select, test = (
        _labelled(labels, rows) for rows in (request.train_rows, request.select_rows, request.test_rows)
    )
    for name, rows in (("probe_train", train), (request.split, test)):
        if np.unique(groups[rows]).size < 2:
            raise DataError(
                f"probe: split {name} has {rows.size} labelled samples in {np.unique(groups[rows]).size} "
                "groups; it needs two groups or more"
            )
    for name, rows in ((request.split, test), ("select", select)):
        shared = np.intersect1d(groups[train], groups[rows])
        if shared.size:
            raise DataError(
                f"probe: {shared.size} groups have samples in both probe_train and {name}, the first is "
                f"group {shared[0]}; samples of one group are near copies: split by group"
            )
    return Task(
        labels=labels,
        label_sets=request.label_sets,
        groups=groups,
        train=train[group_order(np.unique(groups[train], return_inverse=True)[1])],
        select=select,
        test=test,
        split=request.split,
        seed=request.seed,
        classifier=request.classifier,
        device=request.device,
    )


def _labelled(labels: Integers, rows: ArrayLike) -> Integers:
    chosen = np.asarray(rows, dtype=np.int64)
    return chosen[labels[chosen] >= 0]


def _open(request: ProbeRequest, name: str, num_rows: int) -> FeatureFile:
    features = open_features(Path(request.folder), name)
    if len(features) != num_rows:
        raise DataError(
            f"features {name}: {len(features)} rows for {num_rows} labels; run represent again on this data"
        )
    return features


def _table(request: ProbeRequest, task: Task, answers: dict[tuple[str, str], Answer]) -> Table:
    rows: dict[Row, Any] = {
        (protocol, key, figure): values
        for (protocol, key), answer in answers.items()
        for figure, values in answer.figures.items()
    }
    return Table(rows, task.groups[task.test], num_resamples=request.num_bootstrap, seed=request.seed)


def _predictions(task: Task, answers: dict[tuple[str, str], Answer]) -> dict[str, NDArray[np.integer]]:
    arrays: dict[str, NDArray[np.integer]] = {
        "rows": task.test,
        "truth": task.truth(task.test),
        "groups": task.groups[task.test],
    }
    for (protocol, key), answer in answers.items():
        arrays[f"predicted/{protocol}/{key}"] = answer.predictions
    return arrays
