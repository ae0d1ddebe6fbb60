"""The verbs `train` and `demo`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from raytrain.cli.parse import base_config, flag_names, parse
from raytrain.config import RunConfig

if TYPE_CHECKING:
    from raytrain.reporting.runs import Runs


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
    command = parse("train PRESET", TrainCommand, arguments, default, known=flag_names(default))
    config = command.settings
    from raytrain import api

    if command.dry_run:
        print(api.dry_run(config))
        return 0
    return _run_training(config, command.seeds)


def _run_training(config: RunConfig, seeds: int) -> int:
    from raytrain import api
    from raytrain.cli.console import output_console, say_report
    from raytrain.reporting.results import motion_text, results_text
    from raytrain.reporting.runs import load_runs
    from raytrain.reporting.seeds import seeds_table, seeds_text

    console = output_console()
    if seeds == 1:
        run = api.train(config, console=console)
        beside = _side_by_side(load_runs(run.folder))
        _print_texts(results_text(run.summary), motion_text(run.summary), beside)
        print(f"results: {run.folder / 'summary.json'}")
        say_report(run.folder)
        return 0
    folder = api.train_seeds(config, seeds, console=console)[0].folder.parent
    if config.probe.enabled:
        loaded = load_runs(folder)
        _print_texts(seeds_text(seeds_table(loaded)), _side_by_side(loaded))
        print(f"results: {folder / 'seeds.json'}")
        say_report(folder)
    return 0


def _print_texts(*texts: str) -> None:
    print("\n".join(text for text in texts if text))


def _side_by_side(runs: "Runs") -> str:
    """Return the table of operators and stems, of a run or seeds on recordings."""
    from pipelines.modalities import modality_of
    from raytrain.reporting.representations import representations_text

    own = modality_of(runs.first.config).sections
    return representations_text(runs) if "representations" in own else ""


def demo(arguments: list[str]) -> int:
    """Run the verb `demo`."""
    return train(["shapes-demo", *arguments])
