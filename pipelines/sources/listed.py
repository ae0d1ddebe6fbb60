"""Class folders of clips whose splits are given by official lists: what is listed, what is there."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.forms.media import VIDEOS, is_hidden
from pipelines.sources.records import join, read_file
from pipelines.storage.listing import FileInfo
from pipelines.storage.places import Storage
from raytrain.errors import DataError

_SHOWN = 3

Name = str
"""<class>/<file without its extension>: clips that were encoded anew keep their place in the lists"""


@dataclass(frozen=True)
class Clips:
    """The clips found in class folders, by name."""

    base: str
    """folder below the root that holds the class folders"""
    files: dict[Name, FileInfo]

    @property
    def classes(self) -> set[str]:
        """The classes that have a clip."""
        return {name.partition("/")[0] for name in self.files}


def find_clips(storage: Storage, bases: tuple[str, ...]) -> Clips:
    """Return the videos that lie in class folders, in the first of the base folders that there is.

    Raises:
        DataError: there are none.
    """
    base = next((base for base in bases if not base or storage.exists(base)), "")
    files: dict[Name, FileInfo] = {}
    for file in storage.list_files(base):
        path = file.path.removeprefix(f"{base}/") if base else file.path
        if path.count("/") != 1 or is_hidden(path) or not VIDEOS.holds(path):
            continue
        name = path.rpartition(".")[0]
        if name in files:
            raise DataError(
                f"data.root {storage.root}: {files[name].path} and {file.path} have the same name; remove one"
            )
        files[name] = file
    if not files:
        raise DataError(
            f"data.root {storage.root}: no videos in class folders ({join(base, '<class>/*.avi')}); unpack "
            "the videos too"
        )
    return Clips(base, files)


def read_lines(storage: Storage, path: str) -> list[list[str]]:
    """Return the words of every line of a list that is not empty.

    Raises:
        DataError: missing, or no text.
    """
    try:
        text = read_file(storage, path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{storage.root}/{path}: no text; download the list again") from None
    return [words for words in map(str.split, text.splitlines()) if words]


def spelled_as_found(clips: Clips, listed: Mapping[Name, str]) -> tuple[dict[Name, str], tuple[str, ...]]:
    """Return a list's splits with each clip as its file is called where only the case differs, and a note.

    Copies that were packed anew are known to do so: v_HandstandPushups for UCF101's v_HandStandPushups.
    """
    unlisted = {name.casefold(): name for name in clips.files if name not in listed}
    found = {name: unlisted.get(name.casefold(), name) for name in listed if name not in clips.files}
    changed = [(name, there) for name, there in found.items() if name != there]
    splits = {found.get(name, name): split for name, split in listed.items()}
    if not changed:
        return splits, ()
    name, there = changed[0]
    return splits, (
        f"{len(changed)} clips are listed in another case, e.g. {there} as {name}; taken as the same",
    )


def check_listed(clips: Clips, listed: Mapping[Name, str], *, where: str) -> tuple[str, ...]:
    """Return notes on the clips that a list names but are not there.

    listed: split by name. Partial copies are common, above all of some classes: a class without any clip is
    left out.

    Raises:
        DataError: not one listed clip is there, or more than half of those in the classes that are.
    """
    expected = [name for name in listed if name.partition("/")[0] in clips.classes]
    missing = [name for name in expected if name not in clips.files]
    absent = sorted({name.partition("/")[0] for name in listed} - clips.classes)
    if len(missing) == len(expected) or 2 * len(missing) > len(expected):
        shown = ", ".join(missing[:_SHOWN] or absent[:_SHOWN])
        raise DataError(
            f"{where}: names {len(missing) or len(listed)} clips of {len(expected) or len(listed)} that are "
            f"missing, e.g. {shown}; restore them, or remove the lists, then splits are cut by source video"
        )
    notes = []
    if absent:
        notes.append(f"{where}: {len(absent)} listed classes have no clips here, e.g. {absent[0]}; left out")
    if missing:
        notes.append(
            f"{where}: {len(missing)} of {len(expected)} listed clips are missing, e.g. {missing[0]}; "
            "left out"
        )
    return tuple(notes)
