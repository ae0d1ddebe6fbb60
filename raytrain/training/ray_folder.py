"""Where Ray keeps the files of a cluster that is started here, by a path that its sockets can have."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LONGEST = 40
"""characters of the folder: a socket's path has 107 at most, of which Ray's own part takes 67"""
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")


def temporary_folder() -> str:
    """Return the folder in which Ray makes its own, as Ray finds it."""
    on_linux = os.environ.get("TMPDIR") if sys.platform.startswith("linux") else None
    return os.environ.get("RAY_TMPDIR") or on_linux or "/tmp"


@contextlib.contextmanager
def short_path() -> Iterator[str]:
    """Give another, short path to Ray's folder where its own is too long for sockets; empty: it is not.

    The files stay where TMPDIR says. The other path is a link in a folder of this process alone, which ends
    with it.
    """
    folder = Path(temporary_folder()).absolute() / "ray"
    if len(os.fsencode(folder)) <= _LONGEST:
        yield ""
        return
    folder.mkdir(parents=True, exist_ok=True)
    own = _private_folder()
    link = Path(own, "ray")
    link.symlink_to(folder)
    try:
        yield str(link)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _private_folder() -> str:
    """Return a new folder with a short name that only this user may enter."""
    for place in _SHORT:
        with contextlib.suppress(OSError):
            return tempfile.mkdtemp(prefix="rt", dir=place)
    return tempfile.mkdtemp(prefix="rt")
