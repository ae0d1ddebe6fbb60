"""From the features of all runs of a grid to one table: accuracies, controls, gains, the paper's claims.

A figure is the mean over the seeds of the share of right answers; its interval resamples the groups of the
test split, the same draw for every figure, so that differences are paired. It says nothing of other seeds:
each seed's own figure stands beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.metrics import Interval, group_bootstrap

Name = tuple[str, str]
"""(objective or "control", representation)"""
CONTROL = "control"


@dataclass
class Answers:
    """Which test samples each fitted representation gets right, by name and seed."""

    groups: NDArray[np.int64]
    """[n], of the test samples"""
    right: dict[Name, dict[int, NDArray[np.bool_]]] = field(default_factory=dict)
    """(objective, representation) -> seed -> bool[n]; the multi-encoder, made of all seeds, has seed -1"""

    def add(self, name: Name, seed: int, right: NDArray[np.bool_]) -> None:
        """Take the answers of one fit."""
        self.right.setdefault(name, {})[seed] = right


ALL_SEEDS = -1


class Comparison:
    """Paired figures of all names."""

    def __init__(self, answers: Answers, *, num_resamples: int, seed: int) -> None:
        self._answers = answers
        self.names = list(answers.right)
        means = [np.mean(list(answers.right[name].values()), axis=0) for name in self.names]
        self._intervals = group_bootstrap(means, answers.groups, num_resamples=num_resamples, seed=seed)

    def sum(self, plus: Sequence[Name], minus: Sequence[Name] = ()) -> Interval:
        """Return the paired interval of the figures in `plus` minus those in `minus`."""
        weights = np.zeros(len(self.names))
        for names, sign in ((plus, 1.0), (minus, -1.0)):
            for name in names:
                weights[self.names.index(name)] += sign
        return self._intervals.contrast(weights)

    def by_seed(self, name: Name) -> list[float]:
        """Return a figure of each seed."""
        return [float(right.mean()) for right in self._answers.right[name].values()]

    def row(self, objective: str, representation: str) -> dict[str, Any]:
        """Return one row of the table, as JSON values."""
        name, control = (objective, representation), (CONTROL, representation)
        value, initial = self.sum([name]), self.sum([control])
        gain = self.sum([name], [control])
        return {
            "objective": objective,
            "representation": representation,
            "accuracy": value.estimate,
            "interval": [value.low, value.high],
            "seeds": self.by_seed(name),
            "control": initial.estimate,
            "control_interval": [initial.low, initial.high],
            "control_seeds": self.by_seed(control),
            "gain": gain.estimate,
            "gain_interval": [gain.low, gain.high],
        }


def claims(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the paper's claims, each as a paired difference with its interval; those that can be formed."""
    known = set(comparison.names)
    found: list[dict[str, Any]] = []

    def claim(text: str, plus: Sequence[Name], minus: Sequence[Name]) -> None:
        if known.issuperset([*plus, *minus]):
            value = comparison.sum(plus, minus)
            found.append({"claim": text, "difference": value.estimate, "interval": [value.low, value.high]})

    for objective in ("clapp", "hinge_cpc"):
        claim(f"ours - base, {objective}", [(objective, "ours")], [(objective, "base")])
    claim(
        "(ours - base, clapp) - (ours - base, hinge_cpc): decomposition helps the local rule more",
        [("clapp", "ours"), ("hinge_cpc", "base")],
        [("clapp", "base"), ("hinge_cpc", "ours")],
    )
    claim("ours - base, initial weights", [(CONTROL, "ours")], [(CONTROL, "base")])
    claim(
        "(ours - base, clapp) - (ours - base, initial weights): what training adds to joining",
        [("clapp", "ours"), (CONTROL, "base")],
        [("clapp", "base"), (CONTROL, "ours")],
    )
    for objective in ("clapp", "hinge_cpc"):
        text = f"ours with movnet - ours, {objective}"
        claim(text, [(objective, "ours_movnet")], [(objective, "ours")])
    claim("ours with movnet - ours, initial weights", [(CONTROL, "ours_movnet")], [(CONTROL, "ours")])
    claim("multi-encoder - base, clapp", [("clapp", "multi_encoder")], [("clapp", "base")])
    claim("ours - multi-encoder, clapp", [("clapp", "ours")], [("clapp", "multi_encoder")])
    claim(
        "(lbp - control) - (base - control), clapp",
        [("clapp", "lbp"), (CONTROL, "base")],
        [(CONTROL, "lbp"), ("clapp", "base")],
    )
    return found
