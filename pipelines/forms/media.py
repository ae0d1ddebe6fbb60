"""What a file's name says of its kind: an image, a video, a recording of events."""

from dataclasses import dataclass


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
    if path.startswith(".") or "/." in path:
        return True
    return "__MACOSX" in path and "__MACOSX" in path.split("/")
