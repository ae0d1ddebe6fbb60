"""The verb `reproduce`."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import tyro

from raytrain.cli.parse import flag_names, parse
from raytrain.config import RunConfig, load_preset
from raytrain.errors import ConfigError

NAMES = ("table1", "table2", "figure2", "table4")


@dataclass(frozen=True, kw_only=True)
class ReproduceCommand:
    """Train the grid of a table of the decomposed-encoder paper and print it beside the paper's."""

    seeds: int = 3
    """train every pathway with that many seeds"""
    dry_run: bool = False
    """print what would be trained"""
    settings: tyro.conf.FlagConversionOff[Annotated[RunConfig, tyro.conf.arg(name="")]]


def reproduce(arguments: list[str]) -> int:
    """Run the verb `reproduce`."""
    wants_help = any(word in ("-h", "--help") for word in arguments)
    if not wants_help and (not arguments or arguments[0].startswith("-")):
        raise ConfigError(f"reproduce what? name one of {', '.join(NAMES)}")
    name, rest = ("", arguments) if wants_help else (arguments[0], arguments[1:])
    preset, rest = _take_preset(rest)
    base = load_preset(preset or _template(name))
    base = dataclasses.replace(base, out=f"runs/{name}")
    default = ReproduceCommand(settings=base)
    command = parse(
        "reproduce TABLE [--preset PRESET]", ReproduceCommand, rest, default, known=flag_names(default)
    )
    from raytrain import api

    if command.dry_run:
        print(api.reproduce_plan(name, command.settings, num_seeds=command.seeds))
        return 0
    from raytrain.cli.console import output_console
    from raytrain.reproduction.table import table_text

    console = output_console()
    result = api.reproduce(name, command.settings, num_seeds=command.seeds, console=console)
    print(table_text(result))
    for path in result["files"]:
        print(f"results: {path}")
    return 0


def _take_preset(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the preset that gives the settings ("": the table's own), and the other arguments."""
    for index, word in enumerate(arguments):
        if word.startswith("--preset="):
            return word.partition("=")[2], arguments[:index] + arguments[index + 1 :]
        if word == "--preset":
            if index + 1 == len(arguments):
                raise ConfigError("--preset needs a name")
            return arguments[index + 1], arguments[:index] + arguments[index + 2 :]
    return "", arguments


def _template(name: str) -> str:
    """Return the preset that a table takes its settings from; that of the first while none is named."""
    from raytrain.reproduction.grid import find_study

    return find_study(name or NAMES[0]).template
