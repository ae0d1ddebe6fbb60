"""The entries of summary.json's `probes`: one representation under one protocol, with control and floors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytrain.evaluation.features import Mode, control_name
from raytrain.evaluation.protocols import HEAD, PROTOCOLS, describe_head
from raytrain.evaluation.task import Answer, Task
from raytrain.metrics import Interval, Paired

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


Answers = Mapping[tuple[str, str], Answer]
"""by protocol and name of the result"""


def floor_name(name: str) -> str:
    """Return the name of a floor's features: what needs no encoder (pixels, an operator's output)."""
    return f"floor.{name}"


def same_strength_name(pathway: str) -> str:
    """Return the name of the control's result at the strength that the trained features chose."""
    return f"{pathway}.control.same_strength"


def without(names: Sequence[str], name: str) -> tuple[str, ...]:
    """Return the names but one."""
    return tuple(other for other in names if other != name)


@dataclass(frozen=True, kw_only=True)
class EntryWriter:
    """Writes entries from the answers of all protocols."""

    task: Task
    answers: Answers
    table: Table
    pathways: Sequence[str]
    floors: Sequence[str]
    apart: Sequence[str]
    reference: str
    mode: Mode
    epoch: int
    num_bootstrap: int
    label_names: Sequence[str]

    def entry(self, protocol: str, names: tuple[str, ...]) -> dict[str, Any]:
        """Return one entry."""
        key, task = "+".join(names), self.task
        top = self._has("top5", protocol, key)
        return {
            "pathways": list(names),
            "epoch": self.epoch,
            "features": self.mode,
            "protocol_name": protocol,
            "protocol": self._protocol(protocol, len(names)),
            "split": task.split,
            **self.table.accuracies(protocol, key),
            **self._same_strength(protocol, key),
            **(self.table.figure(protocol, key, "top5", name="top5") if top else NO_TOP),
            **self._labels(protocol, key),
            "n": len(task.test),
            "groups": task.num_groups(task.test),
            "seed": task.seed,
            **self._chosen(protocol, key),
            "floors": [self._floor(protocol, name, key) for name in self.floors],
            "contrasts": self._contrasts(protocol, names),
        }

    def _has(self, figure: str, protocol: str, key: str) -> bool:
        return (protocol, key, figure) in self.table

    def _same_strength(self, protocol: str, key: str) -> dict[str, Any]:
        other = (protocol, same_strength_name(key), "accuracy")
        if other not in self.table:
            return {}
        gain = self.table.sum([(protocol, key, "accuracy")], [other])
        return {
            "gain_same_strength": gain.estimate,
            "gain_same_strength_interval": gain.bounds,
        }

    def _labels(self, protocol: str, key: str) -> dict[str, Any]:
        """Return the mean over the labels and each label by itself, where a sample has several."""
        if not self.task.several:
            return {}
        each = [
            {"label": name, **self.table.figure(protocol, key, f"label:{index}", name="accuracy")}
            for index, name in enumerate(self.label_names)
        ]
        mean = self.table.figure(protocol, key, "label_accuracy", name="label_accuracy")
        return {**mean, "labels": each}

    def _chosen(self, protocol: str, key: str) -> dict[str, Any]:
        """Return what the protocol chose for the pathways and for their control, and by which figure."""
        found: dict[str, Any] = {}
        sides = (("", key), ("control_", control_name(key)))
        for prefix, name in sides:
            found |= {
                f"{prefix}{what}": value for what, value in self._answer(protocol, name).settings.items()
            }
        for prefix, name in sides:
            answer = self._answer(protocol, name)
            found[f"{prefix}{answer.criterion}"] = answer.chosen
        return found

    def _answer(self, protocol: str, key: str) -> Answer:
        return self.answers[protocol, key]

    def _floor(self, protocol: str, name: str, key: str) -> dict[str, Any]:
        """Return a floor, and the pathway's accuracy minus it."""
        floor = floor_name(name)
        row = (protocol, floor, "accuracy")
        value, lead = self.table.sum([row]), self.table.sum([(protocol, key, "accuracy")], [row])
        answer = self._answer(protocol, floor)
        return {
            "name": name,
            "features": "flat",
            "accuracy": value.estimate,
            "interval": value.bounds,
            "difference": lead.estimate,
            "difference_interval": lead.bounds,
            **answer.settings,
            answer.criterion: answer.chosen,
        }

    def _contrasts(self, protocol: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
        """Return the joined against the best single pathway, and the gain against the reference's gain."""
        key, reference = "+".join(names), self.reference
        whole = len(names) > 1 and tuple(names) == tuple(self.pathways)
        title = "joined" if whole else key
        chosen: list[tuple[str, Interval]] = []
        if len(names) > 1:
            # The best by training rows: picking it by test accuracy would flatter the single pathway.
            best = max(names, key=lambda name: self._answer(protocol, name).chosen)
            criterion = self._answer(protocol, best).criterion
            difference = self._difference(protocol, [key], [best])
            chosen.append((f"{title} - {best} (best single by {criterion})", difference))
        for name in self.apart if whole else ():
            rest = "+".join(without(names, name))
            chosen.append((f"joined - joined without {name}", self._difference(protocol, [key], [rest])))
            controls = [control_name(key)], [control_name(rest)]
            chosen.append((f"the same with initial weights, {name}", self._difference(protocol, *controls)))
        if reference in self.pathways and key != reference:
            difference = self._difference(
                protocol, [key, control_name(reference)], [control_name(key), reference]
            )
            chosen.append((f"gain of {title} - gain of {reference}", difference))
        return [
            {"name": name, "difference": value.estimate, "interval": value.bounds} for name, value in chosen
        ]

    def _difference(self, protocol: str, plus: Sequence[str], minus: Sequence[str]) -> Interval:
        return self.table.sum(
            [(protocol, key, "accuracy") for key in plus], [(protocol, key, "accuracy") for key in minus]
        )

    def _protocol(self, protocol: str, num_pathways: int) -> str:
        task = self.task
        right = "; a sample is right where all its labels are" if task.several else ""
        return (
            f"{self._classifier(protocol, num_pathways)}, tested once on split {task.split}{right}; "
            f"95 % intervals from {self.num_bootstrap} resamples of the test groups; "
            "control: the same with the initial weights"
        )

    def _classifier(self, protocol: str, num_pathways: int) -> str:
        """Return what was taught what, and how."""
        what = "every cell's channels" if self.mode == "flat" else "channels averaged over the cells"
        if protocol == HEAD:
            return describe_head(what)
        task, words = self.task, PROTOCOLS[protocol].describe(self.task)
        joined = f" of {num_pathways} pathways, {words.joined}" if num_pathways > 1 else ""
        return (
            f"{words.what} on frozen features ({what}{joined}), "
            f"trained on {len(task.train)} samples of {task.num_groups(task.train)} groups, {words.how}"
        )


NO_TOP = {"top5": None, "control_top5": None}
