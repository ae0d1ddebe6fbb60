"""All figures of all probes side by side, so that every difference is paired: one bootstrap for all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raytrain.evaluation.factor import Floats, Integers
from raytrain.evaluation.features import control_name
from raytrain.metrics import Interval, group_bootstrap

Row = tuple[str, str, str]
"""protocol, name of the result, figure of merit"""


class Table:
    """Right or wrong for every row and test sample; all rows see the same resamples of the test groups."""

    def __init__(
        self, rows: Mapping[Row, Floats], groups: Integers, *, num_resamples: int, seed: int
    ) -> None:
        self._places = {row: place for place, row in enumerate(rows)}
        self._intervals = group_bootstrap(list(rows.values()), groups, num_resamples=num_resamples, seed=seed)

    def __contains__(self, row: Row) -> bool:
        return row in self._places

    def sum(self, plus: Sequence[Row], minus: Sequence[Row] = ()) -> Interval:
        """Return the paired interval of the means of the rows in `plus` minus those in `minus`."""
        weights = np.zeros(len(self._places))
        for rows, sign in ((plus, 1.0), (minus, -1.0)):
            for row in rows:
                weights[self._places[row]] += sign
        return self._intervals.contrast(weights)

    def figure(self, protocol: str, key: str, figure: str, *, name: str) -> dict[str, Any]:
        """Return a figure and its control's, each with its interval, under a name of summary.json."""
        trained = self.sum([(protocol, key, figure)])
        initial = self.sum([(protocol, control_name(key), figure)])
        prefix = "" if name == "accuracy" else f"{name}_"
        control = "control" if name == "accuracy" else f"control_{name}"
        return {
            name: trained.estimate,
            f"{prefix}interval": [trained.low, trained.high],
            control: initial.estimate,
            f"{control}_interval": [initial.low, initial.high],
        }

    def accuracies(self, protocol: str, key: str) -> dict[str, Any]:
        """Return accuracy, control and gain, each with its interval."""
        gain = self.sum([(protocol, key, "accuracy")], [(protocol, control_name(key), "accuracy")])
        return self.figure(protocol, key, "accuracy", name="accuracy") | {
            "gain": gain.estimate,
            "gain_interval": [gain.low, gain.high],
        }
