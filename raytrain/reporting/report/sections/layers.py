"""Layer by layer: what each layer's features are worth, trained against untrained."""

from typing import Any

from raytrain.reporting.figures.layers import LayerLine, against_control, layer_number
from raytrain.reporting.report.blocks import Figures, Folded, Missing, Section, Table
from raytrain.reporting.results import points, with_interval
from raytrain.reporting.run_data import RunData


def layers(run: RunData) -> Section:
    """Return the layer-wise curves of every pathway, and their table."""
    entries: list[dict[str, Any]] = run.summary.get("layers") or []
    if not entries:
        text = (
            f"The layers of this run were not measured. `raytrain represent {run.folder}` and then "
            f"`raytrain probe {run.folder}` do it."
        )
        return Section(name="layers", title="Layer by layer", blocks=[Missing(text)])
    ends = [end for e in entries for key in ("interval", "control_interval") for end in e.get(key) or ()]
    ends += [entry[key] for entry in entries for key in ("accuracy", "control")]
    margin = 0.04 * (max(ends) - min(ends)) + 1e-3
    limits = (min(ends) - margin, max(ends) + margin)  # the same for all pathways
    drawings = []
    for pathway in run.probed:
        chosen = sorted(
            (entry for entry in entries if entry["pathway"] == pathway),
            key=lambda entry: layer_number(entry["layer"]),
        )
        if not chosen:
            continue
        last = chosen[-1]
        drawings.append(
            against_control(
                _line(chosen, "trained", "accuracy", "interval"),
                _line(chosen, "control", "control", "control_interval"),
                run.styles[pathway],
                name=f"layers-{pathway}",
                title=pathway,
                alt=f"Accuracy by layer of {pathway}, trained and untrained; at {last['layer']} "
                f"{last['accuracy']:.3f} against {last['control']:.3f}.",
                unit="accuracy",
                limits=limits,
            )
        )
    kinds = sorted({f"{entry.get('protocol_name', 'ridge')}, {entry['features']}" for entry in entries})
    rows = [
        [
            f"{entry['pathway']} {entry['layer']}",
            with_interval(entry["accuracy"], entry["interval"]),
            with_interval(entry["control"], entry["control_interval"]),
            points(entry["gain"], entry["gain_interval"]),
        ]
        for entry in entries
    ]
    table = Table(
        caption="Each layer by itself", header=["layer", "accuracy", "control", "gain, points"], rows=rows
    )
    return Section(
        name="layers",
        title="Layer by layer",
        blocks=[
            Figures(
                drawings=drawings,
                caption=f"Each layer probed by itself ({'; '.join(kinds)} features); 95 % intervals.",
                roomy=True,
            ),
            Folded(title="Table of all layers", blocks=[table]),
        ],
    )


def _line(entries: list[dict[str, Any]], label: str, value: str, interval: str) -> LayerLine:
    return LayerLine(
        label=label,
        layers=[entry["layer"] for entry in entries],
        values=[entry[value] for entry in entries],
        intervals=[entry.get(interval) for entry in entries],
    )
