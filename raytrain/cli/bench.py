"""The verbs `bench` and `list`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from raytrain.cli.parse import parse


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """Measure, as ratios against a plain form in the same process."""

    name: Annotated[str, tyro.conf.Positional]
    device: str = "cpu"
    repeats: int = 5
    out: str = ""
    """folder for the plot of `bench locality`"""
    root: str = ""
    """image files for `bench loaders`, in place of generated ones"""


@dataclass(frozen=True, kw_only=True)
class ListCommand:
    """Print what there is."""

    kind: Annotated[str, tyro.conf.Positional] = ""


def bench(arguments: list[str]) -> int:
    """Run the verb `bench`."""
    command = parse("bench", BenchCommand, arguments, None, known={"device", "repeats", "out", "root"})
    from raytrain import api

    settings = {name: getattr(command, name) for name in ("device", "repeats", "out", "root")}
    for row in api.bench(command.name, **settings):
        against = row.get("against", "")
        against = f"{against:.4g}" if isinstance(against, float) else against
        ratio = "" if row.get("ratio") is None else f"{row['ratio']:.3g} x {against}"
        bound = "" if row.get("bound") is None else f"bound {row['bound']}"
        print(f"{row['name']:<44} {row['value']:>12.5g} {row['unit']:<14} {ratio}  {bound}".rstrip())
    return 0


def list_(arguments: list[str]) -> int:
    """Run the verb `list`."""
    command = parse("list", ListCommand, arguments, None, known=set())
    from raytrain import api

    for kind, items in api.listing(command.kind).items():
        print(f"{kind}:")
        for name, line in items.items():
            print(f"  {name:<16} {line}")
    return 0
