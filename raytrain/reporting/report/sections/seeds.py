"""Several seeds: means, each seed, and links to their reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raytrain.errors import DataError
from raytrain.reporting.figures.canvas import Drawing
from raytrain.reporting.figures.palette import JOINED, Style
from raytrain.reporting.figures.seeds import SeedRow
from raytrain.reporting.figures.seeds import seeds as draw_seeds
from raytrain.reporting.report.blocks import Block, Links, Missing, Section, Table
from raytrain.reporting.report.words import joined_name

MEASURES = {
    "accuracy": "accuracy",
    "control": "control",
    "gain": "gain, points",
    "gain_same_strength": "gain at its strength",
}


def short(name: str) -> str:
    """Return a row's name without the list of what was joined."""
    return joined_name(name.count("+") + 1) if name.startswith("joined ") else name


def seeds_figure(table: dict[str, Any], styles: dict[str, Style]) -> Drawing:
    """Draw each seed's gain."""
    rows = [
        SeedRow(
            label=short(name),
            style=styles.get(name, JOINED),
            gains=[100 * gain for gain in row["gain"]["seeds"]],
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
    """Return the table of the seeds and links to each one's report."""
    try:
        representations, numbers = table["representations"], table["seeds"]
        measures = [key for key in MEASURES if all(key in row for row in representations.values())]
        rows = [
            [short(name), *(_cell(row[key], key) for key in measures)]
            for name, row in representations.items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"seeds.json: broken: {error!r}; run `raytrain train ... --seeds N` again") from None
    caption = f"Means of the seeds {', '.join(map(str, numbers))}; in brackets each seed"
    return Section(
        name="seeds",
        title="Seeds",
        blocks=[
            Table(
                caption=caption, header=["representation", *(MEASURES[key] for key in measures)], rows=rows
            ),
            *_links(runs),
        ],
    )


def _links(runs: Sequence[Path]) -> list[Block]:
    """Return links to the seeds' reports, and how to write those that are missing."""
    written = [run for run in runs if (run / "report.html").exists()]
    blocks: list[Block] = []
    if written:
        blocks.append(Links(links=[(f"report of {run.name}", f"{run.name}/report.html") for run in written]))
    missing = [run for run in runs if run not in written]
    if missing:
        commands = ", ".join(f"`raytrain report {run}`" for run in missing)
        blocks.append(Missing(f"Not every seed has a report of its own: {commands}."))
    return blocks


def _cell(values: dict[str, Any], key: str) -> str:
    if key.startswith("gain"):
        each = " ".join(f"{100 * value:+.1f}" for value in values["seeds"])
        return f"{100 * values['mean']:+.1f} ({each})"
    return f"{values['mean']:.3f} ({' '.join(f'{value:.3f}' for value in values['seeds'])})"
