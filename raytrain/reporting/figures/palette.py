"""The colours of all figures: one a pathway everywhere, told apart by the colour-blind, on light and dark.

A figure is drawn in the light colours; the page replaces each by a variable of its theme. Pathways differ by
marker too. Begun from M. Okabe and K. Ito, "Color Universal Design" (2008), then moved until the contrast
with the ground is 3 to 1 or more and colours stay apart under simulated protanopia and deuteranopia.
"""

from collections.abc import Sequence
from dataclasses import dataclass

INK, MUTED, GRID, GROUND = "#1c2126", "#5a636e", "#d5dae0", "#fefefe"
GOOD, BAD = "#00795a", "#b8461e"
_NEUTRAL = {
    "ink": (INK, "#e8eaed"),
    "muted": (MUTED, "#9aa4b0"),
    "grid": (GRID, "#343b44"),
    "ground": (GROUND, "#15191e"),
    "good": (GOOD, "#3ecf9f"),
    "bad": (BAD, "#ff9466"),
}
_PATHWAYS = (
    ("#067fca", "#5cd2fb"),
    ("#d55e00", "#ff8b3d"),
    ("#009a67", "#71d99d"),
    ("#85407b", "#dd78b0"),
    ("#5c5a00", "#f2d030"),
    ("#3f4fb5", "#98a6ff"),
    ("#6d4c41", "#a78d6d"),
)
# Of recordings, on dark ground in both themes: few bright points are seen best so.
RECORDING_GROUND, RECORDING_GAP = _NEUTRAL["ground"][1], _NEUTRAL["grid"][1]
BRIGHTER, DARKER = _PATHWAYS[1][1], _PATHWAYS[0][1]
_MARKERS = "os^DvPX"
_CLASSES = (
    ("#332288", "#a99bf0"),
    ("#ab8a1e", "#dab73e"),
    ("#701c4a", "#d96291"),
    ("#2e9586", "#9be6e3"),
    ("#0f5f31", "#66c985"),
    ("#bb5566", "#f99cae"),
    ("#4477aa", "#b8caf6"),
    ("#719254", "#cfb262"),
)
_CLASS_MARKERS = "o^sDvPX*"


@dataclass(frozen=True)
class Style:
    """How a pathway or class is drawn."""

    colour: str
    marker: str


def pathway_styles(pathways: Sequence[str]) -> dict[str, Style]:
    """Return each pathway's style, by its place in the settings."""
    return {
        name: Style(_PATHWAYS[number % len(_PATHWAYS)][0], _MARKERS[number % len(_MARKERS)])
        for number, name in enumerate(pathways)
    }


JOINED = Style(INK, "o")


def style_of(pathways: Sequence[str], styles: dict[str, Style]) -> Style:
    """Return the style of a representation: a pathway's own, or the joined one's."""
    return styles.get(pathways[0], JOINED) if len(pathways) == 1 else JOINED


def class_styles(classes: Sequence[int]) -> dict[int, Style]:
    """Return a style for each chosen class."""
    return {
        number: Style(_CLASSES[place % len(_CLASSES)][0], _CLASS_MARKERS[place % len(_CLASS_MARKERS)])
        for place, number in enumerate(classes)
    }


def variables() -> dict[str, tuple[str, str]]:
    """Return each variable of the page with its light and its dark colour."""
    return {
        **_NEUTRAL,
        **{f"pathway{number}": pair for number, pair in enumerate(_PATHWAYS)},
        **{f"class{number}": pair for number, pair in enumerate(_CLASSES)},
    }
