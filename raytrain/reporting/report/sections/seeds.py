"""Several seeds: means with intervals, each seed's gain, and links to their reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raytrain.reporting.figures.canvas import Drawing
from raytrain.reporting.figures.palette import JOINED, Style
from raytrain.reporting.figures.seeds import SeedRow
from raytrain.reporting.figures.seeds import seeds as draw_seeds
from raytrain.reporting.report.blocks import Block, Links, Missing, Section, Table
from raytrain.reporting.report.sections.results import PROTOCOLS
from raytrain.reporting.report.words import joined_name
from raytrain.reporting.seeds import COLUMNS, Rows, cell, each_gain, shown_columns
from raytrain.training.paths import REPORT


def short(name: str) -> str:
    """Return a row's name without the list of what was joined."""
    return joined_name(name.count("+") + 1) if name.startswith("joined ") else name


def seeds_figure(table: dict[str, Any], styles: dict[str, Style]) -> Drawing:
    """Draw each seed's gain, and the interval of their mean."""
    rows = [
        SeedRow(
            label=short(name),
            style=styles.get(name, JOINED),
            gains=[100 * gain for gain in row["gain"]["seeds"]],
            interval=[100 * end for end in row["gain"].get("interval", ())],
        )
        for name, row in table["representations"].items()
    ]
    said = "; ".join(f"{row.label} {', '.join(f'{gain:+.1f}' for gain in row.gains)}" for row in rows)
    return draw_seeds(
        rows,
        name="seeds",
        title="Gain of each seed",
        alt=f"Gain over the control in points, a point a seed: {said}.",
    )


def seeds(table: dict[str, Any], runs: Sequence[Path]) -> Section:
    """Return a table a protocol, and links to each seed's report."""
    caption = f"Means of the seeds {', '.join(map(str, table['seeds']))}; {table['intervals']}"
    blocks: list[Block] = [_table(caption, table["representations"])]
    for protocol, rows in table.get("further", {}).items():
        blocks.append(_table(PROTOCOLS.get(protocol, protocol), rows))
    return Section(name="seeds", title="Seeds", blocks=[*blocks, *_links(runs)])


def _table(caption: str, rows: Rows) -> Table:
    columns = shown_columns(rows)
    return Table(
        caption=caption,
        header=["representation", *(COLUMNS[measure] for measure in columns), "gain of each seed"],
        rows=[
            [short(name), *(cell(measure, row[measure]) for measure in columns), each_gain(row)]
            for name, row in rows.items()
        ],
    )


def _links(runs: Sequence[Path]) -> list[Block]:
    """Return links to the seeds' reports, and how to write those that are missing."""
    written = [run for run in runs if (run / REPORT).exists()]
    blocks: list[Block] = []
    if written:
        blocks.append(Links(links=[(f"report of {run.name}", f"{run.name}/{REPORT}") for run in written]))
    missing = [run for run in runs if run not in written]
    if missing:
        commands = ", ".join(f"`raytrain report {run}`" for run in missing)
        blocks.append(Missing(f"Not every seed has a report of its own: {commands}."))
    return blocks
