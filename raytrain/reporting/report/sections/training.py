"""How training went: losses, health by layer, waits."""

from typing import Any

from raytrain.reporting.figures.canvas import Drawing
from raytrain.reporting.figures.curves import Curve, curves, layer_curves
from raytrain.reporting.figures.layers import by_pathway, layer_number
from raytrain.reporting.figures.waits import waits
from raytrain.reporting.progress import event_rate
from raytrain.reporting.report.blocks import Block, Figures, Folded, Missing, Section, Table
from raytrain.reporting.run_data import RunData

HEALTH = {
    "rank": ("Effective rank", "dimensions"),
    "dead": ("Units that are zero", "share of units"),
    "score": ("Mean size of the score", "mean |s|"),
    "active_positive": ("Active positive terms", "share"),
    "active_negative": ("Active negative terms", "share"),
    "rms": ("Size of the representation", "root mean square"),
}


def losses(run: RunData) -> Section:
    """Return the loss curves: all pathways, then each by layer."""
    if not run.lines:
        text = "No logged steps (metrics.jsonl is missing or empty), so there are no curves."
        return Section(name="losses", title="Losses", blocks=[Missing(text)])
    overview, drawings = [], []
    for pathway in run.pathways:
        lines = [line for line in run.lines if line["pathway"] == pathway]
        if not lines:
            continue
        steps = [line["step"] for line in lines]
        means = [sum(line["losses"].values()) / max(1, len(line["losses"])) for line in lines]
        colour = run.styles[pathway].colour
        overview.append(Curve(label=pathway, steps=steps, values=means, colour=colour))
        by_layer = {
            layer: (
                [line["step"] for line in lines if layer in line["losses"]],
                [line["losses"][layer] for line in lines if layer in line["losses"]],
            )
            for layer in sorted({name for line in lines for name in line["losses"]}, key=layer_number)
        }
        drawings.append(
            layer_curves(
                by_layer,
                colour=colour,
                name=f"loss-{pathway}",
                title=f"{pathway}, by layer",
                alt=f"Loss of {pathway} by layer over {steps[-1]} steps; the mean went from {means[0]:.3g} "
                f"to {means[-1]:.3g}.",
                unit="loss",
            )
        )
    said = "; ".join(f"{c.label} {c.values[0]:.3g} to {c.values[-1]:.3g}" for c in overview)
    first = curves(
        overview,
        name="loss",
        title="All pathways",
        alt=f"Mean loss over the layers by training step: {said}.",
        unit="loss, mean of the layers",
    )
    caption = (
        "Numbers are layers, later ones drawn stronger. Different objectives' losses cannot be compared."
    )
    blocks = [Figures(drawings=[first, *drawings], caption=caption)]
    return Section(name="losses", title="Losses", blocks=blocks)


def health(run: RunData) -> Section:
    """Return the last figures of health by layer, and the effective rank over the training."""
    entries: list[dict[str, Any]] = run.summary.get("health") or []
    if not entries:
        text = "This run kept no figures of health; a run trained by this version does."
        return Section(name="health", title="Health of the layers", blocks=[Missing(text)])
    drawings = []
    for key, (title, unit) in HEALTH.items():
        lines = {}
        for pathway in run.pathways:
            known = sorted(
                (e for e in entries if e["pathway"] == pathway and e.get(key) is not None),
                key=lambda entry: layer_number(entry["layer"]),
            )
            if known:
                lines[pathway] = ([e["layer"] for e in known], [float(e[key]) for e in known])
        if lines:
            said = "; ".join(f"{name} {values[-1]:.3g}" for name, (_, values) in lines.items())
            alt = f"{title} by layer at the last logged step; last layer: {said}."
            drawings.append(
                by_pathway(lines, run.styles, name=f"health-{key}", title=title, alt=alt, unit=unit)
            )
    blocks: list[Block] = [Figures(drawings=drawings, caption="At the last logged step.")]
    ranks = _ranks_over_time(run)
    if ranks:
        blocks.append(Folded(title="Effective rank over the training", blocks=[Figures(drawings=ranks)]))
    return Section(name="health", title="Health of the layers", blocks=blocks)


def _ranks_over_time(run: RunData) -> list[Drawing]:
    drawings = []
    for pathway in run.pathways:
        series: dict[str, tuple[list[float], list[float]]] = {}
        for line in run.lines:
            for layer, figures in (line.get("health") or {}).items():
                if line["pathway"] == pathway and figures.get("rank") is not None:
                    steps, values = series.setdefault(layer, ([], []))
                    steps.append(line["step"])
                    values.append(figures["rank"])
        if series:
            ordered = {layer: series[layer] for layer in sorted(series, key=layer_number)}
            drawings.append(
                layer_curves(
                    ordered,
                    colour=run.styles[pathway].colour,
                    name=f"rank-{pathway}",
                    title=f"{pathway}, by layer",
                    alt=f"Effective rank of {pathway} by layer over the training steps.",
                    unit="effective rank, dimensions",
                )
            )
    return drawings


def waiting(run: RunData) -> Section:
    """Return the wait ledger and the speed of each pathway."""
    entries = run.summary["pathways"]
    shares = {entry["name"]: entry["waits"] for entry in entries if entry.get("waits")}
    of_events = any("events_per_s" in entry for entry in entries)
    rows = []
    for entry in entries:
        lines = [line for line in run.lines if line["pathway"] == entry["name"]]
        memory = max((line.get("memory_mib", 0) for line in lines), default=0)
        rows.append(
            [
                entry["name"],
                f"{entry['steps']:,}",
                f"{entry['samples_per_s']:.1f}" if entry.get("samples_per_s") else "-",
                *([event_rate(entry["events_per_s"]) if entry.get("events_per_s") else "-"] * of_events),
                f"{memory:,}" if memory else "-",
                str(entry.get("restarts", 0)),
            ]
        )
    table = Table(
        caption="Speed at the end, and memory of the process that trained the pathway",
        header=["pathway", "steps", "samples/s", *(["events"] * of_events), "memory, MiB", "restarts"],
        rows=rows,
    )
    if not shares:
        text = "No shares of time: the pathways were trained by an earlier process."
        return Section(name="waits", title="Where the time went", blocks=[Missing(text), table])
    said = "; ".join(
        f"{name} waited {100 * one.get('data', 0):.1f} % for data" for name, one in shares.items()
    )
    figure = waits(shares, name="waits", title="Wait ledger (right: waiting for data)", alt=f"{said}.")
    return Section(name="waits", title="Where the time went", blocks=[Figures(drawings=[figure]), table])
