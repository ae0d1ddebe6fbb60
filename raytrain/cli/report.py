"""The verbs `report` and `compare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from raytrain.cli.parse import parse


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write report.html and figures/ of a run, or of a folder of seeds: one page that works offline."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """its run folder"""
    classes: str = ""
    """classes (names or numbers, commas between) whose samples are drawn in feature space; empty: the four
    with most test samples"""
    data_root: Annotated[str, tyro.conf.arg(name="data.root")] = ""
    """where the run's data lie now, if they moved"""


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """Say what two runs, or two folders of seeds, differ by: settings, then accuracies and gains."""

    first: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """a run, or a folder of seeds"""
    second: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """another one; figures are this one minus the first"""


def report(arguments: list[str]) -> int:
    """Run the verb `report`."""
    command = parse("report", ReportCommand, arguments, None, known={"classes", "data.root"})
    from raytrain import api

    path = api.report(command.run, classes=command.classes, data_root=command.data_root)
    print(f"report: {path}")
    return 0


def compare(arguments: list[str]) -> int:
    """Run the verb `compare`."""
    command = parse("compare", CompareCommand, arguments, None, known=set())
    from raytrain import api

    print(api.compare(command.first, command.second))
    return 0
