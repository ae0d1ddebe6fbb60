"""Figures by ridge beside the main ones: every layer of every pathway, and every subset of the pathways."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.errors import ConfigError, DataError
from raytrain.evaluation.entries import Table
from raytrain.evaluation.features import LAYERS, FeatureFile, Mode, control_name, layers_name, open_features
from raytrain.evaluation.gram import Representations
from raytrain.evaluation.protocols import answer_ridge
from raytrain.evaluation.task import Answer, Question, Task

MAX_SUBSET_PATHWAYS = 8
"""255 subsets; each needs fits of its own"""


@dataclass(frozen=True, kw_only=True)
class LayerFeatures:
    """One layer's columns of a features file of all layers, averaged over the cells when it was written."""

    file: FeatureFile
    layer: str
    columns: slice

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"{self.file.name.removesuffix(f'.{LAYERS}')} {self.layer}"

    def width(self, mode: Mode) -> int:
        """Return the number of channels."""
        return int(self.columns.stop - self.columns.start)

    def read(self, rows: ArrayLike, mode: Mode, *, columns: slice = slice(None)) -> NDArray[np.float32]:
        """Return f32[n, channels]."""
        start, stop, step = columns.indices(self.width(mode))
        shifted = slice(self.columns.start + start, self.columns.start + stop, step)
        return self.file.read(rows, "flat", columns=shifted)


def open_layers(folder: Path, features: str, num_rows: int) -> list[LayerFeatures]:
    """Open the layers of a pathway or its control, bottom first.

    Raises:
        DataError: they are missing, damaged, or of other data.
    """
    file = open_features(folder, layers_name(features))
    if len(file) != num_rows:
        raise DataError(
            f"features {file.name}: {len(file)} rows for {num_rows} labels; run represent again on this data"
        )
    return [
        LayerFeatures(file=file, layer=one["layer"], columns=slice(one["start"], one["stop"]))
        for one in file.meta[LAYERS]
    ]


def answer_layers(task: Task, folder: Path, pathways: Sequence[str]) -> dict[str, Answer]:
    """Return what ridge says of every layer and its control, by `layer_key`."""
    answers: dict[str, Answer] = {}
    for pathway in pathways:
        for naming in (str, control_name):
            for layer in open_layers(folder, naming(pathway), len(task.labels)):
                shared = Representations(task.train, task.test, num_classes=task.num_classes)
                question = Question(task=task, features=[layer], mode="pooled", shared=shared)
                answers[naming(layer_key(pathway, layer.layer))] = answer_ridge(question).measured(task)
    return answers


def layer_key(pathway: str, layer: str) -> str:
    """Return the name of a layer's result."""
    return f"{pathway}/{layer}"


def layer_entries(answers: dict[str, Answer], pathways: Sequence[str], table: Table) -> list[dict[str, Any]]:
    """Return summary.json's `layers`."""
    entries = []
    for pathway in pathways:
        prefix, suffix = layer_key(pathway, ""), control_name("")
        for key in answers:
            if key.startswith(prefix) and not key.endswith(suffix):
                entries.append(
                    {
                        "pathway": pathway,
                        "layer": key.removeprefix(prefix),
                        "features": "pooled",
                        "protocol_name": "ridge",
                        **table.accuracies("ridge", key),
                    }
                )
    return entries


def all_subsets(pathways: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every subset of the pathways, the smaller ones first.

    Raises:
        ConfigError: too many pathways.
    """
    if len(pathways) > MAX_SUBSET_PATHWAYS:
        raise ConfigError(
            f"probe.subsets: {len(pathways)} pathways have {2 ** len(pathways) - 1} subsets; at most "
            f"{MAX_SUBSET_PATHWAYS} pathways can be measured so; set probe.subsets = false"
        )
    return [chosen for size in range(1, len(pathways) + 1) for chosen in combinations(pathways, size)]


def subset_entries(subsets: Sequence[tuple[str, ...]], table: Table) -> list[dict[str, Any]]:
    """Return summary.json's `subsets`."""
    return [{"pathways": list(names), **table.accuracies("ridge", "+".join(names))} for names in subsets]
