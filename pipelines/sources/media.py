"""The files of a root by their kind: which of them are samples, and which kind comes first."""

from collections import Counter
from collections.abc import Iterable

from pipelines.forms.media import MEDIA, Medium, extension, is_hidden
from pipelines.storage.listing import FileInfo
from pipelines.storage.places import Storage

_MOST_FOLDERS = 1000
_SHOWN = 6
_RUN_FILES = {"config.toml", "counters.json"}


def split_by_medium(found: Iterable[FileInfo], medium: Medium) -> tuple[list[FileInfo], list[FileInfo]]:
    """Return the files of a medium and the others, without what programs leave behind, ours too."""
    files = [file for file in found if not is_hidden(file.path)]
    written = _run_folders(files)
    chosen: list[FileInfo] = []
    others: list[FileInfo] = []
    for file in files:
        if not (written and file.path.startswith(written)):
            (chosen if medium.holds(file.path) else others).append(file)
    return chosen, others


def left_out(num_read: int, others: list[FileInfo]) -> tuple[str, ...]:
    """Return the note of what lies below a root and is no sample; without such files, none."""
    if not others:
        return ()
    says = "more is left out than read" if len(others) > num_read else "left out"
    return (f"{says}: {_by_suffix(others)} beside {num_read} samples, e.g. {others[0].path}",)


def _run_folders(files: list[FileInfo]) -> tuple[str, ...]:
    """Return the folders of runs, with their last slash: what raytrain writes is not read as data."""
    marks: dict[str, set[str]] = {}
    for file in files:
        folder, slash, name = file.path.rpartition("/")
        if name in _RUN_FILES:
            marks.setdefault(folder + slash, set()).add(name)
    return tuple(folder for folder, names in marks.items() if folder and names == _RUN_FILES)


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
    return f"found {_by_suffix(files)}"


def _by_suffix(files: list[FileInfo]) -> str:
    kinds = Counter(extension(file.path) or "without extension" for file in files)
    rest = sum(count for _, count in kinds.most_common()[_SHOWN:])
    shown = [f"{count} {kind}" for kind, count in kinds.most_common(_SHOWN)] + [f"{rest} others"] * bool(rest)
    return f"{len(files)} file{'s' if len(files) > 1 else ''}: {', '.join(shown)}"
