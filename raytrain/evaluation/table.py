"""All figures of all probes side by side, so that every difference is paired: one bootstrap for all."""

from typing import Any

from raytrain.evaluation.features import control_name
from raytrain.metrics import Paired

Row = tuple[str, str, str]
"""protocol, name of the result, figure of merit"""


class Table(Paired[Row]):
    """Right or wrong for every row and test sample."""

    def figure(self, protocol: str, key: str, figure: str, *, name: str) -> dict[str, Any]:
        """Return a figure and its control's, each with its interval, under a name of summary.json."""
        trained = self.sum([(protocol, key, figure)])
        initial = self.sum([(protocol, control_name(key), figure)])
        prefix = "" if name == "accuracy" else f"{name}_"
        control = "control" if name == "accuracy" else f"control_{name}"
        return {
            name: trained.estimate,
            f"{prefix}interval": trained.bounds,
            control: initial.estimate,
            f"{control}_interval": initial.bounds,
        }

    def accuracies(self, protocol: str, key: str) -> dict[str, Any]:
        """Return accuracy, control and gain, each with its interval."""
        gain = self.sum([(protocol, key, "accuracy")], [(protocol, control_name(key), "accuracy")])
        return self.figure(protocol, key, "accuracy", name="accuracy") | {
            "gain": gain.estimate,
            "gain_interval": gain.bounds,
        }
