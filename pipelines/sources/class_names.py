"""Names of classes that look alike: copies from different systems write letters differently."""

import unicodedata
from collections.abc import Callable, Iterable

from raytrain.errors import DataError


def check_apart(classes: Iterable[str], where: str) -> tuple[str, ...]:
    """Return notes of classes that differ in case alone.

    Raises:
        DataError: names of two classes look the same.
    """
    names = tuple(classes)
    for one, other, *_ in _alike(names, lambda name: unicodedata.normalize("NFC", name).strip()):
        raise DataError(f"{where}: the classes {one!a} and {other!a} look the same and are two; merge them")
    return tuple(
        f"the classes {' and '.join(alike)} differ in case alone; each is a class"
        for alike in _alike(names, str.casefold)
    )


def _alike(names: tuple[str, ...], told_by: Callable[[str], str]) -> list[list[str]]:
    """Return the groups of two or more names that are the same as `told_by` sees them."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(told_by(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]
