"""Folders of frames as clips: <clip>/00000.jpg ..., below class folders or without labels; DAVIS.

DAVIS: JPEGImages/480p/<clip>/*.jpg with ImageSets/480p/train.txt and val.txt. Else every folder that holds
images is a clip: root/<clip>/, root/<class>/<clip>/ or root/train/<class>/<clip>/ beside root/test. A sample
has its folder as uri, its payload frames:<number of frames>; the frames are those of `list_frames`.
Source: Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation", 2016.
"""

from collections.abc import Iterable

from pipelines.forms.media import IMAGES
from pipelines.sources.listed import read_lines
from pipelines.sources.media import describe, split_by_medium
from pipelines.sources.records import join
from pipelines.sources.samples import Sample, build_manifest
from pipelines.sources.split_names import is_validation, split_of
from pipelines.storage.archive import ArchiveStorage
from pipelines.storage.frames import PAYLOAD
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

_DAVIS = "JPEGImages"
_BASES = ("JPEGImages/480p", _DAVIS)


def detect(storage: Storage) -> bool:
    """Return whether the root holds JPEGImages."""
    return storage.exists(_DAVIS)


def read_frames(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest of folders of frames; each is a group of its own.

    Raises:
        DataError: no images, folders at different depths, images in the root, or data in an archive.
    """
    if isinstance(storage, ArchiveStorage):
        raise DataError(
            f"data.root {storage.root}: folders of frames cannot be read from an archive; unpack it and name "
            "the folder"
        )
    base = _davis_base(storage)
    files, others = split_by_medium(storage.list_files(base) if base else storage.all_files(), IMAGES)
    if not files:
        what = f"no frames ({', '.join(IMAGES.extensions)}) in folders"
        raise DataError(f"data.root {join(storage.root, base or '')}: {what}; {describe(others)}")
    counts = _count(files, base or "", storage.root)
    if base is not None:
        splits, notes = _davis_splits(storage, base, list(counts))
        places = {name: (split, "") for name, split in splits.items()}
    else:
        places, notes = _places(list(counts), storage.root), ()
    classes = sorted({class_name for _, class_name in places.values()} - {""})
    samples = [
        Sample(
            key=name,
            uri=join(base or "", name),
            size=-1,
            split=split,
            label=classes.index(class_name) if class_name else -1,
            payload=f"{PAYLOAD}:{counts[name]}",
        )
        for name, (split, class_name) in places.items()
    ]
    return build_manifest(
        samples, root=storage.root, classes=tuple(classes), config=config, modality="clip", notes=notes
    )


def _count(files: Iterable[FileInfo], base: str, root: str) -> dict[str, int]:
    """Return the number of frames of each folder below the base."""
    counts: dict[str, int] = {}
    for file in files:
        folder = (file.path.removeprefix(f"{base}/") if base else file.path).rpartition("/")[0]
        if not folder:
            raise DataError(
                f"data.root {root}: {file.path} lies in no folder of a clip; put the frames of every clip "
                "into a folder of its own"
            )
        counts[folder] = counts.get(folder, 0) + 1
    return counts


def _places(names: list[str], root: str) -> dict[str, tuple[str, str]]:
    """Return split and class of each clip by the folders above it."""
    depths = {name.count("/") for name in names}
    if len(depths) > 1 or max(depths) > 2:
        deep, flat = max(names, key=lambda n: n.count("/")), min(names, key=lambda n: n.count("/"))
        raise DataError(
            f"data.root {root}: frames lie in folders at different depths, e.g. {flat} and {deep}; expected "
            "<clip>/, <class>/<clip>/ or <split>/<class>/<clip>/"
        )
    depth = depths.pop()
    tops = sorted({name.partition("/")[0] for name in names})
    splits = {top: split_of(top) for top in tops}
    odd = [top for top in tops if not splits[top]]
    ready = depth > 0 and not odd and "train" in splits.values()
    if depth == 2 and not ready:
        wrong = f"{', '.join(odd[:3])} are no splits" if odd else f"none of {', '.join(tops)} is for training"
        raise DataError(
            f"data.root {root}: {names[0]} lies three folders deep, but {wrong}; name the folder above the "
            "class folders"
        )
    named = [top for top in tops if splits[top]]
    if depth == 1 and odd and len(named) > 1:
        raise DataError(
            f"data.root {root}: {' and '.join(named)} look like splits, but {', '.join(odd[:3])} beside them "
            "does not; move what is no split, or rename a class that is called like one"
        )
    if "test" not in splits.values():
        splits |= {top: "test" for top in tops if is_validation(top)}
    places = {}
    for name in names:
        parts = name.split("/")
        split = splits[parts[0]] if ready else "train"
        class_name = "" if split == "pretrain" else parts[-2] if depth > ready else ""
        places[name] = ("pretrain" if split == "train" and not class_name else split, class_name)
    return places


def _davis_base(storage: Storage) -> str | None:
    return next((base for base in _BASES if storage.exists(base)), None)


def _davis_splits(storage: Storage, base: str, names: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the split of each sequence: train.txt is for pretraining, val.txt is kept apart."""
    for folder in (f"ImageSets/{base.rpartition('/')[2]}", "ImageSets/2017", "ImageSets/2016", "ImageSets"):
        if storage.exists(f"{folder}/train.txt") or storage.exists(f"{folder}/val.txt"):
            break
    else:
        return dict.fromkeys(names, "pretrain"), ()
    listed: dict[str, str] = {}
    for split, name in (("pretrain", "train"), ("test", "val")):
        if storage.exists(f"{folder}/{name}.txt"):
            listed |= dict.fromkeys(_sequences(storage, f"{folder}/{name}.txt"), split)
    splits = {name: listed[name] for name in names if name in listed}
    if not splits:
        raise DataError(
            f"{storage.root}/{folder}: none of the {len(listed)} listed sequences is there, e.g. "
            f"{next(iter(listed), 'none')}; restore them, or remove the lists"
        )
    notes = []
    if len(splits) < len(listed):
        notes.append(f"{folder}: {len(listed) - len(splits)} of {len(listed)} listed sequences are missing")
    if "pretrain" not in splits.values():
        notes.append(f"{folder}: no sequence of train.txt is there; those of val.txt are for pretraining")
        splits = dict.fromkeys(splits, "pretrain")
    return splits, tuple(notes)


def _sequences(storage: Storage, path: str) -> list[str]:
    """Return the sequences that a list names: `<name>` (2017) or /JPEGImages/480p/<name>/00000.jpg (2016)."""
    names = [words[0].strip("/") for words in read_lines(storage, path)]
    return list(dict.fromkeys(name.split("/")[-2] if "/" in name else name for name in names))
