"""Command line arguments to settings; wrong ones become one line with a suggestion."""

import contextlib
import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import tyro

from raytrain.config import PathwayConfig, RunConfig, load_preset, load_toml, preset_names
from raytrain.errors import ConfigError, did_you_mean

_MARKERS = (tyro.conf.AvoidSubcommands,)


def base_config(arguments: list[str]) -> tuple[RunConfig, list[str]]:
    """Return the settings that the arguments change, of --config or of the preset, and the others."""
    if arguments and not arguments[0].startswith("-"):
        if any(word.partition("=")[0] == "--config" for word in arguments):
            raise ConfigError(f"preset {arguments[0]!r} and --config are two sets of settings; name one")
        return load_preset(arguments[0]), arguments[1:]
    for index, word in enumerate(arguments):
        if word == "--config" and index + 1 < len(arguments):
            return load_toml(Path(arguments[index + 1])), arguments
        if word.startswith("--config="):
            return load_toml(Path(word.partition("=")[2])), arguments
    if any(word in ("-h", "--help") for word in arguments):
        return RunConfig(pathways={"NAME": PathwayConfig()}), arguments
    raise ConfigError(f"train what? name a preset ({', '.join(preset_names())}) or --config FILE")


def parse(verb: str, kind: Any, arguments: list[str], default: Any, *, known: set[str]) -> Any:
    """Parse with tyro; wrong settings become a ConfigError of one line with a suggestion."""
    wants_help = any(word in ("-h", "--help") for word in arguments)
    for word in arguments:
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if word.startswith("--") and not wants_help and known and name not in known:
            raise ConfigError(f"unknown setting --{name}{did_you_mean(name, known)}")
    options: dict[str, Any] = {"prog": f"raytrain {verb}", "config": _MARKERS}
    options |= {} if default is None else {"default": default}
    if wants_help:
        return tyro.cli(kind, args=arguments, **options)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return tyro.cli(kind, args=arguments, **options)
    except SystemExit:
        raise ConfigError(_one_line(said.getvalue())) from None


def _one_line(text: str) -> str:
    """Return what tyro's box says, without the box."""
    words = re.sub(r"[^\x20-\x7e\n]", " ", text)
    lines = [line.strip() for line in words.splitlines()]
    kept = [line for line in lines if line and not re.match(r"(-+$|For full helptext|Parsing error)", line)]
    return " ".join(kept) or "wrong arguments; see --help"


def flag_names(settings: Any) -> set[str]:
    """Return all flag names below a dataclass instance, dots between levels."""
    names = {"help", "config", "seeds", "dry_run", "sheet", "out", "shards"}
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            names |= {f"{item.name}.{name}" for name in flag_names(value)}
        elif isinstance(value, dict):
            names |= {
                f"{item.name}.{key}.{name}" for key, inner in value.items() for name in flag_names(inner)
            }
        else:
            names.add(item.name)
    return names
