"""The verbs on a finished run: `represent` and `probe`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from raytrain.cli.parse import flag_names, parse
from raytrain.config import ProbeConfig, load_toml


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


@dataclass(frozen=True, kw_only=True)
class ProbeCommand:
    """Probe a run's features again; settings of the probe replace the run's for this once."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """its run folder"""
    settings: tyro.conf.FlagConversionOff[Annotated[ProbeConfig, tyro.conf.arg(name="")]]


def probe(arguments: list[str]) -> int:
    """Run the verb `probe`."""
    base = ProbeConfig()
    folder = next((Path(word) for word in arguments if not word.startswith("-")), Path())
    if (folder / "config.toml").exists():
        base = load_toml(folder / "config.toml").probe
    default = ProbeCommand(run=tyro.MISSING, settings=base)
    command = parse("probe", ProbeCommand, arguments, default, known=flag_names(default) - {"run"})
    from raytrain import api
    from raytrain.cli.console import output_console, say_report
    from raytrain.reporting.results import curves_text, motion_text, results_text

    summary = api.probe(command.run, command.settings, console=output_console()).summary
    texts = (results_text(summary), motion_text(summary), curves_text(summary))
    print("\n".join(text for text in texts if text))
    say_report(command.run)
    return 0
