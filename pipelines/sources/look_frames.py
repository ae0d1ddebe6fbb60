"""Whether folders of images are clips: numbered without a gap, and one image nearly the next."""

import re
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.image import decode_image
from pipelines.forms.media import IMAGES, is_hidden
from pipelines.forms.quarantine import BadSample
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig

_SHORTEST = 4
"""images of a clip"""
_FOLDERS = 6
"""that are looked into"""
_SIDE_PX = 32
_ALIKE = 0.5
"""difference of neighbours over that of images of different folders, at most"""
_NUMBER = re.compile(r"(.*?)(\d+)")


def are_clips(paths: list[str], storage: Storage, config: DataConfig) -> bool:
    """Return whether every folder with images is one clip; paths: of the files of the root."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        if IMAGES.holds(path) and not is_hidden(path):
            folders.setdefault(path.rpartition("/")[0], []).append(path)
    if len(folders) < 2 or "" in folders or not all(map(_is_sequence, folders.values())):
        return False
    step = -(-len(folders) // _FOLDERS)
    try:
        pairs = [_neighbours(folders[name], storage, config) for name in sorted(folders)[::step]]
    except BadSample:
        return False
    within = np.mean([_difference(one, other) for one, other in pairs])
    between = np.mean([_difference(one, other) for (one, _), (other, _) in pairwise(pairs)])
    return bool(within <= _ALIKE * between)


def _is_sequence(paths: list[str]) -> bool:
    """Return whether the names are one name with numbers that follow each other."""
    found = [_NUMBER.fullmatch(path.rpartition("/")[2].rpartition(".")[0]) for path in paths]
    if len(paths) < _SHORTEST or not all(found):
        return False
    names = {match[1] for match in found if match}
    numbers = {int(match[2]) for match in found if match}
    return len(names) == 1 and len(numbers) == len(paths) == max(numbers) - min(numbers) + 1


def _neighbours(
    paths: list[str], storage: Storage, config: DataConfig
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return two images in the middle of a folder, u8[3, 32, 32] each.

    Raises:
        BadSample: one cannot be read.
    """
    ordered = sorted(paths, key=lambda path: (len(path), path))
    middle = len(ordered) // 2
    one, other = (
        decode_image(storage.read_bytes(p), canvas_px=_SIDE_PX, fit="squash", max_pixels=config.max_pixels)
        for p in ordered[middle - 1 : middle + 1]
    )
    return one, other


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())
