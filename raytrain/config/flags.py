"""Settings by their dotted names, e.g. `data.events.sensor_width`: changed, compared, written as flags."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

S = TypeVar("S")


def with_values(settings: S, values: Mapping[str, Any]) -> S:
    """Return settings, a dataclass, with some values by their dotted names."""
    own: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        first, dot, rest = name.partition(".")
        if dot:
            inner.setdefault(first, {})[rest] = value
        else:
            own[first] = value
    own |= {name: with_values(getattr(settings, name), below) for name, below in inner.items()}
    return dataclasses.replace(settings, **own)  # type: ignore[type-var]


def differing(settings: Any, base: Any, path: str = "") -> dict[str, Any]:
    """Return the values that differ from those of a base of the same kind, by their dotted names."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        name = f"{path}.{field.name}" if path else field.name
        value, other = getattr(settings, field.name), getattr(base, field.name)
        if dataclasses.is_dataclass(value):
            found |= differing(value, other, name)
        elif value != other:
            found[name] = value
    return found


def as_flags(values: Mapping[str, Any]) -> str:
    """Return values as the flags of a command line that a shell takes as they are."""
    return " ".join(_flag(name.replace("_", "-"), str(value)) for name, value in values.items())


def _flag(name: str, value: str) -> str:
    # A value that looks like a flag, or like nothing, is bound to its name.
    if value.startswith("-") or not value:
        return f"--{name}={shlex.quote(value)}"
    return f"--{name} {shlex.quote(value)}"


def named_in(arguments: Sequence[str], name: str) -> bool:
    """Return whether the arguments set a setting, e.g. `data.root`, by its flag."""
    return any(word.partition("=")[0] == f"--{name}" for word in arguments)


def value_of(arguments: Sequence[str], name: str) -> str:
    """Return what the arguments set a setting to; empty: nothing."""
    for word, after in pairwise([*arguments, ""]):
        flag, equals, value = word.partition("=")
        if flag == f"--{name}":
            return value if equals else after
    return ""
