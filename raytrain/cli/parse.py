"""Command line arguments to settings; wrong ones become one line with a suggestion."""

import contextlib
import dataclasses
import io
import re
import shlex
from pathlib import Path
from typing import Any

import tyro

from raytrain.config import PathwayConfig, RunConfig, load_preset, load_toml, preset_names
from raytrain.config.flags import named_in, value_of, with_values
from raytrain.errors import ConfigError, did_you_mean

_MARKERS = (tyro.conf.AvoidSubcommands,)
_FEW = 12
"""settings that a line can name"""


def base_config(arguments: list[str]) -> tuple[RunConfig, list[str]]:
    """Return the settings that the arguments change, of --config or of the preset, and the others."""
    if arguments and not arguments[0].startswith("-"):
        if any(word.partition("=")[0] == "--config" for word in arguments):
            raise ConfigError(f"preset {arguments[0]!r} and --config are two sets of settings; name one")
        if arguments[0] not in preset_names():
            check_place(arguments[0])
            raise ConfigError(
                f"{arguments[0]} is a place, and no preset; `raytrain inspect {shlex.quote(arguments[0])}` "
                "says which preset reads it"
            )
        base = load_preset(arguments[0])
        check_root(base, arguments[1:])
        return base, arguments[1:]
    for index, word in enumerate(arguments):
        if word == "--config" and index + 1 < len(arguments):
            return load_toml(Path(arguments[index + 1])), arguments
        if word.startswith("--config="):
            return load_toml(Path(word.partition("=")[2])), arguments
    if any(word in ("-h", "--help") for word in arguments):
        return RunConfig(pathways={"NAME": PathwayConfig()}), arguments
    raise ConfigError(f"train what? name a preset ({', '.join(preset_names())}) or --config FILE")


def check_place(word: str) -> None:
    """Raise ConfigError for a first word that is neither a preset nor a place; empty: none was given."""
    if word and "://" not in word and not Path(word).expanduser().exists():
        raise ConfigError(
            f"unknown preset {word!r}, and no file or folder of that name{did_you_mean(word, preset_names())}"
        )


def check_root(base: RunConfig, arguments: list[str]) -> None:
    """Raise ConfigError where a root is named for a preset of generated data, with what reads it."""
    root = value_of(arguments, "data.root")
    if not base.data.is_generated or not root or named_in(arguments, "data.source"):
        return
    try:
        with_values(base.data, {"root": root})
    except ConfigError as error:
        from raytrain.training.opening import explained

        raise explained(base, root, error) from None


def parse(verb: str, kind: Any, arguments: list[str], default: Any, *, known: set[str]) -> Any:
    """Parse with tyro; wrong settings become a ConfigError of one line with a suggestion."""
    wants_help = any(word in ("-h", "--help") for word in arguments)
    for word in arguments:
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if word.startswith("--") and not wants_help and known and name not in known:
            raise ConfigError(f"unknown setting --{name}{_nearest(verb, name, known)}")
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


def _nearest(verb: str, name: str, known: set[str]) -> str:
    """Return the setting that was meant, all where they are few, or what shows all."""
    said = did_you_mean(name, known)
    many = said.startswith("; known") and len(known) > _FEW
    return f"; `raytrain {verb.split()[0]} --help` shows all" if many else said


def _one_line(text: str) -> str:
    """Return what tyro's box says, without the box."""
    # What follows goes over several lines in a narrow terminal.
    words = re.sub(r"[^\x20-\x7e\n]", " ", text).partition("For full helptext")[0]
    lines = [line.strip() for line in words.splitlines()]
    kept = [line for line in lines if line and not re.match(r"(-+$|Parsing error)", line)]
    if len(kept) > 1 and kept[1].startswith(kept[0]):  # the title of the box, said again in it
        kept = kept[1:]
    return " ".join(kept) or "wrong arguments; see --help"


def flag_names(command: Any) -> set[str]:
    """Return the names of all flags of a command, a dataclass instance, dots between levels."""
    return {"help"} | _names(command)


def _names(settings: Any) -> set[str]:
    names = set()
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        prefix = "" if item.name == "settings" else f"{item.name}."
        if dataclasses.is_dataclass(value):
            names |= {f"{prefix}{name}" for name in _names(value)}
        elif isinstance(value, dict):
            names |= {f"{item.name}.{key}.{name}" for key, inner in value.items() for name in _names(inner)}
        else:
            names.add(item.name)
    return names
