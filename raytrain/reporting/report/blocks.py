"""What a page is made of; the template knows how each kind is written."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias, Union

from raytrain.reporting.figures.canvas import Drawing


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Missing:
    """A part that this run does not have: what, and how to get it."""

    text: str
    kind: str = "missing"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the first column names the row, the others are figures unless `words`."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False
    groups: Sequence[tuple[str, int]] = ()
    """heading and number of rows that stand under it, one after the other; empty: no headings"""
    kind: str = "table"

    @property
    def bodies(self) -> list[tuple[str, Sequence[Sequence[str]]]]:
        """The rows under each heading."""
        ends = accumulate(count for _, count in self.groups)
        return [
            (title, self.rows[end - count : end])
            for (title, count), end in zip(self.groups, ends, strict=True)
        ] or [("", self.rows)]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Terms and what they are."""

    facts: Sequence[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures side by side, as many as fit; `wide` ones keep their size and scroll on a small screen."""

    drawings: Sequence[Drawing]
    caption: str = ""
    wide: bool = False
    roomy: bool = False
    """two in a row at most"""
    kind: str = "figures"


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A figure with blocks at its side where there is room."""

    drawing: Drawing
    blocks: Sequence["Block"]
    kind: str = "beside"


@dataclass(frozen=True, kw_only=True)
class Image:
    """A picture on white ground."""

    source: str
    """data URI"""
    alt: str
    caption: str
    width_px: int
    kind: str = "image"


@dataclass(frozen=True, kw_only=True)
class Moving:
    """A picture that moves, and what stands in its place where nothing shall move, and on paper."""

    source: str
    """data URI"""
    still: str
    """data URI"""
    alt: str
    caption: str
    width_px: int
    height_px: int
    kind: str = "moving"


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """Blocks of which one choice is shown at a time."""

    legend: str
    choices: Sequence[tuple[str, Sequence["Block"]]]
    kind: str = "chooser"


@dataclass(frozen=True, kw_only=True)
class Folded:
    """Blocks that are shown on request."""

    title: str
    blocks: Sequence["Block"]
    kind: str = "folded"


@dataclass(frozen=True, kw_only=True)
class Links:
    """Relative links to files beside the page."""

    links: Sequence[tuple[str, str]]
    kind: str = "links"


@dataclass(frozen=True, kw_only=True)
class Code:
    """Text as it stands in a file."""

    text: str
    kind: str = "code"


Block: TypeAlias = Union[  # noqa: UP007 - it names classes by strings
    Text, Missing, Table, Facts, Figures, Beside, Image, Moving, Chooser, Folded, Links, Code
]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page with a heading, reachable from the table of contents."""

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole page; `lead` sentences come first, warnings with them."""

    title: str
    subtitle: str
    lead: Sequence[str]
    warnings: Sequence[str]
    hero: Sequence[Drawing]
    sections: Sequence[Section]
    stamp: str


def drawings_of(blocks: Sequence[Block]) -> list[Drawing]:
    """Return all figures in some blocks."""
    found: list[Drawing] = []
    for block in blocks:
        if isinstance(block, Figures):
            found += block.drawings
        elif isinstance(block, Beside):
            found += [block.drawing, *drawings_of(block.blocks)]
        elif isinstance(block, Chooser):
            for _, inner in block.choices:
                found += drawings_of(inner)
        elif isinstance(block, Folded):
            found += drawings_of(block.blocks)
    return found
