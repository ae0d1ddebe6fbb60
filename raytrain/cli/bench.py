"""The verbs `bench` and `list`."""

import shutil
import textwrap
from dataclasses import dataclass
from typing import Annotated

import tyro

from raytrain.cli.parse import parse

_NO_TERMINAL = 10_000
"""columns where nobody reads along: a line a thing, for other programs"""
_NARROWEST = 30
"""columns that are left for the text beside the names"""


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
    """Print what there is, and what each is for."""

    kind: Annotated[str, tyro.conf.Positional] = ""
    """presets, sources, operators, stems, cuts, encoders, objectives, protocols, modalities; cache: what was
    trained before"""


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
    from raytrain.catalogue import kinds

    width = shutil.get_terminal_size((_NO_TERMINAL, 0)).columns
    texts = [
        f"{kind}: {kinds(kind)[kind].says}\n{_aligned(lines, width)}"
        for kind, lines in api.listing(command.kind).items()
    ]
    print("\n\n".join(texts))
    return 0


def _aligned(lines: dict[str, str], width: int) -> str:
    """Return names and what is said of them in two columns; what is longer than a line goes on below it."""
    column = max(map(len, lines)) + 4
    return "\n".join(
        textwrap.fill(
            line,
            max(width, column + _NARROWEST),
            initial_indent=f"  {name:<{column - 2}}",
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
        for name, line in lines.items()
    )
