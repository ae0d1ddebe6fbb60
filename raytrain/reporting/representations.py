"""Representations of recordings side by side: operators and stems before the same encoder and objective."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from pipelines.views.operators.events import EVENT_OPERATORS, build_event_operator
from raytrain.checkpoint import TENSORS
from raytrain.config import PathwayConfig
from raytrain.config.operators import num_bins
from raytrain.config.stems import NoStemConfig
from raytrain.evaluation.protocols import HEAD
from raytrain.reporting.progress import event_rate
from raytrain.reporting.results import points
from raytrain.reporting.run_data import RunData
from raytrain.reporting.runs import Figure, Runs
from raytrain.training.paths import checkpoints_of

BASE = "count"
"""operator that the others of a group are compared with"""
_MOMENT = ".exp_avg"


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a protocol says of a pathway."""

    accuracy: Figure
    control: Figure
    lead: Figure | None = None
    """accuracy minus that of the group's base, paired: the same test samples; None: it is the base, or there
    is none"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A pathway."""

    pathway: str
    representation: str
    """operator or stem with the settings that are not its defaults, behind the pathway's name if another"""
    channels: str
    """of what the encoder sees, e.g. `3 x 2`: 3 bins of time, each with 2 channels"""
    parameters: int | None
    """trained values of stem and encoder"""
    events_per_s: float | None
    scores: dict[str, Score]
    """by protocol"""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Pathways that share encoder and objective."""

    encoder: str
    objective: str
    base: str
    """pathway that the others are compared with; empty: there is none"""
    rows: list[Row]

    @property
    def title(self) -> str:
        """Encoder and objective in words."""
        return f"{self.encoder}, {self.objective}"


def representation_groups(runs: Runs) -> list[Group]:
    """Return the pathways, those of the same encoder and objective together; means where there are seeds."""
    together: list[list[str]] = []
    for name in runs.first.probed:
        alike = (names for names in together if _same(runs.first, names[0], name))
        found = next(alike, None)
        if found is None:
            together.append([name])
        else:
            found.append(name)
    return [_group(runs, names) for names in together]


def shown_protocols(runs: Runs) -> list[str]:
    """Return the main protocol, and the networks' own classifiers where they were measured."""
    return [name for place, name in enumerate(runs.protocols) if place == 0 or name == HEAD]


def representations_text(runs: Runs) -> str:
    """Return channels, parameters, speed and the differences to `count`; accuracies are printed before.

    "" where there is nothing to compare.
    """
    groups, protocols = representation_groups(runs), shown_protocols(runs)
    if not protocols or all(len(group.rows) < 2 for group in groups):
        return ""
    width = max(28, *(2 + len(row.representation) for group in groups for row in group.rows))
    who = [f"{name}: " if len(protocols) > 1 else "" for name in protocols]
    leads = [f"{one}minus {BASE}".ljust(20) for one in who]
    lines = [f"{'representation':<{width}} {' '.join(leads)} channels  parameters  events in training"]
    for group in groups:
        lines.append(group.title)
        for row in group.rows:
            said = " ".join(f"{lead_text(row, name):<20}" for name in protocols)
            figures = f"{row.channels:<8}  {count(row.parameters):<10}  {rate(row.events_per_s)}"
            lines.append(f"{'  ' + row.representation:<{width}} {said} {figures}")
    return "\n".join(lines)


def lead_text(row: Row, protocol: str) -> str:
    """Return a row's difference to its group's base in points, `-` where there is none."""
    score = row.scores.get(protocol)
    if score is None or score.lead is None:
        return "-"
    return points(score.lead.value, score.lead.interval)


def count(value: int | None) -> str:
    """Return a count with separators, `-` where it is not known."""
    return "-" if value is None else f"{value:,}"


def rate(value: float | None) -> str:
    """Return events a second, `-` where they are not known."""
    return event_rate(value) if value else "-"


def _same(run: RunData, name: str, other: str) -> bool:
    one, two = run.config.pathways[name], run.config.pathways[other]
    return (one.encoder, one.objective) == (two.encoder, two.objective)


def _group(runs: Runs, names: Sequence[str]) -> Group:
    pathways = runs.first.config.pathways
    base = next((name for name in names if _maker(pathways[name]).name == BASE), "")
    return Group(
        encoder=_described(pathways[names[0]].encoder),
        objective=_described(pathways[names[0]].objective),
        base=base,
        rows=[_row(runs, name, names, base) for name in names],
    )


def _row(runs: Runs, name: str, names: Sequence[str], base: str) -> Row:
    run = runs.first
    pathway = run.config.pathways[name]
    maker = _maker(pathway)
    called = "" if name == maker.name else f"{name}: "
    parts = [called + _described(maker), *_other_settings(run, name, names)]
    scores = {protocol: _score(runs, protocol, name, base) for protocol in shown_protocols(runs)}
    return Row(
        pathway=name,
        representation="; ".join(parts),
        channels=_channels(pathway),
        parameters=_parameters(checkpoints_of(run.folder, name)),
        events_per_s=_events_per_s(runs, name),
        scores={protocol: score for protocol, score in scores.items() if score},
    )


def _events_per_s(runs: Runs, name: str) -> float | None:
    entries: list[dict[str, Any]] = [one for run in runs.runs for one in run.summary["pathways"]]
    rates = [one["events_per_s"] for one in entries if one["name"] == name and one.get("events_per_s")]
    return float(np.mean(rates)) if rates else None


def _maker(pathway: PathwayConfig) -> Any:
    """Return the settings of what makes the maps: the stem, else the operator."""
    return pathway.operator if isinstance(pathway.stem, NoStemConfig) else pathway.stem


def _described(settings: Any) -> str:
    """Return a part's name and its settings that are not their defaults."""
    said = _changes(settings)
    return f"{settings.name} ({said})" if said else str(settings.name)


def _changes(settings: Any) -> str:
    default, said = type(settings)(), []
    for name in (field.name for field in dataclasses.fields(settings) if field.name != "name"):
        value = getattr(settings, name)
        if value != getattr(default, name):
            shown = "on" if value is True else "off" if value is False else value
            said.append(f"{name} {shown:g}" if isinstance(shown, float) else f"{name} {shown}")
    return ", ".join(said)


def _other_settings(run: RunData, name: str, names: Sequence[str]) -> list[str]:
    """Return what else tells a pathway from others of its group: cut, augmentation, optimiser, epochs."""
    pathways, said = run.config.pathways, []
    if any(pathways[one].cut != pathways[name].cut for one in names):
        said.append(f"cut {_described(pathways[name].cut)}")
    for part in ("augmentation", "optimizer"):
        settings = getattr(pathways[name], part)
        if any(getattr(pathways[one], part) != settings for one in names):
            said.append(f"{part} {_changes(settings) or 'as by default'}")
    if any(run.config.epochs(one) != run.config.epochs(name) for one in names):
        said.append(f"{run.config.epochs(name)} epochs")
    return said


def _channels(pathway: PathwayConfig) -> str:
    """Return the channels of what the encoder sees; bins of time that it sees one by one before them."""
    maker = _maker(pathway)
    known = maker.name in EVENT_OPERATORS and maker is pathway.operator
    channels = build_event_operator(maker).channels if known else int(getattr(maker, "channels", 0))
    if not channels:
        return "-"
    bins = num_bins(maker)
    return f"{bins} x {channels // bins}" if pathway.cut.name == "bins" else str(channels)


def _parameters(checkpoints: Path) -> int | None:
    """Return the trained values of stem and encoder in the newest checkpoint; None where there is none.

    Only the header is read. What the optimiser holds moments of is trained, the rest are running figures.
    """
    for folder in sorted(checkpoints.glob("step-*"), reverse=True):
        try:
            with safe_open(folder / TENSORS, framework="numpy") as file:
                names = set(file.keys())
                trained = [
                    name
                    for name in names
                    if name.startswith("encoder.") and f"optimizer.{name}{_MOMENT}" in names
                ]
                return sum(int(np.prod(file.get_slice(name).get_shape())) for name in trained)
        except (OSError, SafetensorError):
            continue
    return None


def _score(runs: Runs, protocol: str, name: str, base: str) -> Score | None:
    accuracy, control = (runs.measured(protocol, name, measure) for measure in ("accuracy", "control"))
    if accuracy is None or control is None:
        return None
    lead = runs.lead(protocol, name, base) if name != base else None
    return Score(accuracy=accuracy, control=control, lead=lead)
