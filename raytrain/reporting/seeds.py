"""The results of several seeds as one table: means, their intervals, and each seed's gain beside."""

from typing import Any

from raytrain.reporting.results import COLUMN, FURTHER, MEASURES, narrow, points, title, with_interval
from raytrain.reporting.runs import Figure, Runs

REFERENCE = "identity"
"""representation whose gain the other gains are compared with"""
Rows = dict[str, dict[str, dict[str, Any]]]
"""representation -> measure -> its mean, each seed's, and the interval of the mean"""


def seeds_table(runs: Runs) -> dict[str, Any]:
    """Return accuracy, control and gain by representation, and gains minus identity's: what seeds.json holds.

    `representations` are of the main protocol; `further` holds those of the others that all seeds have.
    """
    main, *others = [_rows(runs, protocol) for protocol in runs.protocols] or [{}]
    further = {"further": dict(zip(runs.protocols[1:], others, strict=True))} if others else {}
    return {
        "seeds": runs.seeds,
        "intervals": _intervals(runs),
        "representations": main,
        **further,
    }


def seeds_text(table: dict[str, Any]) -> str:
    """Return the table of several seeds."""
    lines = [f"means of seeds {', '.join(map(str, table['seeds']))}; {table['intervals']}"]
    lines += _lines(table["representations"])
    for protocol, rows in table.get("further", {}).items():
        lines += [f"{protocol}:", *_lines(rows)]
    return "\n".join(lines)


def _intervals(runs: Runs) -> str:
    if runs.without_intervals:
        return f"no intervals: {runs.without_intervals}"
    return "95 % intervals from resamples of the test groups, not of the seeds"


def _rows(runs: Runs, protocol: str) -> Rows:
    rows: Rows = {}
    wanted = (*MEASURES, *FURTHER, *(f"control_{key}" for key in FURTHER))
    names = runs.representations(protocol)
    for key in names:
        found = {measure: runs.measured(protocol, key, measure) for measure in wanted}
        if REFERENCE in names:
            found["gain_over_identity"] = runs.lead(protocol, key, REFERENCE, "gain")
        rows[title(key.split("+"))] = {
            measure: _values(figure) for measure, figure in found.items() if figure is not None
        }
    return rows


def _values(figure: Figure) -> dict[str, Any]:
    interval = {} if figure.interval is None else {"interval": figure.interval}
    return {"mean": figure.value, "seeds": figure.seeds, **interval}


COLUMNS = {
    "accuracy": "accuracy",
    "control": "control",
    "gain": "gain over control",
    "gain_over_identity": f"minus {REFERENCE}'s",
    "gain_same_strength": "at its strength",
}
"""measure -> its title in the table"""


def shown_columns(rows: Rows) -> list[str]:
    """Return the measures that every representation has."""
    return [measure for measure in COLUMNS if all(measure in row for row in rows.values())]


def cell(measure: str, values: dict[str, Any]) -> str:
    """Return a mean with its interval: an accuracy, or points where it is a difference."""
    shown = points if measure.startswith("gain") else with_interval
    return shown(values["mean"], values.get("interval"))


def each_gain(row: dict[str, dict[str, Any]]) -> str:
    """Return each seed's gain in points."""
    return " ".join(f"{100 * gain:+.1f}" for gain in row["gain"]["seeds"])


def _lines(rows: Rows) -> list[str]:
    columns = shown_columns(rows)
    titles = [f"{COLUMNS[measure]:<20}" for measure in columns]
    lines = [" ".join([f"{'pathway':<{COLUMN}}", *titles, "gain of each seed"])]
    for name, row in rows.items():
        cells = [f"{cell(measure, row[measure]):<20}" for measure in columns]
        lines.append(" ".join([f"{narrow(name):<{COLUMN}}", *cells, each_gain(row)]))
    for key, words in FURTHER.items():
        for name, row in rows.items():
            if key in row:
                values, control = (f"{row[one]['mean']:<20.3f}" for one in (key, f"control_{key}"))
                lines.append(f"{words + ': ' + narrow(name):<{COLUMN}} {values} {control}".rstrip())
    return lines
