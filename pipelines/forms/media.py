"""What a file's name says of its kind: an image, a video, a recording of events."""

from dataclasses import dataclass
from functools import lru_cache


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


IMAGES = Medium(
    "images",
    (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp", ".gif", ".webp")
    + (".tif", ".tiff", ".avif", ".jp2", ".j2k"),
    "image",
    "folder",
)


VIDEOS = Medium(
    "videos",
    (".avi", ".divx", ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".mpg", ".mpeg", ".vob")
    + (".ogv", ".flv", ".f4v", ".wmv", ".asf", ".mts", ".m2ts", ".3gp", ".3g2", ".mxf", ".ivf"),
    "clip",
    "videos",
)


MEDIA = (IMAGES, VIDEOS)


RECORDINGS = Medium(
    "recordings",
    (".bin", ".dat", ".aedat", ".aedat4", ".npy", ".npz", ".h5", ".hdf5"),
    "events",
    "recordings",
)
"""not one of MEDIA: such files lie beside images and videos too, and are not the samples there"""


OF_MODALITY = {medium.modality: medium for medium in (*MEDIA, RECORDINGS)}
"""modality -> the files that its samples are"""


LISTS = (".csv", ".tsv")
"""what the names of lists of files end like, in lower case"""


def extension(path: str) -> str:
    """Return a path's extension in lower case with its dot; empty: none."""
    name = path.rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return f".{ending.lower()}" if dot and stem else ""


_OF_SYSTEMS = (
    *("__macosx", "icon\r", "temporary items", "network trash folder"),
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    *("$recycle.bin", "$extend", "system volume information", "found.000", "lost+found"),
)
_OF_NETWORK_STORAGE = ("@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot")
_OF_TOOLS = ("__pycache__", "_vti_cnf", "cvs", "picasa.ini", "ws_ftp.log")
_LEFT_BEHIND = frozenset((*_OF_SYSTEMS, *_OF_NETWORK_STORAGE, *_OF_TOOLS))


def is_hidden(path: str) -> bool:
    """Return whether a path is what a program leaves behind: a system, a storage device, an editor.

    Anything below a folder that is hidden is hidden too.
    """
    folder, _, name = path.rpartition("/")
    return _is_left_behind(name) or _is_hidden_folder(folder)


@lru_cache(maxsize=2**16)
def _is_hidden_folder(folder: str) -> bool:
    """Return whether one of a folder's parts is left behind: asked for every file of it, found once."""
    return any(map(_is_left_behind, folder.split("/")))


def _is_left_behind(part: str) -> bool:
    return part.startswith((".", "~$")) or part.endswith("~") or part.lower() in _LEFT_BEHIND
