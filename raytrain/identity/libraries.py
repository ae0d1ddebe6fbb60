"""Versions of the libraries that code imports, as installed: what is absent decides something too."""

import functools
import sys
from collections.abc import Iterable
from importlib import metadata

PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn", "skimage": "scikit-image", "pywt": "PyWavelets"}
"""import -> package, where they are called differently"""
CARRIERS = frozenset({"pyarrow", "ray", "safetensors"})
"""libraries that bring values from one place to another bit by bit: a newer one makes no other result"""


def versions(imports: Iterable[str]) -> dict[str, str]:
    """Return the version of each imported library by package, "none" where it is absent, and of Python."""
    found = {PACKAGES.get(name, name): "" for name in imports if name not in CARRIERS}
    python = ".".join(map(str, sys.version_info[:2]))
    return {"python": python} | {package: version(package) for package in sorted(found)}


@functools.cache
def version(package: str) -> str:
    """Return the installed version of a package; "none" where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
