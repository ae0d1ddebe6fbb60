"""Every thing with a name has a line that says what it is for, where it gets its name."""

import importlib
import inspect
import os
import subprocess
import sys
import textwrap
import typing
from collections.abc import Mapping
from typing import Any

import pytest

from pipelines.modalities import MODALITIES
from pipelines.sources import SOURCES
from pipelines.views.operators import OPERATORS
from pipelines.views.operators.events import EVENT_OPERATORS
from raytrain import api
from raytrain.catalogue import KINDS
from raytrain.cli import main
from raytrain.config import ObjectiveConfig, preset_names
from raytrain.config.cuts import CutConfig
from raytrain.config.encoders import EncoderConfig
from raytrain.config.operators import AnyOperatorConfig, PlainEventsConfig
from raytrain.config.stems import NoStemConfig, StemConfig
from raytrain.encoders import ENCODERS
from raytrain.evaluation.protocols import PROTOCOLS
from raytrain.objectives import OBJECTIVES
from raytrain.stems import STEMS

SETTINGS = {
    "operators": AnyOperatorConfig,
    "stems": StemConfig,
    "cuts": CutConfig,
    "encoders": EncoderConfig,
    "objectives": ObjectiveConfig,
}
REGISTERED: dict[str, Mapping[str, Any] | list[str]] = {
    "presets": preset_names(),
    "sources": SOURCES,
    "operators": {**OPERATORS, **EVENT_OPERATORS, PlainEventsConfig.name: PlainEventsConfig},
    "stems": {**STEMS, NoStemConfig.name: NoStemConfig},
    "cuts": {kind.name: kind for kind in typing.get_args(CutConfig)},
    "encoders": ENCODERS,
    "objectives": OBJECTIVES,
    "protocols": PROTOCOLS,
    "modalities": MODALITIES,
}
LINES = [(kind, name, line) for kind, items in api.listing().items() for name, line in items.items()]


def docstrings(kind: str, name: str) -> set[str]:
    """The first lines of the docstrings of a thing, of its settings and of its module."""
    registered = REGISTERED[kind]
    made = registered[name] if isinstance(registered, Mapping) else None
    settings = [one for one in typing.get_args(SETTINGS.get(kind)) if one.name == name]
    module = importlib.import_module(f"pipelines.sources.{name}") if kind == "sources" else None
    makers = [made, type(made), inspect.getmodule(made), module, *settings]
    return {(one.__doc__ or "").strip().partition("\n")[0].rstrip(".") for one in makers if one is not None}


def test_all_that_is_registered_is_listed() -> None:
    assert list(KINDS) == list(REGISTERED)
    for kind, registered in REGISTERED.items():
        assert sorted(api.listing(kind)[kind]) == sorted(registered)


@pytest.mark.parametrize(("kind", "name", "line"), LINES, ids=[f"{kind}-{name}" for kind, name, _ in LINES])
def test_a_line_says_what_a_thing_is_for_and_is_no_docstring(kind: str, name: str, line: str) -> None:
    assert 40 <= len(line) <= 100
    assert line.isascii()
    assert "\n" not in line
    assert line[0].isupper()
    assert not line.startswith("Return")
    # For what or when, behind what it is: two parts.
    assert any(sign in line for sign in (";", ":", ",")), "says what, but not when"
    assert line.rstrip(".") not in docstrings(kind, name)


def test_no_two_things_of_a_kind_have_the_same_line() -> None:
    for items in api.listing().values():
        assert len(set(items.values())) == len(items)


@pytest.mark.parametrize("columns", [80, 120])
def test_names_and_lines_stand_in_two_columns(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["list"]) == 0
    groups = capsys.readouterr().out.split("\n\n")
    assert len(groups) == len(KINDS)
    for group, (kind, items) in zip(groups, api.listing().items(), strict=True):
        head, *rows = group.rstrip("\n").split("\n")
        assert head == f"{kind}: {KINDS[kind].says}"
        assert max(map(len, [head, *rows])) <= columns
        column = 4 + max(map(len, items))
        assert {row[column - 2 : column] for row in rows} == {"  "}
        assert all(row[column] != " " for row in rows)
        assert [row[:column].strip() for row in rows if row[:column].strip()] == list(items)
        assert textwrap.dedent("\n".join(row[column:] for row in rows)).split() == [
            word for line in items.values() for word in line.split()
        ]


@pytest.mark.slow
def test_where_nobody_reads_along_a_thing_is_one_line() -> None:
    """Without docstrings too."""
    command = [sys.executable, "-OO", "-m", "raytrain", "list"]
    plain = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    run = subprocess.run(
        command, env=plain, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    said = run.stdout.splitlines()
    for _, name, line in LINES:
        assert any(row.split() == [name, *line.split()] for row in said)
