"""The results of a run, and of several seeds, as text."""

from typing import Any

import numpy as np

MEASURES = ("accuracy", "control", "gain", "gain_same_strength")
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
    lines = [f"{'motion, held-out clips':<28} {'kind of 2':<20} speed of 12"]
    for entry in entries:
        sides = ((entry["pathway"], ""), ("  shown one frame", "one_frame_"), ("  control", "control_"))
        lines += [
            f"{name:<28} {with_interval(entry[key + 'kind'], entry[key + 'kind_interval']):<20} "
            f"{with_interval(entry[key + 'speed'], entry[key + 'speed_interval'])}"
            for name, key in sides
        ]
    return "\n".join(lines)


def _protocol_lines(entries: list[dict[str, Any]]) -> list[str]:
    first = entries[0]
    alike = "gain_same_strength" in first
    header = f"{'pathway':<28} {'accuracy':<20} {'control':<20} {'gain over control':<20}"
    lines = [f"{header} at its strength" if alike else header.rstrip()]
    for entry in entries:
        line = (
            f"{title(entry['pathways']):<28} {with_interval(entry['accuracy'], entry['interval']):<20} "
            f"{with_interval(entry['control'], entry['control_interval']):<20} "
            f"{points(entry['gain'], entry['gain_interval']):<20} "
        )
        if alike:
            line += points(entry["gain_same_strength"], entry["gain_same_strength_interval"])
        lines.append(line.rstrip())
    lines += _further_lines(entries)
    for floor in first["floors"]:
        lines.append(f"{'floor: ' + floor['name']:<28} {with_interval(floor['accuracy'], floor['interval'])}")
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
                lines.append(_further_line(f"{words}: {title(entry['pathways'])}", entry, key))
    for label in entries[-1].get("labels", ()):
        lines.append(_further_line(f"label: {label['label']}", label, "accuracy"))
    return lines


def _further_line(name: str, values: dict[str, Any], key: str) -> str:
    prefix, control = ("", "control") if key == "accuracy" else (f"{key}_", f"control_{key}")
    trained = with_interval(values[key], values[f"{prefix}interval"])
    return f"{name:<28} {trained:<20} {with_interval(values[control], values[f'{control}_interval'])}"


def seeds_table(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over seeds of accuracy, control and gain by representation, and gains over identity's.

    `representations` are of the main protocol; `further` holds those of the others that all seeds have.
    """
    tables = [
        {entries[0].get("protocol_name", "ridge"): entries for entries in by_protocol(summary)}
        for summary in summaries
    ]
    names = [name for name in tables[0] if all(name in table for table in tables)]
    main, *others = [_means(_of_all_seeds([table[name] for table in tables])) for name in names]
    further = {"further": dict(zip(names[1:], others, strict=True))} if others else {}
    return {"seeds": [summary["seed"] for summary in summaries], "representations": main, **further}


def _of_all_seeds(tables: list[list[dict[str, Any]]]) -> list[tuple[dict[str, Any], ...]]:
    """Return the entries of each representation that all seeds have, one of each seed."""
    by_name = [{title(entry["pathways"]): entry for entry in table} for table in tables]
    return [
        tuple(found[name] for found in by_name)
        for name in by_name[0]
        if all(name in found for found in by_name)
    ]


def _means(same_entries: list[tuple[dict[str, Any], ...]]) -> dict[str, Any]:
    """Return the means of each representation, whose entries of all seeds come together."""
    rows: dict[str, Any] = {}
    wanted = (*MEASURES, *FURTHER, *(f"control_{key}" for key in FURTHER))
    for same in same_entries:
        measures = [key for key in wanted if all(entry.get(key) is not None for entry in same)]
        rows[title(same[0]["pathways"])] = {
            key: {"mean": float(np.mean([e[key] for e in same])), "seeds": [e[key] for e in same]}
            for key in measures
        }
    if "identity" in rows:
        base = rows["identity"]["gain"]["mean"]
        for row in rows.values():
            row["gain_over_identity"] = row["gain"]["mean"] - base
    return rows


def seeds_text(table: dict[str, Any]) -> str:
    """Return the table of several seeds."""
    lines = [f"means of seeds {', '.join(map(str, table['seeds']))}", *_seeds_lines(table["representations"])]
    for protocol, rows in table.get("further", {}).items():
        lines += [f"{protocol}:", *_seeds_lines(rows)]
    return "\n".join(lines)


def _seeds_lines(rows: dict[str, Any]) -> list[str]:
    alike = all("gain_same_strength" in row for row in rows.values())
    gains = f"{'gain (each seed)':<30} {'minus identity':<19}" + " at its strength" * alike
    lines = [f"{'pathway':<28} accuracy  control  {gains}".rstrip()]
    for name, row in rows.items():
        each = " ".join(f"{100 * gain:+.1f}" for gain in row["gain"]["seeds"])
        over = f"{100 * row['gain_over_identity']:+.1f}" if "gain_over_identity" in row else ""
        line = (
            f"{name:<28} {row['accuracy']['mean']:.3f}     {row['control']['mean']:.3f}    "
            f"{100 * row['gain']['mean']:+5.1f} ({each})".ljust(82)
            + over.ljust(20)
        )
        if alike:
            line += f"{100 * row['gain_same_strength']['mean']:+.1f}"
        lines.append(line.rstrip())
    for key, words in FURTHER.items():
        for name, row in rows.items():
            if key in row:
                means = f"{row[key]['mean']:.3f}     {row[f'control_{key}']['mean']:.3f}"
                lines.append(f"{words + ': ' + name:<28} {means}")
    return lines


def title(pathways: list[str]) -> str:
    """Return the name of a representation."""
    return pathways[0] if len(pathways) == 1 else "joined " + "+".join(pathways)


def with_interval(value: float, interval: list[float]) -> str:
    """Return e.g. `.512 [.480, .545]`."""
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def points(value: float, interval: list[float]) -> str:
    """Return a difference in points, e.g. `+5.1 [+2.0, +8.3]`."""
    return f"{100 * value:+.1f} [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


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
