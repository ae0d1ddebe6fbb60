"""The results of a run, and of several seeds, as text."""

from typing import Any

import numpy as np


def results_text(summary: dict[str, Any]) -> str:
    """Return a run's probe table: accuracy, control, gain, each with its 95 % interval; then the floors.

    "At its strength" is the gain over the control at the ridge strength that the trained features chose: the
    gain when both are regularised alike.
    """
    if not summary["probes"]:
        return "no probes"
    first = summary["probes"][0]
    header = f"{'pathway':<28} {'accuracy':<20} {'control':<20} {'gain over control':<20}"
    lines = [f"{header} at its strength"]
    for entry in summary["probes"]:
        lines.append(
            f"{title(entry['pathways']):<28} {with_interval(entry['accuracy'], entry['interval']):<20} "
            f"{with_interval(entry['control'], entry['control_interval']):<20} "
            f"{points(entry['gain'], entry['gain_interval']):<20} "
            f"{points(entry['gain_same_strength'], entry['gain_same_strength_interval'])}"
        )
    for floor in first["floors"]:
        lines.append(f"{'floor: ' + floor['name']:<28} {with_interval(floor['accuracy'], floor['interval'])}")
    for entry in summary["probes"]:
        for contrast in entry["contrasts"]:
            lines.append(f"{contrast['name']}: {points(contrast['difference'], contrast['interval'])}")
    lines.append(f"n {first['n']} in {first['groups']} groups; {first['protocol']}")
    return "\n".join(lines)


def seeds_table(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over seeds of accuracy, control and gain by representation, and gains over identity's."""
    rows: dict[str, Any] = {}
    for index, entry in enumerate(summaries[0]["probes"]):
        entries = [summary["probes"][index] for summary in summaries]
        rows[title(entry["pathways"])] = {
            key: {"mean": float(np.mean([e[key] for e in entries])), "seeds": [e[key] for e in entries]}
            for key in ("accuracy", "control", "gain", "gain_same_strength")
        }
    if "identity" in rows:
        base = rows["identity"]["gain"]["mean"]
        for row in rows.values():
            row["gain_over_identity"] = row["gain"]["mean"] - base
    return {"seeds": [summary["seed"] for summary in summaries], "representations": rows}


def seeds_text(table: dict[str, Any]) -> str:
    """Return the table of several seeds."""
    lines = [f"means of seeds {', '.join(map(str, table['seeds']))}"]
    gains = f"{'gain (each seed)':<30} {'minus identity':<19} at its strength"
    lines.append(f"{'pathway':<28} accuracy  control  {gains}")
    for name, row in table["representations"].items():
        each = " ".join(f"{100 * gain:+.1f}" for gain in row["gain"]["seeds"])
        over = f"{100 * row['gain_over_identity']:+.1f}" if "gain_over_identity" in row else ""
        lines.append(
            f"{name:<28} {row['accuracy']['mean']:.3f}     {row['control']['mean']:.3f}    "
            f"{100 * row['gain']['mean']:+5.1f} ({each})".ljust(82)
            + over.ljust(20)
            + f"{100 * row['gain_same_strength']['mean']:+.1f}"
        )
    return "\n".join(lines)


def title(pathways: list[str]) -> str:
    """Return the name of a representation."""
    return pathways[0] if len(pathways) == 1 else "joined " + "+".join(pathways)


def with_interval(value: float, interval: list[float]) -> str:
    """Return e.g. `.512 [.480, .545]`."""
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def points(value: float, interval: list[float]) -> str:
    """Return a difference in points, e.g. `+5.1 [+2.0, +8.3]`."""
    return f"{100 * value:+.1f} [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"
