"""The files of a root by their kind: which of them are samples, and which kind comes first."""

from collections.abc import Iterable

from pipelines.forms.media import MEDIA, Medium, is_hidden
from pipelines.sources.left_out import by_suffix
from pipelines.sources.own_folders import is_own, own_folders
from pipelines.storage.listing import FileInfo
from pipelines.storage.places import Storage

_MOST_FOLDERS = 1000


def split_by_medium(found: Iterable[FileInfo], medium: Medium) -> tuple[list[FileInfo], list[FileInfo]]:
    """Return the files of a medium and the others, without what programs leave behind, ours too."""
    files = [file for file in found if not is_hidden(file.path)]
    written = own_folders(files)
    chosen: list[FileInfo] = []
    others: list[FileInfo] = []
    for file in files:
        if not (written and file.path.startswith(written)):
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
        files = list(storage.list_files(folder, recursive=False))
        if folder and is_own({file.path.rpartition("/")[2] for file in files}):
            continue
        for file in files:
            if any(medium.holds(file.path) for medium in media) and not is_hidden(file.path):
                return file.path
        waiting += [name for name in reversed(storage.list_folders(folder)) if not is_hidden(name)]
    return ""


def describe(files: list[FileInfo]) -> str:
    """Say what a folder holds instead, e.g. `found 12 files: 10 .txt, 2 .csv`."""
    if not files:
        return "the folder is empty"
    return f"found {len(files)} file{'s' if len(files) > 1 else ''}: {by_suffix(files)}"
