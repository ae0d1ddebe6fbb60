"""The verbs `train` and `demo`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from raytrain.cli.parse import base_config, flag_names, parse
from raytrain.config import RunConfig


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train pathways on one stream, then represent and probe; the same command again goes on."""

    config: str = ""
    """settings as a TOML file, instead of a preset"""
    seeds: int = 1
    """train that many seeds, one after the other"""
    dry_run: bool = False
    """print resolved settings, shapes, memory, processes and a time estimate; train nothing"""
    settings: tyro.conf.FlagConversionOff[Annotated[RunConfig, tyro.conf.arg(name="")]]


def train(arguments: list[str]) -> int:
    """Run the verb `train`."""
    base, arguments = base_config(arguments)
    default = TrainCommand(settings=base)
    command = parse("train PRESET", TrainCommand, arguments, default, known=flag_names(base))
    config = command.settings
    from raytrain import api

    if command.dry_run:
        print(api.dry_run(config))
        return 0
    return _run_training(config, command.seeds)


def _run_training(config: RunConfig, seeds: int) -> int:
    from rich.console import Console

    from raytrain import api
    from raytrain.reporting.results import motion_text, results_text, seeds_table, seeds_text

    console = Console(width=None if sys.stdout.isatty() else 200)
    if seeds == 1:
        run = api.train(config, console=console)
        texts = (results_text(run.summary), motion_text(run.summary), _representations(run.folder, config))
        print("\n".join(text for text in texts if text))
        print(f"results: {run.folder / 'summary.json'}")
        _say_report(run.folder)
        return 0
    runs = api.train_seeds(config, seeds, console=console)
    if config.probe.enabled:
        print(seeds_text(seeds_table([run.summary for run in runs])))
        print(f"results: {runs[0].folder.parent / 'seeds.json'}")
        _say_report(runs[0].folder.parent)
    return 0


def _representations(folder: Path, config: RunConfig) -> str:
    """Return the table of operators and stems, of a run on recordings."""
    if config.modality != "events":
        return ""
    from raytrain.reporting.representations import representations_text
    from raytrain.reporting.run_data import load_run

    return representations_text(load_run(folder))


def _say_report(folder: Path) -> None:
    if (folder / "report.html").exists():
        print(f"report: {folder / 'report.html'}")


def demo(arguments: list[str]) -> int:
    """Run the verb `demo`."""
    return train(["shapes-demo", *arguments])
