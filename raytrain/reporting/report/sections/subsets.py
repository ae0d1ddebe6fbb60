"""Subsets: what every combination of pathways is worth."""

from typing import Any

from raytrain.reporting.figures.forest import forest
from raytrain.reporting.report.blocks import Figures, Folded, Missing, Section, Table
from raytrain.reporting.report.sections.results import probe_row
from raytrain.reporting.report.words import representation
from raytrain.reporting.results import points, with_interval
from raytrain.reporting.run_data import RunData

MAX_DRAWN = 31
CHOICE = "The best of many combinations, chosen by test accuracy, is flattered by the choice."


def subsets(run: RunData) -> Section:
    """Return all subsets, the best first."""
    entries: list[dict[str, Any]] = run.summary.get("subsets") or []
    if not entries:
        text = (
            "Not every combination of pathways was probed. "
            f"`raytrain probe {run.folder} --subsets True` does it."
        )
        return Section(name="subsets", title="Combinations of pathways", blocks=[Missing(text)])
    ranked = sorted(entries, key=lambda entry: -entry["accuracy"])
    rows = [probe_row(run, entry) for entry in ranked[:MAX_DRAWN]]
    figure = forest(
        rows,
        name="subsets",
        title="Combinations, the best first",
        alt=f"Accuracy of {len(rows)} combinations of pathways; the best is {rows[0].label}.",
        unit="accuracy (95 % interval)",
    )
    table = Table(
        caption="All combinations, the best first; 95 % intervals in brackets",
        header=["combination", "accuracy", "control", "gain, points"],
        rows=[
            [
                representation(entry["pathways"], run.probed),
                with_interval(entry["accuracy"], entry["interval"]),
                with_interval(entry["control"], entry["control_interval"]),
                points(entry["gain"], entry["gain_interval"]),
            ]
            for entry in ranked
        ],
    )
    return Section(
        name="subsets",
        title="Combinations of pathways",
        blocks=[
            Figures(drawings=[figure], caption=CHOICE),
            Folded(title=f"Table of all {len(ranked)} combinations", blocks=[table]),
        ],
    )
