"""The verbs on a finished run: `represent` and `probe`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from raytrain.cli.parse import parse


@dataclass(frozen=True, kw_only=True)
class RunCommand:
    """A verb on a finished run."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """its run folder"""


def represent(arguments: list[str]) -> int:
    """Run the verb `represent`."""
    command = parse("represent", RunCommand, arguments, None, known=set())
    from raytrain import api

    api.represent(command.run)
    print(f"features: {command.run / 'features'}")
    return 0


def probe(arguments: list[str]) -> int:
    """Run the verb `probe`."""
    command = parse("probe", RunCommand, arguments, None, known=set())
    from raytrain import api
    from raytrain.reporting.results import results_text

    print(results_text(api.probe(command.run).summary))
    return 0
