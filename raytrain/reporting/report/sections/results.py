"""The probe table: every accuracy beside its control, the floors, the intervals, the protocol."""

from collections.abc import Sequence
from typing import Any

from raytrain.reporting.figures.canvas import Drawing
from raytrain.reporting.figures.forest import Row, forest
from raytrain.reporting.figures.palette import MUTED, Style, style_of
from raytrain.reporting.report.blocks import Beside, Block, Missing, Section, Table, Text
from raytrain.reporting.report.words import how_to_probe, representation
from raytrain.reporting.results import points, with_interval
from raytrain.reporting.run_data import RunData

PROTOCOLS = {
    "ridge": "Ridge classifier",
    "logistic": "Logistic regression",
    "knn": "Nearest neighbours",
    "classifier": "Trained classifier",
    "head": "The network's own classifier",
}


def gain_figure(run: RunData) -> Drawing | None:
    """Draw the gain of each representation over its control, in points."""
    if not run.probes:
        return None
    rows = [
        Row(
            label=representation(entry["pathways"], run.probed),
            style=style_of(entry["pathways"], run.styles),
            value=100 * entry["gain"],
            interval=[100 * end for end in entry["gain_interval"]],
        )
        for entry in run.probes
    ]
    words = "; ".join(
        f"{row.label} {points(e['gain'], e['gain_interval'])}"
        for row, e in zip(rows, run.probes, strict=True)
    )
    return forest(
        rows,
        name="gain",
        title="What training brought",
        alt=f"Gain over the untrained control in points with 95 % intervals: {words}.",
        unit="accuracy minus control, points (95 % interval)",
        zero=True,
    )


def results(run: RunData) -> Section:
    """Return accuracies, controls, gains and floors of each protocol."""
    section = Section(name="results", title="Results")
    if not run.probes:
        return Section(
            name=section.name,
            title=section.title,
            blocks=[Missing(f"No probes in this run. {how_to_probe(run)}")],
        )
    by_protocol: dict[str, list[dict[str, Any]]] = {}
    for entry in run.summary["probes"]:
        by_protocol.setdefault(entry.get("protocol_name", "ridge"), []).append(entry)
    words = [Text(_protocol(run.probes[0])), *_contrasts(run.probes)]
    blocks: list[Block] = [Beside(drawing=_accuracy_figure(run), blocks=words)]
    for name, entries in by_protocol.items():
        blocks.append(_table(run, name, entries))
        if name != run.protocol:
            blocks.append(Text(_protocol(entries[0])))
        blocks += _floors(run, entries)
    return Section(name=section.name, title=section.title, blocks=blocks)


def probe_row(run: RunData, entry: dict[str, Any]) -> Row:
    """Return the line of a forest plot for a representation and its control."""
    return Row(
        label=representation(entry["pathways"], run.probed),
        style=style_of(entry["pathways"], run.styles),
        value=entry["accuracy"],
        interval=entry["interval"],
        control=entry["control"],
        control_interval=entry["control_interval"],
    )


def _accuracy_figure(run: RunData) -> Drawing:
    rows = [probe_row(run, entry) for entry in run.probes]
    floors = run.probes[0].get("floors", [])
    rows += [
        Row(
            label=f"floor: {floor['name']}",
            style=Style(MUTED, "|"),
            value=floor["accuracy"],
            interval=floor["interval"],
        )
        for floor in floors
    ]
    return forest(
        rows,
        name="accuracy",
        title="Accuracy on the test split",
        alt="Accuracy of each representation, its untrained control and the floors, as in the table.",
        unit="accuracy (95 % interval)",
    )


def _table(run: RunData, name: str, entries: Sequence[dict[str, Any]]) -> Table:
    alike = any("gain_same_strength" in entry for entry in entries)
    top5 = any(entry.get("top5") is not None for entry in entries)
    header = ["representation", "accuracy", "control", "gain, points"]
    header += ["gain at its strength"] if alike else []
    header += ["top 5", "top 5 of the control"] if top5 else []
    several = any("label_accuracy" in entry for entry in entries)
    header += ["label by label", "label by label, control"] if several else []
    rows = []
    for entry in entries:
        row = [
            representation(entry["pathways"], run.probed),
            with_interval(entry["accuracy"], entry["interval"]),
            with_interval(entry["control"], entry["control_interval"]),
            points(entry["gain"], entry["gain_interval"]),
        ]
        if alike:
            known = "gain_same_strength" in entry
            row.append(
                points(entry["gain_same_strength"], entry["gain_same_strength_interval"]) if known else "-"
            )
        if top5:
            row += [_share(entry.get("top5")), _share(entry.get("control_top5"))]
        if several:
            row += [_share(entry.get("label_accuracy")), _share(entry.get("control_label_accuracy"))]
        rows.append(row)
    note = "; at its strength: the control regularised as the trained features chose" if alike else ""
    return Table(
        caption=f"{PROTOCOLS.get(name, name)}, 95 % intervals in brackets{note}", header=header, rows=rows
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _protocol(entry: dict[str, Any]) -> str:
    return f"Protocol: {entry['protocol']}. Tested on {entry['n']} samples in {entry['groups']} groups."


def _floors(run: RunData, entries: Sequence[dict[str, Any]]) -> list[Block]:
    """Return the floors and how far each representation lies above them."""
    floors = entries[0].get("floors", [])
    if not floors:
        return []
    names = [representation(entry["pathways"], run.probed) for entry in entries]
    rows = []
    for place, floor in enumerate(floors):
        leads = [entry["floors"][place] for entry in entries]
        rows.append(
            [
                floor["name"],
                with_interval(floor["accuracy"], floor["interval"]),
                *(points(lead["difference"], lead["difference_interval"]) for lead in leads),
            ]
        )
    return [
        Table(
            caption="Floors: what the same classifier reaches without any encoder; then how far each "
            "representation lies above it, in points",
            header=["floor", "accuracy", *names],
            rows=rows,
        )
    ]


def _contrasts(entries: Sequence[dict[str, Any]]) -> list[Block]:
    found = [contrast for entry in entries for contrast in entry.get("contrasts", [])]
    if not found:
        return []
    return [
        Table(
            caption="Comparisons on the same test samples, in points",
            header=["comparison", "difference"],
            rows=[[one["name"], points(one["difference"], one["interval"])] for one in found],
        )
    ]
