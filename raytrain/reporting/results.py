"""The results of a run as text."""

from collections.abc import Sequence
from typing import Any

MEASURES = ("accuracy", "control", "gain", "gain_same_strength")
COLUMN = 28
"""characters of the first column"""
FURTHER = {"top5": "top-5", "label_accuracy": "mean of labels"}
"""figures beside the accuracy, where an entry has them, and their titles"""


def results_text(summary: dict[str, Any]) -> str:
    """Return a run's probe table: accuracy, control, gain, each with its 95 % interval; then the floors.

    "At its strength" is the gain over the control at the ridge strength that the trained features chose: the
    gain when both are regularised alike.
    """
    if not summary["probes"]:
        return "no probes"
    return "\n".join(line for entries in by_protocol(summary) for line in _protocol_lines(entries))


def by_protocol(summary: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the probe entries of each protocol, the main one first; older runs have ridge alone."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in summary.get("probes") or []:
        found.setdefault(entry.get("protocol_name", "ridge"), []).append(entry)
    return list(found.values())


def motion_text(summary: dict[str, Any]) -> str:
    """Return how well each motion pathway tells kind and speed of held-out clips; "" without one."""
    entries = summary.get("motion") or []
    if not entries:
        return ""
    lines = [f"{'motion, held-out clips':<{COLUMN}} {'kind of 2':<20} speed of 12"]
    for entry in entries:
        sides = ((entry["pathway"], ""), ("  shown one frame", "one_frame_"), ("  control", "control_"))
        lines += [
            f"{name:<{COLUMN}} {with_interval(entry[key + 'kind'], entry[key + 'kind_interval']):<20} "
            f"{with_interval(entry[key + 'speed'], entry[key + 'speed_interval'])}"
            for name, key in sides
        ]
    return "\n".join(lines)


def _protocol_lines(entries: list[dict[str, Any]]) -> list[str]:
    first = entries[0]
    alike = "gain_same_strength" in first
    header = f"{'pathway':<{COLUMN}} {'accuracy':<20} {'control':<20} {'gain over control':<20}"
    lines = [f"{header} at its strength" if alike else header.rstrip()]
    for entry in entries:
        name = narrow(title(entry["pathways"]))
        line = (
            f"{name:<{COLUMN}} {with_interval(entry['accuracy'], entry['interval']):<20} "
            f"{with_interval(entry['control'], entry['control_interval']):<20} "
            f"{points(entry['gain'], entry['gain_interval']):<20} "
        )
        if alike:
            line += points(entry["gain_same_strength"], entry["gain_same_strength_interval"])
        lines.append(line.rstrip())
    lines += _further_lines(entries)
    for floor in first["floors"]:
        lines.append(
            f"{'floor: ' + floor['name']:<{COLUMN}} {with_interval(floor['accuracy'], floor['interval'])}"
        )
    for entry in entries:
        for contrast in entry["contrasts"]:
            lines.append(f"{contrast['name']}: {points(contrast['difference'], contrast['interval'])}")
    lines.append(f"n {first['n']} in {first['groups']} groups; {first['protocol']}")
    return lines


def _further_lines(entries: list[dict[str, Any]]) -> list[str]:
    """Return top-5 accuracies, means of labels, and each label of the last entry, where there are such."""
    lines = []
    for key, words in FURTHER.items():
        for entry in entries:
            if entry.get(key) is not None:
                lines.append(_further_line(f"{words}: {narrow(title(entry['pathways']))}", entry, key))
    for label in entries[-1].get("labels", ()):
        lines.append(_further_line(f"label: {label['label']}", label, "accuracy"))
    return lines


def _further_line(name: str, values: dict[str, Any], key: str) -> str:
    prefix, control = ("", "control") if key == "accuracy" else (f"{key}_", f"control_{key}")
    trained = with_interval(values[key], values[f"{prefix}interval"])
    return f"{name:<{COLUMN}} {trained:<20} {with_interval(values[control], values[f'{control}_interval'])}"


def narrow(name: str) -> str:
    """Return a representation's name as it fits the first column: a long join by its number of pathways."""
    return f"joined, {name.count('+') + 1} pathways" if len(name) > COLUMN and "+" in name else name


def title(pathways: list[str]) -> str:
    """Return the name of a representation."""
    return pathways[0] if len(pathways) == 1 else "joined " + "+".join(pathways)


def with_interval(value: float, interval: Sequence[float] | None) -> str:
    """Return e.g. `.512 [.480, .545]`; without an interval the value alone."""
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def points(value: float, interval: Sequence[float] | None) -> str:
    """Return a difference in points, e.g. `+5.1 [+2.0, +8.3]`; without an interval the difference alone."""
    return f"{100 * value:+.1f}" + (
        f" [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]" if interval else ""
    )


def curves_text(summary: dict[str, Any]) -> str:
    """Return every layer of every pathway, and every subset of the pathways, where they were measured."""
    lines = []
    for title_, key in (("layer, channels averaged over the cells", "layers"), ("subset", "subsets")):
        if summary.get(key):
            lines.append(f"{title_:<42} {'accuracy':<20} {'control':<20} gain over control")
        for row in summary.get(key, ()):
            name = f"{row['pathway']} {row['layer']}" if key == "layers" else "+".join(row["pathways"])
            lines.append(
                f"{name:<42} {with_interval(row['accuracy'], row['interval']):<20} "
                f"{with_interval(row['control'], row['control_interval']):<20} "
                f"{points(row['gain'], row['gain_interval'])}"
            )
    if summary.get("layers") == []:
        lines.append("layers: the features are of an earlier version; `raytrain represent RUN` writes them")
    return "\n".join(lines)
