"""The German Traffic Sign Recognition Benchmark: its folders, its GT-*.csv, its tracks.

A track is one physical sign filmed while driving past: near copies, so a group. Official layout:
GTSRB/Final_Training/Images/000xx/*.ppm + GT-000xx.csv and GTSRB/Final_Test/Images/*.ppm + GT-final_test.csv
(or GT-final_test.test.csv, without classes). Training and Heldout_Tracks, of the same form without Images
between, are known too; Heldout_Tracks is a test split. So is the copy that Kaggle hands out: Train/<n>/*.png,
whose names are class_track_frame, and Test/*.png with Test.csv; its Meta holds a drawing of each sign.
Source: Stallkamp et al., "Man vs. computer", Neural Networks 32 (2012).
"""

import csv
import io
import re
from dataclasses import dataclass

import numpy as np

from pipelines.forms.quarantine import BadSample
from pipelines.sources.folder import is_image
from pipelines.sources.splits import cut_splits
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest, table_from_columns
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

TRAINING = ("Final_Training", "Training")
HELDOUT = "Heldout_Tracks"
FINAL_TEST = "Final_Test"
_TEST_LISTS = ("GT-final_test.csv", "GT-final_test.test.csv")
_CLASS_NAMES = [f"{number:05d}" for number in range(43)]
_CLASS_FOLDER = re.compile(r"\d{5}")
_KAGGLE_LISTS = ("Test.csv", "test.csv", "TEST.csv")
_NUMBER = re.compile(r"\d{1,2}")
_KAGGLE_NAME = re.compile(r"(\d{5})_(\d{5})_\d{5}\.\w+")


@dataclass(frozen=True)
class _Sign:
    """One image: where it lies, and what its folder, its name and the lists say."""

    file: FileInfo
    key: str
    class_id: int
    split: str
    group: str


@dataclass(frozen=True)
class _Kaggle:
    """The names of Kaggle's copy, in whichever case they were unpacked."""

    train: str
    test: str
    test_list: str


def detect(storage: Storage) -> bool:
    """Return whether the root holds the benchmark in one of its forms."""
    return find_base(storage) is not None or _find_kaggle(storage) is not None


def find_base(storage: Storage) -> str | None:
    """Return the folder below the root that holds the benchmark ("" or "GTSRB"); None: another layout."""
    for base in ("", "GTSRB"):
        if any(_subset_folder(storage, base, subset) is not None for subset in TRAINING):
            return base
    return None


def read_gtsrb(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest of the benchmark; a track is never divided between splits.

    Raises:
        DataError: another layout, or a list that is broken or names missing files.
    """
    base = find_base(storage)
    if base is not None:
        signs = _read_official(storage, base)
    elif (kaggle := _find_kaggle(storage)) is not None:
        signs = _read_kaggle(storage, kaggle)
    else:
        raise DataError(
            f"data.root {storage.root}: not GTSRB's layout; expected Final_Training/Images/00000/*.ppm or "
            "Training/00000/*.ppm, here or in GTSRB, or Kaggle's Train/0/00000_*.png with Test.csv"
        )
    return _manifest(signs, config, storage)


def _read_official(storage: Storage, base: str) -> list[_Sign]:
    signs: list[_Sign] = []
    for subset in (*TRAINING, HELDOUT):
        folder = _subset_folder(storage, base, subset)
        if folder is not None:
            signs += _read_tracks(storage, folder, subset)
    if not signs:
        raise DataError(f"data.root {storage.root}: no images in the class folders of GTSRB's training set")
    return signs + _read_final_test(storage, base)


def _manifest(signs: list[_Sign], config: DataConfig, storage: Storage) -> Manifest:
    ids = sorted({sign.class_id for sign in signs if sign.class_id >= 0})
    numbers = {class_id: number for number, class_id in enumerate(ids)} | {-1: -1}
    labels = np.array([numbers[sign.class_id] for sign in signs], np.int64)
    splits = [sign.split for sign in signs]
    groups = [sign.group for sign in signs]
    splits = cut_splits(
        splits,
        groups=groups,
        labels=labels,
        seed=config.split_seed,
        select_fraction=config.select_fraction,
        test_fraction=0.0 if _has_labelled_test(signs) else config.test_fraction,
    )
    table = table_from_columns(
        key=[sign.key for sign in signs],
        uri=[sign.file.path for sign in signs],
        bytes_=[sign.file.size for sign in signs],
        label=labels,
        split=splits,
        group=groups,
    )
    return Manifest(table=table, root=storage.root, classes=tuple(f"{class_id:05d}" for class_id in ids))


def _find_kaggle(storage: Storage) -> _Kaggle | None:
    test_list = next((name for name in _KAGGLE_LISTS if storage.exists(name)), None)
    if test_list is None:
        return None
    tops = {top.lower(): top for top in storage.list_folders()}
    if not {"train", "test"} <= tops.keys():
        return None
    folders = [f for f in storage.list_folders(tops["train"]) if _NUMBER.fullmatch(f.rpartition("/")[2])]
    named = any(
        _KAGGLE_NAME.fullmatch(file.path.rpartition("/")[2])
        for folder in folders[:1]
        for file in storage.list_files(folder, recursive=False)
    )
    return _Kaggle(tops["train"], tops["test"], test_list) if named else None


def _read_kaggle(storage: Storage, kaggle: _Kaggle) -> list[_Sign]:
    signs = []
    for file in storage.list_files(kaggle.train):
        class_name, _, name = file.path.removeprefix(f"{kaggle.train}/").partition("/")
        if not (_NUMBER.fullmatch(class_name) and is_image(name)) or name.startswith("."):
            continue
        named = _KAGGLE_NAME.fullmatch(name)
        if named is None or int(named[1]) != int(class_name):
            raise DataError(
                f"{storage.root}/{file.path}: its name is not {int(class_name):05d}_track_frame, so the "
                "track is not known; remove it or give it its name"
            )
        group = f"{kaggle.train}/{class_name}/{named[2]}"
        signs.append(_Sign(file, file.path, int(class_name), "train", group))
    images = [f for f in storage.list_files(kaggle.test, recursive=False) if is_image(f.path)]
    rows = _rows(storage, kaggle.test_list, delimiter=",", wanted="...,ClassId,Path")
    try:
        class_ids = {row["Path"].rpartition("/")[2]: _class_id(row["ClassId"]) for row in rows}
    except (KeyError, ValueError, AttributeError, TypeError):  # None: a line that is cut off
        raise _no_list(kaggle.test_list, "...,ClassId,Path") from None
    _check_present(storage, kaggle.test_list, class_ids, images)
    for file in images:
        class_id = class_ids.get(file.path.rpartition("/")[2], -1)
        signs.append(_Sign(file, file.path, class_id, "test", file.path))
    return signs


def _has_labelled_test(signs: list[_Sign]) -> bool:
    return any(sign.split == "test" and sign.class_id >= 0 for sign in signs)


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _subset_folder(storage: Storage, base: str, subset: str) -> str | None:
    """Return the folder that holds a subset's class folders; None: the subset is not there."""
    for folder in (_join(base, subset, "Images"), _join(base, subset)):
        # Class 0 may have been left out, so look for any.
        if storage.exists(folder) and any(storage.exists(f"{folder}/{name}") for name in _CLASS_NAMES):
            return folder
    # The root may be the training folder itself; as a plain class folder its tracks would leak.
    if subset == "Training" and not base and any(storage.exists(f"{n}/GT-{n}.csv") for n in _CLASS_NAMES):
        return ""
    return None


def _read_tracks(storage: Storage, folder: str, subset: str) -> list[_Sign]:
    files: dict[str, list[FileInfo]] = {}
    lists: dict[str, str] = {}
    for file in storage.list_files(folder):
        class_name, _, name = file.path.removeprefix(f"{folder}/").partition("/")
        if not _CLASS_FOLDER.fullmatch(class_name) or name.startswith("."):
            continue
        if name == f"GT-{class_name}.csv":
            lists[class_name] = file.path
        elif is_image(name):
            files.setdefault(class_name, []).append(file)
    signs = []
    for class_name, images in files.items():
        class_ids = _read_list(storage, lists[class_name]) if class_name in lists else {}
        _check_present(storage, lists.get(class_name, ""), class_ids, images)
        for file in images:
            name = file.path.rpartition("/")[2]
            # The folder names the class; a list that says otherwise is not to be trusted with either.
            if class_ids.get(name, int(class_name)) != int(class_name):
                raise DataError(
                    f"{lists[class_name]}: says class {class_ids[name]} for {name}, in folder {class_name}; "
                    "put one of them right"
                )
            group = f"{subset}/{class_name}/{name.partition('_')[0]}"
            split = "test" if subset == HELDOUT else "train"
            signs.append(_Sign(file, f"{subset}/{class_name}/{name}", int(class_name), split, group))
    return signs


def _read_final_test(storage: Storage, base: str) -> list[_Sign]:
    """Return the official test images, each a group of its own; without a list they have no labels."""
    folders = [_join(base, FINAL_TEST, "Images"), _join(base, FINAL_TEST)]
    folder = next((folder for folder in folders if storage.exists(folder)), None)
    if folder is None:
        return []
    images = [file for file in storage.list_files(folder, recursive=False) if is_image(file.path)]
    places = [*folders, base, "", *([] if base else [".."])]
    lists = [_join(place, name) for name in _TEST_LISTS for place in dict.fromkeys(places)]
    path = next((path for path in lists if storage.exists(path)), None)
    class_ids = _read_list(storage, path) if path is not None else {}
    _check_present(storage, path or "", class_ids, images)
    signs = []
    for file in images:
        name = file.path.rpartition("/")[2]
        key = f"{FINAL_TEST}/{name}"
        signs.append(_Sign(file, key, class_ids.get(name, -1), "test", key))
    return signs


def _read_list(storage: Storage, path: str) -> dict[str, int]:
    """Return the class of each file that a GT-*.csv names; -1 where it has no ClassId column."""
    wanted = "Filename;...;ClassId"
    try:
        rows = _rows(storage, path, delimiter=";", wanted=wanted)
        return {row["Filename"]: _class_id(row.get("ClassId") or -1) for row in rows}
    except (KeyError, ValueError):
        raise _no_list(path, wanted) from None


def _class_id(text: str | int) -> int:
    """Return a class of a list, -1 where it is not known; raises ValueError where it is none."""
    class_id = int(text)
    if class_id < -1:
        raise ValueError(text)
    return class_id


def _rows(storage: Storage, path: str, *, delimiter: str, wanted: str) -> list[dict[str, str]]:
    try:
        storage.lists.add(path)
        text = storage.read_bytes(path).decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    except BadSample as bad:
        raise DataError(f"{path}: {bad.reason}") from None
    except (UnicodeDecodeError, csv.Error):
        raise _no_list(path, wanted) from None


def _no_list(path: str, wanted: str) -> DataError:
    return DataError(f"{path}: not a list of GTSRB; expected the columns {wanted} with whole numbers")


def _check_present(storage: Storage, path: str, class_ids: dict[str, int], images: list[FileInfo]) -> None:
    present = {file.path.rpartition("/")[2] for file in images}
    missing = sorted(set(class_ids) - present)
    if missing:
        raise DataError(
            f"{storage.root}/{path}: names {len(missing)} files of {len(class_ids)} that are missing, e.g. "
            f"{missing[0]}; restore them or drop their lines"
        )
