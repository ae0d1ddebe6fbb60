"""Class folders: root/<class>/**.png, or root/train/<class>/** beside root/test/<class>/** as a ready split.

The same rules hold for folders of videos, see `pipelines.sources.videos`. Files that all lie in the root
itself, without any folder, are unlabelled: all for pretraining. What programs leave behind is skipped, and
whatever else is no sample is counted in a note.
"""

from collections.abc import Callable, Iterable

from pipelines.decode.recordings import foreign
from pipelines.forms.media import IMAGES, MEDIA, RECORDINGS, Medium, extension
from pipelines.sources.class_names import check_apart
from pipelines.sources.media import describe, split_by_medium
from pipelines.sources.ready_split import Found, read_splits, same_folders_below
from pipelines.sources.samples import Sample, build_manifest
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

EXTENSIONS = IMAGES.extensions


def read_folder(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest of a class folder; each file is a group of its own.

    Raises:
        DataError: no images, or images that lie in no class folder.
    """
    return read_class_folders(config, storage, IMAGES)


def read_class_folders(
    config: DataConfig, storage: Storage, medium: Medium, *, group_of: Callable[[str], str] | None = None
) -> Manifest:
    """Return the manifest of class folders of a medium; `group_of` names the group of a path.

    Raises:
        DataError: no such files, some that lie in no class folder, or, where the layout was guessed, files of
            another medium beside them.
    """
    files, others = split_by_medium(storage.all_files(), medium)
    if not files:
        raise DataError(
            f"data.root {storage.root}: no {medium.name} ({', '.join(medium.extensions)}); {describe(others)}"
            f"{_advice(medium, others)}"
        )
    if config.source == "auto":
        _check_unmixed(files, others, medium, storage.root)
    ready = read_splits(files, root=storage.root, medium=medium)
    found = ready or [Found(file, "train", _class_of(file.path)) for file in files]
    if not any("/" in file.path for file in files):
        found = [Found(file, "pretrain", "") for file in files]
    stray = [item.file.path for item in found if not item.class_name and item.split != "pretrain"]
    if stray:
        raise DataError(
            f"data.root {storage.root}: {len(stray)} of {len(files)} {medium.name} lie outside a class "
            f"folder, e.g. {stray[0]}; put every {medium.name[:-1]} into one folder a class"
        )
    classes = tuple(sorted({item.class_name for item in found if item.class_name}))
    notes = check_apart(classes, f"data.root {storage.root}")
    numbers = {name: number for number, name in enumerate(classes)} | {"": -1}
    samples = [
        Sample(
            key=item.file.path,
            uri=item.file.path,
            size=item.file.size,
            split=item.split,
            label=numbers[item.class_name],
            group=group_of(item.file.path) if group_of else "",
        )
        for item in found
    ]
    return build_manifest(
        samples,
        root=storage.root,
        classes=classes,
        config=config,
        modality=medium.modality,
        notes=notes + (() if ready else same_folders_below(files)),
    )


def _advice(medium: Medium, others: list[FileInfo]) -> str:
    """Say how to convert recordings of a format that is known and not read."""
    known = foreign.by_suffix(extension(file.path) for file in others) if medium is RECORDINGS else None
    return f"; {known}" if known else ""


def _check_unmixed(files: list[FileInfo], others: list[FileInfo], medium: Medium, root: str) -> None:
    for other in MEDIA:
        strangers = [file.path for file in others if other is not medium and other.holds(file.path)]
        if strangers:
            raise DataError(
                f"data.root {root}: holds {len(files)} {medium.name} and {len(strangers)} {other.name}, e.g. "
                f"{files[0].path} and {strangers[0]}; name those that are the samples by data.source = "
                f"{medium.source} or {other.source}"
            )


def has_ready_split(storage: Storage) -> bool:
    """Return whether the root holds train/<class>/ beside other splits only."""
    return bool(read_splits(split_by_kind(storage.all_files())[0], root=storage.root, medium=IMAGES))


def is_image(path: str) -> bool:
    """Return whether a file's name ends like an image's."""
    return IMAGES.holds(path)


def split_by_kind(found: Iterable[FileInfo]) -> tuple[list[FileInfo], list[FileInfo]]:
    """Return the images and the other files, without what file managers leave behind."""
    return split_by_medium(found, IMAGES)


def _class_of(path: str) -> str:
    return path.partition("/")[0] if "/" in path else ""
