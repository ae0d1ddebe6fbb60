"""Kinetics: train/<class>/*.mp4 beside val/<class>/*.mp4, or files anywhere with the published .csv lists.

A list has the columns label, youtube_id, time_start, time_end and split; a file is called <youtube_id>.mp4 or
<youtube_id>_<start>_<end>.mp4 with six digits each. A group is the video of which clips were cut: its id.
Without a test split `val` is the test split. Many videos are no longer to be had, so listed files that are
missing are left out and counted. Flat files without a list have no labels: all for pretraining.
Source: Kay et al., "The Kinetics human action video dataset", 2017.
"""

import csv
import io
import re
from dataclasses import dataclass, replace

from pipelines.forms.media import VIDEOS
from pipelines.sources.folder import read_class_folders
from pipelines.sources.media import describe, split_by_medium
from pipelines.sources.records import peek, read_file
from pipelines.sources.samples import Sample, build_manifest
from pipelines.sources.split_names import split_of
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError

_COLUMNS = ("label", "youtube_id")
_TRIMMED = re.compile(r"(.+)_(\d{6})_(\d{6})")
_LONGEST_S = 60
"""of a clip, which are ten seconds long: names of cameras have a date and a time there"""
_SHOWN = 3


@dataclass(frozen=True)
class _Clip:
    """One line of a list."""

    where: str
    names: tuple[str, ...]
    """what its file may be called, without extension"""
    label: str
    split: str


def recognise(storage: Storage, first: str) -> bool:
    """Return whether the first video below the root is called like a trimmed clip, or a list lies there."""
    if not VIDEOS.holds(first):
        return False
    return _trimmed(first) is not None or any(_is_list(storage, path) for path in _csv_files(storage))


def read_kinetics(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest; the clips of one video are never divided.

    Raises:
        ConfigError: data.csv.file names no such list.
        DataError: no videos, a broken list, or one that names no file that is there.
    """
    named = [config.csv.file] if config.csv.file else []
    paths = named or [path for path in _csv_files(storage) if _is_list(storage, path)]
    if not paths or (not named and "train" in map(split_of, map(_last, storage.list_folders()))):
        found_in_folders = read_class_folders(config, storage, VIDEOS, group_of=video_of)
        return _with_missing(found_in_folders, [clip for path in paths for clip in _read_list(storage, path)])
    if named and not storage.exists(named[0]):
        raise ConfigError(f"data.csv.file {storage.root}/{named[0]}: no such list below data.root")
    clips = [clip for path in paths for clip in _read_list(storage, path)]
    files, others = split_by_medium(storage.all_files(), VIDEOS)
    if not files:
        raise DataError(f"data.root {storage.root}: no videos beside the list; {describe(others)}")
    found, notes = _match(clips, files, storage)
    if not any(clip.split == "test" and clip.label for clip, _ in found):
        # As in ImageNet: the labels of the test videos are not published.
        found = [(clip, file) for clip, file in found if clip.split != "test"]
        test = {"select": "test"}
    else:
        test = {}
    classes = sorted({clip.label for clip, _ in found} - {""})
    samples = [
        Sample(
            key=file.path,
            uri=file.path,
            size=file.size,
            split=test.get(clip.split, clip.split) if clip.label else "pretrain",
            label=classes.index(clip.label) if clip.label else -1,
            group=video_of(file.path),
        )
        for clip, file in found
    ]
    return build_manifest(
        samples, root=storage.root, classes=tuple(classes), config=config, modality="clip", notes=notes
    )


def _with_missing(manifest: Manifest, clips: list[_Clip]) -> Manifest:
    """Return a manifest of class folders with a note of the clips that lists beside them name in vain."""
    stems = {_stem(path) for path in manifest.table["uri"].to_pylist()}
    missing = [clip.names[0] for clip in clips if not stems.intersection(clip.names)]
    return replace(manifest, notes=(*manifest.notes, *_missing_note(missing, len(clips))))


def _missing_note(missing: list[str], num_listed: int) -> tuple[str, ...]:
    if not missing:
        return ()
    return (f"{len(missing)} of {num_listed} listed videos are missing, e.g. {missing[0]}; left out",)


def video_of(path: str) -> str:
    """Return the id of the video that a file was cut from: abc of train/surfing/abc_000010_000020.mp4."""
    return _trimmed(path) or _stem(path)


def _trimmed(path: str) -> str | None:
    """Return the id of a trimmed clip's video; None: the file is not called like one."""
    found = _TRIMMED.fullmatch(_stem(path))
    return found[1] if found and 0 < int(found[3]) - int(found[2]) <= _LONGEST_S else None


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _stem(path: str) -> str:
    return _last(path).rpartition(".")[0]


def _csv_files(storage: Storage) -> list[str]:
    return [f.path for f in storage.list_files(recursive=False) if f.path.lower().endswith(".csv")]


def _is_list(storage: Storage, path: str) -> bool:
    header = peek(storage, path).partition(b"\n")[0].decode("utf-8", "replace")
    return set(_COLUMNS) <= {name.strip().strip('"') for name in header.lstrip("\ufeff").split(",")}


def _read_list(storage: Storage, path: str) -> list[_Clip]:
    where = f"{storage.root}/{path}"
    try:
        reader = csv.DictReader(io.StringIO(read_file(storage, path).decode("utf-8-sig"), newline=""))
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: no list: {error}; download it again") from None
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"{where}: no column {missing[0]!r}; a list of Kinetics has label, youtube_id, time_start, "
            "time_end, split (any other: data.source = csv)"
        )
    return [_read_row(row, f"{where}, line {line}") for line, row in rows]


def _read_row(row: dict[str, str | None], where: str) -> _Clip:
    values = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    video, named = values["youtube_id"], values.get("split", "")
    split = split_of(named) if named else "train"
    if not video or not split:
        wrong = f"unknown split {named!r}" if video else "no youtube_id"
        raise DataError(f"{where}: {wrong}; repair the line, or download the list again")
    names = [video]
    if values.get("time_start") and values.get("time_end"):
        try:
            start, end = (round(float(values[name])) for name in ("time_start", "time_end"))
        except (ValueError, OverflowError):
            raise DataError(f"{where}: time_start and time_end must be seconds; repair the line") from None
        names.insert(0, f"{video}_{start:06d}_{end:06d}")
    return _Clip(where, tuple(names), values["label"], split)


def _match(
    clips: list[_Clip], files: list[FileInfo], storage: Storage
) -> tuple[list[tuple[_Clip, FileInfo]], tuple[str, ...]]:
    """Return the listed clips that are there with their files, and a note on those that are not."""
    by_name = {_stem(file.path): file for file in files}
    if len(by_name) < len(files):
        raise DataError(f"data.root {storage.root}: two videos have the same name; keep one of them")
    found: dict[str, tuple[_Clip, FileInfo]] = {}
    missing: list[str] = []
    for clip in clips:
        name = next((name for name in clip.names if name in by_name), None)
        if name is None:
            missing.append(clip.names[0])
            continue
        first = found.setdefault(name, (clip, by_name[name]))[0]
        if (first.label, first.split) != (clip.label, clip.split):
            raise DataError(
                f"{clip.where}: {by_name[name].path} is {clip.label} ({clip.split}) here, but {first.label} "
                f"({first.split}) in {first.where}; drop one line"
            )
    if not found:
        raise DataError(
            f"data.root {storage.root}: none of the {len(clips)} listed videos is there, e.g. "
            f"{', '.join(missing[:_SHOWN])}.mp4; name the folder above the videos"
        )
    return list(found.values()), _missing_note(missing, len(clips))
