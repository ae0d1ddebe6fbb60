"""Where what was made once is kept between two commands."""

import os
from pathlib import Path

VARIABLE = "RAYTRAIN_CACHE"


def cache_folder() -> Path | None:
    """Return $RAYTRAIN_CACHE, else ~/.cache/raytrain; None: RAYTRAIN_CACHE=off, nothing is kept."""
    variable = os.environ.get(VARIABLE, "")
    return None if variable == "off" else Path(variable or "~/.cache/raytrain").expanduser().absolute()
