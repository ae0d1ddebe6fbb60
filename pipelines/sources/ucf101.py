"""UCF101: class folders of v_<Class>_g<group>_c<clip>.avi with the official lists 1, 2 and 3.

root/UCF-101/<Class>/*.avi beside root/ucfTrainTestlist, or root = UCF-101 with the lists beside or inside it.
data.video.split_list says which list; without any list shares are cut off by group. A group is one source
video: g07 of two classes are two videos, because groups are numbered within their class, so a group is
called <Class>/g07.
Source: Soomro, Zamir, Shah, "UCF101: a dataset of 101 human actions classes from videos in the wild", 2012.
"""

import re

from pipelines.sources.listed import Name, check_listed, find_clips, read_lines, spelled_as_found
from pipelines.sources.records import join
from pipelines.sources.samples import Sample, build_manifest
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

_BASES = ("UCF-101", "UCF101", "")
_LISTS = "ucfTrainTestlist"
_CLASSES = "classInd.txt"
_NUMBERS = (1, 2, 3)
_NAME = re.compile(r"v_\w+_(g\d+)_c\d+")


def detect(storage: Storage) -> bool:
    """Return whether the root holds the lists."""
    return any(_has_lists(storage, folder) for folder in ("", _LISTS))


def recognise(storage: Storage, first: str) -> bool:
    """Return whether the first image or video below the root is called like a clip of UCF101."""
    return _NAME.fullmatch(first.rpartition("/")[2].rpartition(".")[0]) is not None


def read_ucf101(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest; a group, which is one source video of a class, is never divided.

    Raises:
        DataError: no clips; the asked list is missing, broken, or names clips most of which are missing.
    """
    clips = find_clips(storage, _BASES)
    folder = _list_folder(storage, clips.base)
    numbers: dict[str, int] = {}
    splits = dict.fromkeys(clips.files, "train")
    notes: tuple[str, ...] = ()
    if folder is not None:
        numbers = _read_classes(storage, folder)
        listed = _read_splits(storage, folder, config.video.split_list, numbers)
        splits, notes = spelled_as_found(clips, listed)
        notes += check_listed(clips, splits, where=f"{storage.root}/{_list_path(folder, 'test', config)}")
    found = [name for name in clips.files if name in splits]
    names = {name.partition("/")[0] for name in found}
    classes = sorted(names, key=lambda name: (numbers.get(name, len(numbers) + 1), name))
    samples = [
        Sample(
            key=f"{name}.{clips.files[name].path.rpartition('.')[2]}",
            uri=clips.files[name].path,
            size=clips.files[name].size,
            split=splits[name],
            label=classes.index(name.partition("/")[0]),
            group=group_of(name),
        )
        for name in found
    ]
    return build_manifest(
        samples,
        root=storage.root,
        classes=tuple(classes),
        config=config,
        modality="clip",
        notes=(*notes, *_shares(splits, found, config)),
    )


def group_of(name: Name) -> str:
    """Return the source video of a clip: Archery/g07 of Archery/v_Archery_g07_c02; else the clip itself."""
    class_name, _, stem = name.partition("/")
    found = _NAME.fullmatch(stem)
    return f"{class_name}/{found[1]}" if found else name


def _shares(splits: dict[Name, str], found: list[Name], config: DataConfig) -> tuple[str, ...]:
    if "test" in splits.values() and "test" not in {splits[name] for name in found}:
        return (
            f"no clip of test list {config.video.split_list} is here: a share of the groups is for testing",
        )
    return ()


def _has_lists(storage: Storage, folder: str) -> bool:
    return any(storage.exists(join(folder, f"trainlist{number:02d}.txt")) for number in _NUMBERS)


def _list_folder(storage: Storage, base: str) -> str | None:
    """Return the folder of the lists: in the root, in the folder of the classes, or beside the root."""
    places = (_LISTS, "", *((join(base, _LISTS), base) if base else (f"../{_LISTS}",)))
    return next((place for place in places if _has_lists(storage, place)), None)


def _list_path(folder: str, kind: str, config: DataConfig) -> str:
    return join(folder, f"{kind}list{config.video.split_list:02d}.txt")


def _read_classes(storage: Storage, folder: str) -> dict[str, int]:
    """Return the number of each class that classInd.txt names; {} where there is no such file."""
    path = join(folder, _CLASSES)
    if not storage.exists(path):
        return {}
    numbers: dict[str, int] = {}
    for words in read_lines(storage, path):
        if len(words) != 2 or not words[0].isdigit() or words[1] in numbers:
            raise DataError(
                f"{storage.root}/{path}: {' '.join(words)!r} is no line `<number> <class>` of a class of its "
                "own; download the list again"
            )
        numbers[words[1]] = int(words[0])
    return numbers


def _read_splits(storage: Storage, folder: str, number: int, numbers: dict[str, int]) -> dict[Name, str]:
    splits: dict[Name, str] = {}
    labels = {name: str(label) for name, label in numbers.items()}
    for split in ("train", "test"):
        path = join(folder, f"{split}list{number:02d}.txt")
        if not storage.exists(path):
            there = [n for n in _NUMBERS if storage.exists(join(folder, f"{split}list{n:02d}.txt"))]
            raise DataError(
                f"{storage.root}/{path}: missing, but data.video.split_list is {number}; "
                + (f"there is list {', '.join(map(str, there))}" if there else "download the lists again")
            )
        for words in read_lines(storage, path):
            name = words[0].rpartition(".")[0].replace("\\", "/")
            class_name, slash, _ = name.partition("/")
            if not slash or len(words) > 2:
                raise DataError(
                    f"{storage.root}/{path}: {' '.join(words)!r} is no line `<Class>/v_<Class>_g01_c01.avi "
                    "[number]`; download the list again"
                )
            if len(words) == 2 and labels.setdefault(class_name, words[1]) != words[1]:
                raise DataError(
                    f"{storage.root}/{path}: numbers {class_name} {words[1]}, but it is {labels[class_name]} "
                    f"in {_CLASSES} or in an earlier line; download the lists again"
                )
            if splits.setdefault(name, split) != split:
                raise DataError(f"{storage.root}/{path}: {name} is in the training list too; drop one line")
    return splits
