"""Operators and stems side by side, before the same encoder."""

from raytrain.reporting.report.blocks import Missing, Section, Table, Text
from raytrain.reporting.report.sections.results import PROTOCOLS
from raytrain.reporting.report.words import how_to_probe
from raytrain.reporting.representations import (
    BASE,
    Row,
    count,
    lead_text,
    rate,
    representation_groups,
    shown_protocols,
)
from raytrain.reporting.results import with_interval
from raytrain.reporting.runs import Runs

TITLE = "Representations side by side"


def representations(runs: Runs) -> Section:
    """Return a row for each pathway under the encoder and objective that it shares with others."""
    groups, protocols = representation_groups(runs), shown_protocols(runs)
    header = ["representation"]
    for name in protocols:
        who = f"{name}: " if len(protocols) > 1 else ""
        header += [f"{who}accuracy", f"{who}minus {BASE}", f"{who}control"]
    how = "no intervals: no predictions kept" if runs.lacking else "95 % intervals, paired by test sample"
    table = Table(
        caption=f"Means of the seeds {', '.join(map(str, runs.seeds))}. " * (len(runs.runs) > 1)
        + "Rows under one heading share encoder and objective"
        + f"; minus {BASE}: difference in points to the row {BASE} under the same heading ({how})"
        * bool(protocols),
        header=[*header, "channels", "parameters", "events"],
        rows=[_cells(row, protocols) for group in groups for row in group.rows],
        groups=[(group.title, len(group.rows)) for group in groups],
    )
    missing = (
        [] if protocols else [Missing(f"No accuracies: no probes in this run. {how_to_probe(runs.first)}")]
    )
    return Section(name="representations", title=TITLE, blocks=[*missing, table, Text(_columns(protocols))])


def _columns(protocols: list[str]) -> str:
    """Say what the columns mean."""
    text = (
        "Brackets behind a name hold settings that are not its defaults. Channels: of what the encoder sees; "
        "3 x 2 are 3 bins of time with 2 channels each. Parameters: of stem and encoder. Events: how many "
        "training took in a second."
    )
    if len(protocols) < 2:
        return text
    named = "; ".join(f"{name}: {PROTOCOLS.get(name, name).lower()}" for name in protocols)
    return f"{text} {named.capitalize()}."


def _cells(row: Row, protocols: list[str]) -> list[str]:
    cells = [row.representation]
    for name in protocols:
        score = row.scores.get(name)
        if score is None:
            cells += ["-", "-", "-"]
            continue
        cells += [
            with_interval(score.accuracy.value, score.accuracy.interval),
            lead_text(row, name),
            with_interval(score.control.value, score.control.interval),
        ]
    return [*cells, row.channels, count(row.parameters), rate(row.events_per_s)]
