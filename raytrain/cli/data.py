"""The verbs `prepare` and `inspect`."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from raytrain.cli.parse import flag_names, parse
from raytrain.config import DataConfig, load_preset


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
    """Show counts, sizes, bad files; --sheet: what each operator makes; --shortcut: what its light tells."""

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
    named = bool(arguments) and not arguments[0].startswith("-")
    base = load_preset(arguments[0] if named else "gtsrb-small")
    default = InspectCommand(data=base.data if named else DataConfig())
    rest = arguments[1:] if named else arguments
    command = parse("inspect [PRESET]", InspectCommand, rest, default, known=flag_names(default))
    from raytrain import api

    config = dataclasses.replace(base, data=command.data)
    sheet = Path(command.sheet) if command.sheet else None
    print(api.inspect(config, sheet=sheet, shortcut=command.shortcut))
    if command.sheet:
        print(f"contact sheet: {command.sheet}")
    return 0
