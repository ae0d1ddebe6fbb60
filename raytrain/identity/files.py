"""Settings that name a file: what counts is what lies in it, not what it is called."""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMING_FILES = ("encoder.pretrained",)
"""settings of a pathway whose value is a path; those of the data act through its fingerprint"""
MISSING = "missing"


def contents(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the sha256 of each file that settings name, MISSING where it cannot be read."""
    named = {name: settings[name] for name in NAMING_FILES if settings.get(name)}
    return {name: contents_of(Path(path)) for name, path in named.items()}


def contents_of(path: Path) -> str:
    """Return the sha256 of a file, read again where its time or size has changed; MISSING without one."""
    try:
        stat = path.stat()
        return _sha256(path.absolute(), stat.st_mtime_ns, stat.st_size)
    except OSError:
        return MISSING


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
