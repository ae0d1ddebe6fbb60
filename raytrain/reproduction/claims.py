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

from raytrain.metrics import Paired

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


class Comparison(Paired[Name]):
    """Figures of all names."""

    def __init__(self, answers: Answers, *, num_resamples: int, seed: int) -> None:
        self._answers = answers
        means = {name: np.mean(list(right.values()), axis=0) for name, right in answers.right.items()}
        super().__init__(means, answers.groups, num_resamples=num_resamples, seed=seed)

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
            "interval": value.bounds,
            "seeds": self.by_seed(name),
            "control": initial.estimate,
            "control_interval": initial.bounds,
            "control_seeds": self.by_seed(control),
            "gain": gain.estimate,
            "gain_interval": gain.bounds,
        }


def claims(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the paper's claims, each as a paired difference with its interval; those that can be formed."""
    found: list[dict[str, Any]] = []

    def claim(text: str, plus: Sequence[Name], minus: Sequence[Name]) -> None:
        if all(name in comparison for name in (*plus, *minus)):
            value = comparison.sum(plus, minus)
            found.append({"claim": text, "difference": value.estimate, "interval": value.bounds})

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
