"""The errors a user may meet; each one knows the exit code that `raytrain` ends with."""

import difflib
import os
import sys
from collections.abc import Iterable


class RaytrainError(Exception):
    """A failure with a message for the user, one line: what happened, where, and what to do next."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        # Names of files and columns may hold line breaks.
        super().__init__(message.replace("\r", "\\r").replace("\n", "\\n"))


class ConfigError(RaytrainError):
    """A wrong call or setting."""

    exit_code = 2


class DataError(RaytrainError):
    """Data that is missing, unreadable, or not what the settings say."""

    exit_code = 3


class DivergedError(RaytrainError):
    """A loss or gradient that is not finite; the last good checkpoint is kept."""

    exit_code = 4


class ClusterError(RaytrainError):
    """A Ray cluster that is unreachable, too small, or failed for good."""

    exit_code = 5


class StorageError(RaytrainError):
    """A read or write that failed: disk full, permissions, time-outs."""

    exit_code = 6


class Interrupted(RaytrainError):  # noqa: N818 - a wish that was granted, no fault
    """Stopped by a signal, after a checkpoint."""

    exit_code = 130


ERRORS: dict[str, type[RaytrainError]] = {
    kind.__name__: kind
    for kind in (
        RaytrainError,
        ConfigError,
        DataError,
        DivergedError,
        ClusterError,
        StorageError,
        Interrupted,
    )
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, else what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}"


def why_no_text(name: str) -> str:
    """Say which name of a file is no text, by its bytes or by this process's locale; empty: it is text."""
    try:
        name.encode()
        return ""
    except UnicodeEncodeError:
        found = os.fsencode(name)
    try:
        text = found.decode()
    except UnicodeDecodeError:
        return f"{name!r} is not UTF-8; rename it"
    return (
        f"{text!a} cannot be shown in this locale, whose encoding is {sys.getfilesystemencoding()}; set "
        "LC_ALL=C.UTF-8 and unset PYTHONUTF8"
    )


def describe(error: BaseException) -> tuple[str, str]:
    """Return (kind, message) of the cause that a user should read, Ray's wrapping taken off."""
    open_causes, seen = [error], 0
    while open_causes and seen < 20:
        cause, seen = open_causes.pop(0), seen + 1
        inner = getattr(cause, "cause", None)  # Ray's wrapper has its cause's class too
        if isinstance(cause, RaytrainError) and not isinstance(inner, BaseException):
            return type(cause).__name__, str(cause)
        links = (inner, cause.__cause__, cause.__context__)
        open_causes += [link for link in links if isinstance(link, BaseException)]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ClusterError.__name__, f"{type(error).__name__}: {lines[-1] if lines else 'no message'}"


def raise_described(error: tuple[str, str]) -> None:
    """Raise the error that `describe` has put into words."""
    raise ERRORS.get(error[0], ClusterError)(error[1])
