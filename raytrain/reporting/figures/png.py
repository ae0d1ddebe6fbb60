"""Saving a figure: names in it are text and no mathematics, and what a font lacks is said once."""

import io
import sys
import warnings
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

_GLYPH = "Glyph"
_said: list[bool] = []


def save(figure: Figure, target: Any, **options: Any) -> None:
    """Save a figure; a `$` in a name is a dollar sign, see matplotlib's mathtext.

    Where the font has no glyph for a letter, boxes are drawn for it, and a line says so, once a process.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with (
        mpl.rc_context({"text.parse_math": False}),  # of texts that are made while it is drawn
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        figure.savefig(target, **options)
    for warning in caught:
        if not str(warning.message).startswith(_GLYPH):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif not _said:
            _said.append(True)
            sys.stderr.write(
                "WARNING: the figures' font lacks letters of some names and draws boxes (in PNG only; a "
                "browser shows them in report.html)\n"
            )


def png_bytes(figure: Figure, *, dpi: float) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    save(figure, buffer, format="png", dpi=dpi)
    return buffer.getvalue()
