"""HMDB51: class folders of clips with the official lists 1, 2 and 3, or cut by film where there are none.

root/<class>/<film>_<class>_<five words>_<number>.avi and
root/testTrainMulti_7030_splits/<class>_test_split1.txt (file name and 1 for training, 2 for testing, 0 for
neither). data.video.split_list says which list. A group is the film that a clip was cut from: the name before
_<class>_. The lists were drawn class by class, so with them a group is a film within a class; without them it
is the film over all classes.
Source: Kuehne et al., "HMDB: a large video database for human motion recognition", ICCV 2011.
"""

import re

from pipelines.sources.listed import Clips, Name, check_listed, find_clips, read_lines, spelled_as_found
from pipelines.sources.records import join
from pipelines.sources.samples import Sample, build_manifest
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

_BASES = ("hmdb51_org", "HMDB51", "hmdb51", "")
_LISTS = ("testTrainMulti_7030_splits", "splits")
_NUMBERS = (1, 2, 3)
_SPLITS = {"1": "train", "2": "test", "0": ""}
# Visible body part, camera motion, number of people, viewpoint, quality, number of the clip.
_ENDING = re.compile(r".+_(h|u|l|f)_(cm|nm)_np\d+_(fr|le|ri|ba)_(bad|med|goo)_\d+")


def detect(storage: Storage) -> bool:
    """Return whether the root holds the lists."""
    return storage.exists(_LISTS[0])


def recognise(storage: Storage, first: str) -> bool:
    """Return whether the first image or video below the root is called like a clip of HMDB51."""
    return _ENDING.fullmatch(first.rpartition("/")[2].rpartition(".")[0]) is not None


def read_hmdb51(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest; the clips of one film are never divided, but where an official list does it.

    Raises:
        DataError: no clips; the asked lists are missing, broken, or name clips most of which are missing.
    """
    clips = find_clips(storage, _BASES)
    folder = _list_folder(storage, clips.base)
    splits = dict.fromkeys(clips.files, "train")
    groups = {name: film_of(name) for name in clips.files}
    notes: tuple[str, ...] = ()
    if folder is not None:
        listed = _read_splits(storage, folder, clips, config.video.split_list)
        listed, notes = spelled_as_found(clips, listed)
        notes += check_listed(clips, listed, where=f"{storage.root}/{folder}")
        splits = {name: listed[name] for name in clips.files if listed.get(name)}
        groups, divided = _groups_of_lists(splits)
        notes += divided
    classes = sorted({name.partition("/")[0] for name in splits})
    samples = [
        Sample(
            key=f"{name}.{clips.files[name].path.rpartition('.')[2]}",
            uri=clips.files[name].path,
            size=clips.files[name].size,
            split=split,
            label=classes.index(name.partition("/")[0]),
            group=groups[name],
        )
        for name, split in splits.items()
    ]
    return build_manifest(
        samples, root=storage.root, classes=tuple(classes), config=config, modality="clip", notes=notes
    )


def film_of(name: Name) -> str:
    """Return the film of a clip: RATRACE of wave/RATRACE_wave_f_nm_np1_fr_goo_37; else the clip itself."""
    class_name, _, stem = name.partition("/")
    return stem.rpartition(f"_{class_name}_")[0] or name


def _groups_of_lists(splits: dict[Name, str]) -> tuple[dict[Name, str], tuple[str, ...]]:
    """Return the group of each clip, a film within a class, and a note on films that the list divides."""
    groups = {name: f"{name.partition('/')[0]}/{film_of(name)}" for name in splits}
    homes: dict[str, set[str]] = {}
    for name, split in splits.items():
        homes.setdefault(groups[name], set()).add(split)
    divided = sorted(group for group, found in homes.items() if len(found) > 1)
    if not divided:
        return groups, ()
    apart = {name: f"{group} ({splits[name]})" for name, group in groups.items() if group in divided}
    note = f"the official list has {len(divided)} films in training and in test, e.g. {divided[0]}; kept so"
    return groups | apart, (note,)


def _list_folder(storage: Storage, base: str) -> str | None:
    """Return the folder of the lists: in the root, in the folder of the classes, or beside the root."""
    for name in _LISTS:
        for place in (name, join(base, name) if base else f"../{name}"):
            if storage.exists(place) and any(_is_list(f.path) for f in storage.list_files(place, False)):
                return place
    return None


def _is_list(path: str) -> bool:
    return re.search(r"_test_split\d\.txt$", path) is not None


def _read_splits(storage: Storage, folder: str, clips: Clips, number: int) -> dict[Name, str]:
    ending = f"_test_split{number}.txt"
    there = [file.path for file in storage.list_files(folder, False) if _is_list(file.path)]
    paths = {path.rpartition("/")[2].removesuffix(ending): path for path in there if path.endswith(ending)}
    without = sorted(clips.classes - set(paths))
    if without:
        raise DataError(
            f"{storage.root}/{folder}: no list {number} of {len(without)} classes, e.g. {without[0]}{ending} "
            "(data.video.split_list); restore the lists, or remove them all, then splits are cut by film"
        )
    splits: dict[Name, str] = {}
    for class_name, path in paths.items():
        for words in read_lines(storage, path):
            # Names may hold blanks; the digit comes last.
            file, digit = " ".join(words[:-1]), words[-1]
            if not file or digit not in _SPLITS:
                raise DataError(
                    f"{storage.root}/{path}: {' '.join(words)!r} is no line `<file> 0, 1 or 2`; download the "
                    "lists again"
                )
            splits[f"{class_name}/{file.rpartition('.')[0]}"] = _SPLITS[digit]
    return splits
