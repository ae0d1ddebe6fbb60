"""Binary files of equal records, each an image with or without a label byte before it, read by offset."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.quarantine import BadSample
from pipelines.sources.samples import Sample
from pipelines.storage.places import Storage
from pipelines.storage.raw import RawLayout
from raytrain.errors import DataError


def find_base(storage: Storage, bases: tuple[str, ...], names: tuple[str, ...]) -> str | None:
    """Return the first of the folders that holds one of the files; None: none does."""
    for base in bases:
        if any(storage.exists(join(base, name)) for name in names):
            return base
    return None


def join(base: str, name: str) -> str:
    """Return a path below a folder, which may be the root ("")."""
    return f"{base}/{name}" if base else name


def file_sizes(storage: Storage, base: str) -> dict[str, int]:
    """Return the bytes of every file that lies directly in a folder, by its name."""
    return {file.path.rpartition("/")[2]: file.size for file in storage.list_files(base, recursive=False)}


def count_records(storage: Storage, path: str, *, size: int, record_bytes: int, what: str) -> int:
    """Return how many records a file of `size` bytes holds.

    Raises:
        DataError: the file ends within a record, or is empty.
    """
    count, rest = divmod(size, record_bytes)
    if rest or not count:
        raise DataError(
            f"{storage.root}/{path}: {size} bytes are no whole number of records of {record_bytes} bytes "
            f"({what}); the file is cut off, download it again"
        )
    return count


def peek(storage: Storage, path: str) -> bytes:
    """Return the bytes of a file that may be a list; empty where it cannot be read."""
    try:
        return storage.read_bytes(path)
    except BadSample:
        return b""


def read_file(storage: Storage, path: str) -> bytes:
    """Return the bytes of a list or label file, which is one of those that tell of the samples from then on.

    Raises:
        DataError: it is missing or may not be read.
    """
    storage.lists.add(path)
    try:
        return storage.read_bytes(path)
    except BadSample as bad:
        raise DataError(f"{storage.root}/{path}: {bad.reason}; restore it") from None


def record_samples(
    path: str,
    labels: NDArray[np.int64],
    *,
    split: str,
    layout: RawLayout,
    label_bytes: int = 0,
) -> Iterator[Sample]:
    """Yield the samples of a file, labels i64[N]; keys are the file's name and the number in it."""
    stem = path.rpartition("/")[2].removesuffix(".bin")
    record_bytes = layout.num_bytes + label_bytes
    for number, label in enumerate(labels.tolist()):
        yield Sample(
            key=f"{stem}/{number:06d}",
            uri=path,
            size=layout.num_bytes,
            split=split,
            label=label,
            offset=number * record_bytes + label_bytes,
            payload=str(layout),
        )


def check_labels(labels: NDArray[np.int64], num_classes: int, where: str, first: int = 0) -> None:
    """Raise DataError where a label is outside 0 .. num_classes - 1; `first` is added in the message."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise DataError(
            f"{where}: label {int(labels[wrong[0]]) + first} of image {int(wrong[0])} is outside "
            f"{first}..{num_classes - 1 + first}; not this data set, or damaged: download it again"
        )


def class_names(storage: Storage, path: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines of a file of class names; the default where there is no such file.

    Raises:
        DataError: it holds another number of names, or no text.
    """
    if not storage.exists(path):
        return default
    try:
        lines = read_file(storage, path).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise DataError(f"{storage.root}/{path}: not text; restore it or remove it") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != len(default) or len(set(names)) != len(names):
        raise DataError(
            f"{storage.root}/{path}: {len(set(names))} class names, expected {len(default)}; restore it or "
            "remove it"
        )
    return names
