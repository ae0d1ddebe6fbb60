"""From the settings to a manifest: a prepared folder, a data set's own layout, a list, generated shapes."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.forms.media import LISTS, RECORDINGS
from pipelines.generated import MAKERS
from pipelines.sources import (
    cifar10,
    cifar10dvs,
    codebrim,
    dvsgesture,
    frames,
    gtsrb,
    hmdb51,
    kinetics,
    ncaltech101,
    ncars,
    nmnist,
    recordings,
    stl10,
    ucf101,
    videos,
)
from pipelines.sources.clips import read_clips
from pipelines.sources.csv import read_csv
from pipelines.sources.flat import read_flat
from pipelines.sources.folder import read_folder
from pipelines.sources.join import join_manifests, roles_by_root
from pipelines.sources.left_out import empty_folders, left_out
from pipelines.sources.media import first_medium
from pipelines.sources.moving_shapes import read_moving_shapes
from pipelines.sources.own_folders import is_own
from pipelines.sources.shapes import read_shapes
from pipelines.storage.archive import ArchiveStorage, is_archive, is_gzipped, refuse_gzipped
from pipelines.storage.manifest import MANIFEST_FILE, Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError, did_you_mean

PREPARE_FOLDER = ".prepare"
ADVISED_FROM = 50_000
"""files from which on `prepare` is advised: they take half a second of CPU time, prepared a tenth of it"""


@dataclass(frozen=True)
class Source:
    """How a layout is read, and how `auto` knows it."""

    read: Callable[[DataConfig, Storage], Manifest]
    detect: Callable[[Storage], bool] | None = None
    """whether the root holds what only this layout has"""
    recognise: Callable[[Storage, str], bool] | None = None
    """where none is detected: whether the first image or video below the root, or else the first recording of
    events, is of this layout; the first of SOURCES that says so is taken, else the class folders"""
    generated: bool = False
    """whether it has no root: nothing of it is stored"""
    purpose: str = field(kw_only=True)
    """what it is for and when to choose it, in one line"""


SOURCES = {
    "folder": Source(
        read_folder,
        purpose="Images in one folder a class, with or without train and test: most collections of your own",
    ),
    "flat": Source(
        read_flat,
        purpose="Images without labels in any folders: to pretrain on; probe on another root (data.splits)",
    ),
    "csv": Source(
        read_csv,
        purpose="Files named in a .csv you write: for splits, groups or labels that folders cannot say",
    ),
    "gtsrb": Source(
        gtsrb.read_gtsrb,
        gtsrb.detect,
        purpose="German traffic signs, official or Kaggle's copy; pictures of one sign stay in one split",
    ),
    "stl10": Source(
        stl10.read_stl10,
        stl10.detect,
        purpose="STL-10, binary files or folders; few labels, its unlabelled images are for pretraining",
    ),
    "cifar10": Source(
        cifar10.read_cifar10,
        cifar10.detect,
        purpose="CIFAR-10, binary batches or folders; small images, for quick trials",
    ),
    "codebrim": Source(
        codebrim.read_codebrim,
        codebrim.detect,
        purpose="CODEBRIM, defects of concrete; several labels an image, crops of one picture kept together",
    ),
    "ucf101": Source(
        ucf101.read_ucf101,
        ucf101.detect,
        ucf101.recognise,
        purpose="UCF101 with its official lists; human actions, clips of one video kept together",
    ),
    "hmdb51": Source(
        hmdb51.read_hmdb51,
        hmdb51.detect,
        hmdb51.recognise,
        purpose="HMDB51 with its official lists, or split by film without them; human actions",
    ),
    "kinetics": Source(
        kinetics.read_kinetics,
        recognise=kinetics.recognise,
        purpose="Kinetics by its folders or published lists; listed clips that are gone are left out",
    ),
    "videos": Source(
        videos.read_videos,
        recognise=videos.recognise,
        purpose="Videos in one folder a class, or without labels in one: clips of your own",
    ),
    "frames": Source(
        frames.read_frames,
        frames.detect,
        purpose="Clips as folders of images, one a clip: DAVIS, or your own (auto takes yours for classes)",
    ),
    "shapes": Source(
        lambda config, _: read_shapes(config),
        generated=True,
        purpose="Generated images with known factors: to try raytrain without data",
    ),
    "clips": Source(
        lambda config, _: read_clips(config),
        generated=True,
        purpose="Generated clips with known motion: to try video without data",
    ),
    "nmnist": Source(
        nmnist.read_nmnist,
        nmnist.detect,
        purpose="N-MNIST, digits before an event camera; the small standard test of representations",
    ),
    "ncaltech101": Source(
        ncaltech101.read_ncaltech101,
        ncaltech101.detect,
        purpose="N-Caltech101, objects before an event camera, as published or in EST's split",
    ),
    "ncars": Source(
        ncars.read_ncars,
        ncars.detect,
        purpose="N-CARS, cars and background in 100 ms of events; the standard test of two classes",
    ),
    "dvsgesture": Source(
        dvsgesture.read_dvsgesture,
        dvsgesture.detect,
        purpose="DVS128 Gesture as tonic unpacks it; timing matters, nobody is in both splits",
    ),
    "cifar10dvs": Source(
        cifar10dvs.read_cifar10dvs,
        cifar10dvs.detect,
        purpose="CIFAR10-DVS, images moved before an event camera; no split is published, shares are cut off",
    ),
    "recordings": Source(
        recordings.read_recordings,
        recordings.detect,
        recordings.recognise,
        purpose="Recordings in one folder a class, or cut by a windows.csv: event data of your own",
    ),
    "moving_shapes": Source(
        lambda config, _: read_moving_shapes(config),
        generated=True,
        purpose="Generated recordings of moving shapes: to try event cameras without data",
    ),
}
"""name in data.source -> layout; each is a module of that name"""


def open_storage(root: str, config: DataConfig) -> Storage:
    """Return the storage of a root with the time limits of the settings."""
    return Storage(root, read_timeout_s=config.read_timeout_s, read_retries=config.read_retries)


def open_manifest(config: DataConfig) -> Manifest:
    """Return the manifest of the data that the settings name.

    Raises:
        DataError: the folder is missing, unreadable, holds no images, or its lists do not fit its files.
        ConfigError: the settings do not fit the data, or it has one class or one sample only.
    """
    roles = roles_by_root(config)
    if len(roles) > 1 or (roles and not config.root):
        manifest = join_manifests(config, roles, _read_checked)
    else:
        manifest = _read_checked(config)
    _check_enough(manifest, config)
    return manifest


def absolute_root(root: str) -> str:
    """Return a root without its last slash, and absolute, because other processes have other folders."""
    root = root.rstrip("/") or "/"
    return root if "://" in root else str(Path(root).expanduser().absolute())


def _read_checked(config: DataConfig) -> Manifest:
    manifest = _read(config)
    _check_payload(manifest, config)
    _check_slices(manifest, config)
    return manifest


def _read(config: DataConfig) -> Manifest:
    if config.source != "auto" and config.source not in SOURCES:
        raise ConfigError(
            f"data.source is {config.source!r}, which is no layout{did_you_mean(config.source, SOURCES)}"
        )
    generated = [name for name, source in SOURCES.items() if source.generated]
    if config.source in generated:
        return SOURCES[config.source].read(config, open_storage("", config))
    if not config.root:
        *names, last = map(repr, generated)
        raise ConfigError(
            "data.root is not set; name the folder of the data set, or use data.source = "
            f"{', '.join(names)} or {last}"
        )
    root = absolute_root(config.root)
    storage = open_storage(root, config)
    if not storage.exists(""):
        raise DataError(f"data.root {config.root}: no such folder; check the path{_on_every_node(root)}")
    called_a_file = is_archive(root) or is_gzipped(root) or root.lower().endswith(LISTS)
    if called_a_file if "://" in root else not Path(root).is_dir():
        return _read_file(config, root)
    if storage.exists(MANIFEST_FILE):
        return Manifest.load(f"{root}/{MANIFEST_FILE}", schemes=MAKERS)
    if storage.exists(PREPARE_FOLDER):
        raise DataError(
            f"data.root {config.root}: holds an unfinished `raytrain prepare`; run the same command again"
        )
    return _with_advice(_read_layout(config, storage))


def _with_advice(manifest: Manifest) -> Manifest:
    """Return the manifest of many files with a note that they need not be looked at by every command."""
    if len(manifest) < ADVISED_FROM:
        return manifest
    advice = (
        f"{manifest.root}: {len(manifest):,} files are listed and looked at by every command; after one "
        "`raytrain prepare` a command starts ten times faster"
    )
    return replace(manifest, notes=(*manifest.notes, advice))


def _read_file(config: DataConfig, root: str) -> Manifest:
    """Return the manifest of a root that is no folder."""
    if is_gzipped(root):
        raise refuse_gzipped(config.root)
    if is_archive(root):
        archive = ArchiveStorage(root, read_timeout_s=config.read_timeout_s, read_retries=config.read_retries)
        return archive.place(_read_layout(config, archive))
    if root.lower().endswith(LISTS):
        folder, _, name = root.rpartition("/")
        if config.source not in ("auto", "csv", "codebrim"):
            raise ConfigError(
                f"data.root {config.root}: is a list, but data.source is {config.source}; set it to csv"
            )
        listed = replace(config, root=folder, csv=replace(config.csv, file=name))
        read = SOURCES["csv" if config.source == "auto" else config.source].read
        storage = open_storage(folder or "/", config)
        return _accounted(read(listed, storage), storage)
    raise DataError(
        f"data.root {config.root}: is a file; name the folder that holds the data set, a .tar or .zip of it, "
        "or a .csv list"
    )


def _read_layout(config: DataConfig, storage: Storage) -> Manifest:
    if storage.exists("config.toml") and is_own(_names(storage)):
        raise DataError(f"data.root {config.root}: is the folder of a run; name the folder of its data")
    return _accounted(SOURCES[_layout(config, storage)].read(config, storage), storage)


def _layout(config: DataConfig, storage: Storage) -> str:
    """Return the name of the layout that the root holds."""
    if config.source != "auto":
        return config.source
    found = [name for name, source in SOURCES.items() if source.detect and source.detect(storage)]
    if len(found) > 1:
        raise ConfigError(
            f"data.root {config.root}: holds the layouts of {' and '.join(found)}; name one by data.source"
        )
    if not found and (first := first_medium(storage) or first_medium(storage, (RECORDINGS,))):
        found = [
            name for name, source in SOURCES.items() if source.recognise and source.recognise(storage, first)
        ]
    return found[0] if found else "folder"


def _names(storage: Storage) -> set[str]:
    return {file.path for file in storage.list_files(recursive=False)}


def _accounted(manifest: Manifest, storage: Storage) -> Manifest:
    """Return the manifest with a note, before all others, of the files below the root that are no samples.

    Across a network only where the layout listed all files itself: a bucket may hold far more than the data.
    """
    if "://" in storage.root and storage.listed is None and not isinstance(storage, ArchiveStorage):
        return manifest
    try:
        files = storage.all_files()
        notes = (*left_out(manifest, files, storage.lists).note(), *empty_folders(storage, files))
    except DataError as error:  # beside the layout, where nothing was looked for
        notes = (f"not counted what is left out: {error}",)
    return replace(manifest, notes=(*notes, *manifest.notes))


def _on_every_node(root: str) -> str:
    return "" if "://" in root else " (on a cluster: on every node)"


def _check_payload(manifest: Manifest, config: DataConfig) -> None:
    wanted = (config.canvas_px, config.fit)
    if manifest.payload == "uint8" and (manifest.canvas_px, manifest.fit) != wanted:
        raise ConfigError(
            f"data.root {config.root} was prepared as uint8 of {manifest.canvas_px} px, fit {manifest.fit}, "
            f"but data.canvas_px is {config.canvas_px}, data.fit {config.fit}; set them alike or prepare "
            "again"
        )


def _check_slices(manifest: Manifest, config: DataConfig) -> None:
    """Raise ConfigError where slices are asked of recordings that were not packed in such slices."""
    events = config.events
    if manifest.modality != "events" or not events.cuts:
        return
    made = json.loads(manifest.request) if manifest.request else {}
    if (made.get("slice_us", 0), made.get("slice_events", 0)) == (events.slice_us, events.slice_events):
        return
    name = "slice_ms" if events.slice_ms else "slice_events"
    raise ConfigError(
        f"data.events.{name} is {getattr(events, name):g}, but the recordings of data.root {config.root} are "
        "not cut so; slices are made once: raytrain prepare --shards encoded with this setting, and train on "
        "its --out"
    )


def _check_enough(manifest: Manifest, config: DataConfig) -> None:
    """Refuse less than two samples or classes; what the source noted comes first, as it may be the cause."""
    what = f"data.root {config.root}" if config.root else f"data.source {config.source}"
    first = "".join(f"{note}; " for note in manifest.notes)
    first += "so it " if first else ""
    if len(manifest) < 2:
        raise ConfigError(f"{what}: {first}holds {len(manifest)} sample only; at least two are needed")
    if len(manifest.classes) == 1:
        raise ConfigError(
            f"{what}: {first}holds one class only ({manifest.classes[0]}); a probe needs two or more; is "
            "data.root the folder above the class folders?"
        )
