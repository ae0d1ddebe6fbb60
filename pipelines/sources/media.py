"""What a file's name says of its kind: images or videos, and which of them a root holds first."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.storage import FileInfo, Storage

_MOST_FOLDERS = 1000


@dataclass(frozen=True)
class Medium:
    """A kind of files that samples are."""

    name: str
    extensions: tuple[str, ...]
    modality: str
    source: str
    """data.source of any folder of them"""

    def holds(self, path: str) -> bool:
        """Return whether a file's name ends like one of these."""
        return extension(path) in self.extensions


IMAGES = Medium("images", (".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".webp"), "image", "folder")
VIDEOS = Medium(
    "videos",
    (".avi", ".mp4", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ogv"),
    "clip",
    "videos",
)
MEDIA = (IMAGES, VIDEOS)
RECORDINGS = Medium(
    "recordings",
    (".bin", ".dat", ".aedat", ".aedat4", ".npy", ".h5", ".hdf5"),
    "events",
    "recordings",
)
"""not one of MEDIA: such files lie beside images and videos too, and are not the samples there"""


def extension(path: str) -> str:
    """Return a path's extension in lower case with its dot; empty: none."""
    name = path.rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return f".{ending.lower()}" if dot and stem else ""


def is_hidden(path: str) -> bool:
    """Return whether a path is what a file manager leaves behind."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


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
