"""A clip that is stored as a folder of images: how its payload is written, and its files in order."""

import re

from pipelines.forms.media import IMAGES, is_hidden
from pipelines.storage.places import Storage

PAYLOAD = "frames"


# Frames of a clip are ordered by their numbers, with leading zeros or without.
_NUMBER = re.compile(r"(\d+)")


def is_frames(payload: str) -> bool:
    """Return whether a sample's payload is a folder of frames."""
    return payload.partition(":")[0] == PAYLOAD


def num_frames(payload: str) -> int:
    """Return the number of frames of a sample whose payload is a folder of them."""
    return int(payload.partition(":")[2])


def list_frames(storage: Storage, uri: str) -> list[str]:
    """Return the paths of a clip's frames in the order of their numbers.

    Raises:
        DataError: the folder is missing or unreadable.
    """
    files = storage.list_files(uri, recursive=False)
    return sorted((f.path for f in files if IMAGES.holds(f.path) and not is_hidden(f.path)), key=_order)


def _order(path: str) -> list[tuple[int, str]]:
    parts = _NUMBER.split(path.rpartition("/")[2])
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
