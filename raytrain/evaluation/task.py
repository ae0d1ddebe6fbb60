"""What is asked of every probe, and what each answers: the same rows, labels and groups for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.config.probe import ClassifierProbeConfig
from raytrain.evaluation.factor import Floats, Integers
from raytrain.evaluation.features import Features, Mode
from raytrain.evaluation.gram import Representations
from raytrain.metrics import top_k_hits

TOP = 5
"""top-5 accuracy is given where there are more classes than that"""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Labels and groups of N rows of the features files, and which rows are for what.

    Shapes: `labels` int[N] (several labels: 0), `label_sets` u8[N, L] or None, `groups` int[N]; `train` in
    the order of `group_order`, so that nobody sorts again.
    """

    labels: Integers
    label_sets: NDArray[np.uint8] | None
    groups: Integers
    train: Integers
    select: Integers
    test: Integers
    split: str
    seed: int
    classifier: ClassifierProbeConfig
    device: str = "cpu"
    """where nearest neighbours are looked for"""

    @property
    def several(self) -> bool:
        """Whether a sample may have several labels."""
        return self.label_sets is not None

    @property
    def num_classes(self) -> int:
        """Number of classes, or of labels."""
        return int(self.labels.max()) + 1 if self.label_sets is None else int(self.label_sets.shape[1])

    def truth(self, rows: Integers) -> NDArray[np.integer]:
        """Return the classes i64[n] or label sets u8[n, L] of some rows."""
        return self.labels[rows] if self.label_sets is None else self.label_sets[rows]

    def num_groups(self, rows: Integers) -> int:
        """Return the number of groups among some rows."""
        return int(np.unique(self.groups[rows]).size)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a probe says of the test rows.

    Shapes: `predictions` i64[m] or u8[m, L]; `scores` f64[m, K], column k is class (or label) `columns[k]`.
    """

    predictions: NDArray[np.integer]
    scores: Floats
    columns: Integers
    criterion: str
    """what was looked at to choose: the name of a figure on rows that are not for testing"""
    chosen: float
    """that figure"""
    settings: dict[str, Any] = field(default_factory=dict)
    """what was chosen, by the name that summary.json gives it"""
    unit: float = 1.0
    """the mean eigenvalue, which ridge's strength is a multiple of"""
    figures: Mapping[str, Floats] = field(default_factory=dict)
    """what `measured` found"""

    def measured(self, task: Task) -> "Answer":
        """Return the answer with its figures in place of its scores: m x K numbers are not for keeping."""
        figures = self.rows(task.truth(task.test), top=task.num_classes > TOP)
        return replace(self, figures=figures, scores=self.scores[:0])

    def rows(self, truth: NDArray[np.integer], *, top: bool) -> dict[str, Floats]:
        """Return each figure of merit as one value a test row: accuracy, and top5 or label_accuracy.

        With several labels a sample is right where all its labels are; `label:<k>` is label k by itself.
        """
        if truth.ndim == 2:
            equal = (self.predictions == truth).astype(np.float64)
            found = {"accuracy": equal.min(axis=1), "label_accuracy": equal.mean(axis=1)}
            return found | {f"label:{index}": column for index, column in enumerate(equal.T)}
        found = {"accuracy": (self.predictions == truth).astype(np.float64)}
        if top:
            found["top5"] = top_k_hits(self.scores, self.columns, truth, k=TOP).astype(np.float64)
        return found


@dataclass(frozen=True, kw_only=True)
class Words:
    """A protocol in words: what it is, how its settings are chosen, how several pathways are joined."""

    what: str
    how: str
    joined: str = "each scaled to unit variance"


@dataclass(frozen=True, kw_only=True)
class Question:
    """One representation: the concatenation of some features files."""

    task: Task
    features: Sequence[Features]
    mode: Mode
    shared: Representations
    """what these features share with others of the same training and test rows"""
