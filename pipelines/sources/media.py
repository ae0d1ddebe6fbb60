"""The files of a root by their kind: which of them are samples, and which kind comes first."""

from collections import Counter
from collections.abc import Iterable

from pipelines.forms.media import MEDIA, Medium, extension, is_hidden
from pipelines.storage.listing import FileInfo
from pipelines.storage.places import Storage

_MOST_FOLDERS = 1000


def split_by_medium(found: Iterable[FileInfo], medium: Medium) -> tuple[list[FileInfo], list[FileInfo]]:
    """Return the files of a medium and the others, without what file managers leave behind."""
    chosen: list[FileInfo] = []
    others: list[FileInfo] = []
    for file in found:
        if not is_hidden(file.path):
            (chosen if medium.holds(file.path) else others).append(file)
    return chosen, others


def first_medium(storage: Storage, media: tuple[Medium, ...] = MEDIA) -> str:
    """Return the path of the first file of the media below the root, in the order of names; empty: none seen.

    Folder by folder, so that a large data set is not listed for it.
    """
    waiting = [""]
    for _ in range(_MOST_FOLDERS):
        if not waiting:
            break
        folder = waiting.pop()
        for file in storage.list_files(folder, recursive=False):
            if any(medium.holds(file.path) for medium in media) and not is_hidden(file.path):
                return file.path
        waiting += [name for name in reversed(storage.list_folders(folder)) if not is_hidden(name)]
    return ""


def describe(files: list[FileInfo]) -> str:
    """Say what a folder holds instead, e.g. `found 12 files: 10 .txt, 2 .csv`."""
    if not files:
        return "the folder is empty"
    kinds = Counter(extension(file.path) or "without extension" for file in files)
    shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6))
    return f"found {len(files)} files: {shown}"
