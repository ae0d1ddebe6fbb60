"""Read settings from TOML without mercy, and write them back so that they load again."""

import contextlib
import dataclasses
import json
import tomllib
import types
import typing
from importlib import resources
from pathlib import Path
from typing import Any

from raytrain.config.run import RunConfig
from raytrain.errors import ConfigError, did_you_mean

PRESETS = "raytrain.presets"


def preset_names() -> list[str]:
    """Return the names of the presets that ship with raytrain."""
    return sorted(p.name[:-5] for p in resources.files(PRESETS).iterdir() if p.name.endswith(".toml"))


def presets_taking(modality: str) -> list[str]:
    """Return the names of the presets whose samples are of a kind."""
    return [name for name in preset_names() if load_preset(name).modality == modality]


def load_preset(name: str) -> RunConfig:
    """Return a preset's settings.

    Raises:
        ConfigError: no preset of that name.
    """
    if name not in preset_names():
        raise ConfigError(f"unknown preset {name!r}{did_you_mean(name, preset_names())}")
    text = resources.files(PRESETS).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return from_mapping({"preset": name, **tomllib.loads(text)}, where=f"{name}.toml")


def load_toml(path: Path) -> RunConfig:
    """Return the settings of a TOML file.

    Raises:
        ConfigError: the file is missing, no TOML, or holds an unknown or wrong setting.
    """
    try:
        return from_mapping(tomllib.loads(path.read_text(encoding="utf-8")), where=path.name)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such settings file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def from_mapping(values: dict[str, Any], *, where: str = "settings") -> RunConfig:
    """Build a RunConfig from nested plain values; unknown keys are errors with a suggestion."""
    config = _convert(RunConfig, values, where, "")
    assert isinstance(config, RunConfig)
    return config


def settings_of(kind: Any, values: Any, *, where: str, path: str) -> Any:
    """Build one part of the settings, e.g. an `OperatorConfig`, from plain values, as strictly."""
    return _convert(kind, values, where, path)


def _convert(kind: Any, value: Any, where: str, path: str) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _convert_dataclass(kind, value, where, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{where}: {path} is {value!r}{did_you_mean(str(value), map(str, arguments))}")
        return value
    if origin in (typing.Union, types.UnionType):
        if not dataclasses.is_dataclass(arguments[0]):
            return _convert_scalar(arguments, value, where, path)
        return _convert_dataclass(_choose(arguments, value, where, path), value, where, path)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {path} must be a table")
        return {key: _convert(arguments[1], item, where, f"{path}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: {path} is {value!r}; it must be of type {kind.__name__}")
    return value


def _convert_scalar(kinds: tuple[Any, ...], value: Any, where: str, path: str) -> Any:
    """Return a value of one of several plain kinds, e.g. "auto" or a number."""
    for kind in kinds:
        with contextlib.suppress(ConfigError):
            return _convert(kind, value, where, path)
    options = (" or ".join(map(repr, typing.get_args(kind))) or f"of type {kind.__name__}" for kind in kinds)
    raise ConfigError(f"{where}: {path} is {value!r}; it must be {' or '.join(options)}")


def _convert_dataclass(kind: Any, value: Any, where: str, path: str) -> Any:
    if isinstance(value, str) and any(field.name == "name" for field in dataclasses.fields(kind)):
        value = {"name": value}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {path or 'the file'} must be a table")
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            full = f"{path}.{key}" if path else key
            raise ConfigError(f"{where}: unknown setting {full}{did_you_mean(key, hints)}")
    converted = {
        key: _convert(hints[key], item, where, f"{path}.{key}" if path else key)
        for key, item in value.items()
    }
    try:
        return kind(**converted)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _choose(kinds: tuple[Any, ...], value: Any, where: str, path: str) -> Any:
    """Pick the member of a union by its `name`; without one the first, where it has all that is set."""
    name = value if isinstance(value, str) else value.get("name") if isinstance(value, dict) else None
    if isinstance(value, dict) and name is None and value.keys() <= typing.get_type_hints(kinds[0]).keys():
        return kinds[0]
    known = {kind.__dataclass_fields__["name"].default: kind for kind in kinds}
    if name not in known:
        raise ConfigError(f"{where}: {path}.name is {name!r}{did_you_mean(str(name), known)}")
    return known[name]


def to_toml(config: RunConfig) -> str:
    """Return the settings as TOML that `load_toml` reads back equal."""
    return "\n".join(_lines(dataclasses.asdict(config), "")) + "\n"


def _lines(table: dict[str, Any], path: str) -> list[str]:
    lines = [f"{key} = {_scalar(item)}" for key, item in table.items() if not isinstance(item, dict)]
    for key, item in table.items():
        if isinstance(item, dict):
            full = f"{path}.{key}" if path else key
            lines += ["", f"[{full}]", *_lines(item, full)]
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
