"""What raytrain itself writes: runs, the cache, prepared folders. Their figures and features are no data."""

from collections.abc import Iterable

from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import MANIFEST_FILE

_RUN, _OF_RUN = "config.toml", {"env.json", "counters.json"}
_ENTRY, _OF_ENTRY = "entry.json", {"metrics.jsonl"}


def own_folders(files: Iterable[FileInfo]) -> tuple[str, ...]:
    """Return the folders that raytrain wrote, with their last slash, by the files that lie in them."""
    marks: dict[str, set[str]] = {}
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if name in _KNOWN:
            marks.setdefault(folder, set()).add(name)
    return tuple(f"{folder}/" for folder, names in marks.items() if folder and is_own(names))


def is_own(names: set[str]) -> bool:
    """Return whether a folder with files of these names is one that raytrain wrote."""
    return (
        (_RUN in names and bool(names & _OF_RUN))
        or (_ENTRY in names and bool(names & _OF_ENTRY))
        or MANIFEST_FILE in names
    )


_KNOWN = {_RUN, *_OF_RUN, _ENTRY, *_OF_ENTRY, MANIFEST_FILE}
