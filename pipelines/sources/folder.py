"""Class folders: root/<class>/**.png, or root/train/<class>/** beside root/test/<class>/** as a ready split.

Images that all lie in the root itself, without any folder, are unlabelled: all for pretraining. Names that
start with a dot and __MACOSX are skipped: they are what file managers leave behind.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipelines.manifest import Manifest, table_from_columns
from pipelines.sources.splits import cut_splits
from pipelines.storage import FileInfo, Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".webp")
READY_SPLITS = {
    "train": "train",
    "test": "test",
    "val": "select",
    "valid": "select",
    "validation": "select",
    "select": "select",
    "pretrain": "pretrain",
    "unlabeled": "pretrain",
    "unlabelled": "pretrain",
}
"""folder names of a ready split; without a test folder `val` is the test split, as in ImageNet"""


@dataclass(frozen=True)
class _Found:
    """An image file with what its place in the folders says."""

    file: FileInfo
    split: str
    class_name: str
    """empty: unlabelled"""


def read_folder(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest of a class folder; each file is a group of its own.

    Raises:
        DataError: no images, or images that lie in no class folder.
    """
    files, others = split_by_kind(storage.list_files())
    if not files:
        raise DataError(f"data.root {storage.root}: no images ({', '.join(EXTENSIONS)}); {describe(others)}")
    found = _ready_split(files) or [_Found(file, "train", _class_of(file.path, 0)) for file in files]
    if not any("/" in file.path for file in files):
        found = [_Found(file, "pretrain", "") for file in files]
    stray = [item.file.path for item in found if not item.class_name and item.split != "pretrain"]
    if stray:
        raise DataError(
            f"data.root {storage.root}: {len(stray)} of {len(files)} images lie outside a class folder, e.g. "
            f"{stray[0]}; put every image into one folder a class"
        )
    classes = tuple(sorted({item.class_name for item in found if item.class_name}))
    numbers = {name: number for number, name in enumerate(classes)} | {"": -1}
    labels = np.array([numbers[item.class_name] for item in found], np.int64)
    keys = [item.file.path for item in found]
    splits = [item.split for item in found]
    splits = cut_splits(
        splits,
        groups=keys,
        labels=labels,
        seed=config.split_seed,
        select_fraction=0.0 if "select" in splits else config.select_fraction,
        test_fraction=0.0 if "test" in splits else config.test_fraction,
    )
    table = table_from_columns(
        key=keys,
        uri=keys,
        bytes_=[item.file.size for item in found],
        label=labels,
        split=splits,
        group=keys,
    )
    return Manifest(table=table, root=storage.root, classes=classes)


def has_ready_split(storage: Storage) -> bool:
    """Return whether the root holds train/<class>/ beside other splits only."""
    return bool(_ready_split(split_by_kind(storage.list_files())[0]))


def describe(files: list[FileInfo]) -> str:
    """Say what a folder holds instead of images, e.g. `found 12 files: 10 .txt, 2 .csv`."""
    if not files:
        return "the folder is empty"
    kinds = Counter(_extension(file.path) or "without extension" for file in files)
    shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6))
    return f"found {len(files)} files: {shown}"


def is_image(path: str) -> bool:
    """Return whether a file's name ends like an image's."""
    return _extension(path) in EXTENSIONS


def split_by_kind(found: Iterable[FileInfo]) -> tuple[list[FileInfo], list[FileInfo]]:
    """Return the images and the other files, without what file managers leave behind."""
    images: list[FileInfo] = []
    others: list[FileInfo] = []
    for file in found:
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in file.path.split("/"))
        if not hidden:
            (images if is_image(file.path) else others).append(file)
    return images, others


def _ready_split(files: list[FileInfo]) -> list[_Found]:
    """Return the files by the split that their first folder names; empty where the folders are classes."""
    tops = {file.path.split("/")[0] for file in files}
    # A class may be called "train" too: then its images lie directly in it.
    nested = any(file.path.startswith("train/") and file.path.count("/") >= 2 for file in files)
    if not nested or not tops <= set(READY_SPLITS):
        return []
    names = dict(READY_SPLITS)
    if not any(READY_SPLITS[top] == "test" for top in tops):
        names |= dict.fromkeys(("val", "valid", "validation"), "test")
    found = []
    for file in files:
        split = names[file.path.split("/")[0]]
        found.append(_Found(file, split, "" if split == "pretrain" else _class_of(file.path, 1)))
    return found


def _class_of(path: str, depth: int) -> str:
    parts = path.split("/")
    return parts[depth] if len(parts) > depth + 1 else ""


def _extension(path: str) -> str:
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return f".{extension.lower()}" if dot and stem else ""
