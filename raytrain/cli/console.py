"""Where the verbs say how they get on."""

import sys
from pathlib import Path

from rich.console import Console

from raytrain.training.paths import REPORT


def output_console() -> Console:
    """Return a console as wide as the terminal; wide enough for a line of progress where there is none."""
    return Console(width=None if sys.stdout.isatty() else 200)


def say_report(folder: Path) -> None:
    """Say where the report lies, if there is one."""
    if (folder / REPORT).exists():
        print(f"report: {folder / REPORT}")
