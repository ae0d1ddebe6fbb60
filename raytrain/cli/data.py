"""The verbs `prepare` and `inspect`."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from raytrain.cli.parse import check_place, check_root, flag_names, parse
from raytrain.config import DataConfig, RunConfig, load_preset, preset_names
from raytrain.config.flags import named_in
from raytrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PrepareCommand:
    """Walk a data set once: manifest with sizes, labels, groups and checksums; shards if asked for."""

    out: str
    """folder to write; it is then a data.root"""
    shards: Literal["none", "encoded", "uint8"] = "none"
    """pack small files into Parquet shards: images as they are, or decoded to the canvas"""
    data: DataConfig = field(default_factory=DataConfig)


@dataclass(frozen=True, kw_only=True)
class InspectCommand:
    """Show counts, sizes, bad files; of a folder, archive, list or address also the command that trains.

    --sheet: what each operator makes; --shortcut: what its light tells.
    """

    sheet: str = ""
    """PNG to draw: rows are samples, columns operators; of recordings a GIF of some is written beside it"""
    shortcut: bool = False
    """how far mean and deviation of a patch alone solve the task behind each operator: a hint, no labels"""
    data: DataConfig = field(default_factory=DataConfig)


def prepare(arguments: list[str]) -> int:
    """Run the verb `prepare`."""
    known = flag_names(PrepareCommand(out=""))
    command = parse("prepare", PrepareCommand, arguments, None, known=known)
    from rich.console import Console

    from pipelines.forms.quarantine import by_fate, in_words
    from raytrain import api

    report = api.prepare(command.data, command.out, shards=command.shards, console=Console())
    bad = in_words(by_fate(entry.fate for entry in report.quarantined))
    done = "was prepared before" if report.already_done else "prepared"
    print(
        f"{report.out} {done}: {report.num_samples} samples, {report.num_bytes / 2**20:.1f} MiB, "
        f"{report.num_shards} shards, {bad} quarantined"
    )
    return 0


def inspect(arguments: list[str]) -> int:
    """Run the verb `inspect`."""
    word = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    if word not in preset_names():
        return _look(word, arguments[bool(word) :])
    base, rest = load_preset(word), arguments[1:]
    check_root(base, rest)
    command = _parse_inspect(rest, base.data)
    return _show(dataclasses.replace(base, data=command.data), command)


def _parse_inspect(arguments: list[str], data: DataConfig) -> InspectCommand:
    default = InspectCommand(data=data)
    command = parse("inspect PRESET|DIR", InspectCommand, arguments, default, known=flag_names(default))
    assert isinstance(command, InspectCommand)
    return command


def _look(place: str, arguments: list[str]) -> int:
    """Inspect data that no preset was named for; where a place is named, end with the command that trains."""
    check_place(place)
    if place and named_in(arguments, "data.root"):
        raise ConfigError(f"{place} and --data.root are two places; name one")
    command = _parse_inspect(arguments, DataConfig(root=place))
    from raytrain import api

    if not command.data.root:
        return _show(api.without_root(command.data), command)
    suggestion = api.suggest(command.data, lambda data: _parse_inspect(arguments, data).data)
    _show(suggestion.config, command)
    print("\n".join(suggestion.lines()))
    return 0


def _show(config: RunConfig, command: InspectCommand) -> int:
    from raytrain import api

    sheet = Path(command.sheet) if command.sheet else None
    print(api.inspect(config, sheet=sheet, shortcut=command.shortcut))
    if command.sheet:
        print(f"contact sheet: {command.sheet}")
    return 0
