"""Any folder of event recordings: class folders or a ready split as for images, or a list of time windows.

A windows.csv below the root cuts samples out of whole recordings: columns file, label, start_us, end_us, and
where they are known split, group and events. Stamps are those of the file. Without a group column a recording
is one group; where its windows lie in several splits, each split's windows are one, and the manifest says so.

The sensor's size is data.events.sensor_width and _height, else what the first file says of it.
"""

import csv
import io
from dataclasses import dataclass, replace

import pyarrow as pa

from pipelines.forms.media import RECORDINGS
from pipelines.sources.event_files import finish_manifest, sensor_of
from pipelines.sources.folder import read_class_folders
from pipelines.sources.media import split_by_medium
from pipelines.sources.records import read_file
from pipelines.sources.samples import Sample, build_manifest
from pipelines.sources.split_names import READY_SPLITS, split_of
from pipelines.storage.event_payload import EventPayload
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

WINDOWS_FILE = "windows.csv"
_COLUMNS = ("file", "label", "start_us", "end_us")
_LABELS = "_labels.csv"
_PROBED = "probe_train"


def detect(storage: Storage) -> bool:
    """Return whether a list of windows lies in the root."""
    return storage.exists(WINDOWS_FILE)


def recognise(storage: Storage, first: str) -> bool:
    """Return whether the first file found below the root is a recording."""
    return RECORDINGS.holds(first)


def read_recordings(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest of a folder of recordings.

    Raises:
        DataError: no recordings, some outside the class folders, or a broken list of windows.
        ConfigError: the sensor's size is neither set nor said by the files.
    """
    if detect(storage):
        manifest = _read_windows(config, storage)
    else:
        manifest = _with_lists(read_class_folders(config, storage, RECORDINGS), storage)
    return finish_manifest(manifest, storage, config, sensor=sensor_of(manifest, storage, config))


def _with_lists(manifest: Manifest, storage: Storage) -> Manifest:
    """Return a manifest without classes with a note of label lists beside its recordings.

    Raises:
        DataError: the one folder of DVS128 Gesture as published counts as one class.
    """
    if len(manifest.classes) > 1:
        return manifest
    lists = [file.path for file in storage.all_files() if file.path.lower().endswith(_LABELS)]
    if not lists:
        return manifest
    says = (
        f"{len(lists)} lists of labels lie beside the recordings, e.g. {lists[0]}, as DVS128 Gesture is "
        f"published; write {WINDOWS_FILE} into data.root with the columns file,label,start_us,end_us,split,"
        "group: a line for each line of theirs (class, startTime_usec, endTime_usec), the split by "
        "trials_to_train.txt and trials_to_test.txt, the group the user"
    )
    if manifest.classes:
        raise DataError(f"data.root {storage.root}: {says}")
    return replace(manifest, notes=(*manifest.notes, says))


@dataclass(frozen=True)
class _Window:
    file: FileInfo
    label: str
    split: str
    group: str
    start_us: int
    end_us: int
    num_events: int


def _read_windows(config: DataConfig, storage: Storage) -> Manifest:
    files = {file.path: file for file in split_by_medium(storage.all_files(), RECORDINGS)[0]}
    where = f"{storage.root}/{WINDOWS_FILE}"
    try:
        text = read_file(storage, WINDOWS_FILE).decode("utf-8-sig")
        head = text.partition("\n")[0]
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        missing = [name for name in _COLUMNS if name not in columns]
        if missing:
            raise DataError(
                f"{where}: no column {missing[0]}; it has {', '.join(columns)}, and needs "
                f"{', '.join(_COLUMNS)}; rename them, or the file where it is no list of time windows"
            )
        windows = [_window(row, files, f"{where}, line {reader.line_num}") for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: no list: {error}; restore it") from None
    if not windows:
        raise DataError(f"{where}: names no window; a line is a sample")
    splits: dict[str, set[str]] = {}
    for window in windows:
        splits.setdefault(window.file.path, set()).add(window.split)
    divided = sorted(path for path, found in splits.items() if len(found) > 1)
    classes = tuple(sorted({window.label for window in windows} - {""}))
    samples = [
        Sample(
            key=f"{window.file.path}@{window.start_us}-{window.end_us}",
            uri=window.file.path,
            size=window.file.size,
            split=window.split if window.label else "pretrain",
            label=classes.index(window.label) if window.label else -1,
            group=window.group or _group(window, divided),
            payload=str(EventPayload(start_us=window.start_us, end_us=window.end_us)),
        )
        for window in windows
    ]
    notes: tuple[str, ...] = ()
    if divided and not any(window.group for window in windows):
        notes = (
            f"{WINDOWS_FILE} has windows of {len(divided)} recordings in several splits, e.g. {divided[0]}: "
            "scores also reward recognising the recording",
        )
    manifest = build_manifest(
        samples, root=storage.root, classes=classes, config=config, modality="events", notes=notes
    )
    counts = {sample.key: window.num_events for sample, window in zip(samples, windows, strict=True)}
    column = pa.array([counts[key] for key in manifest.table["key"].to_pylist()], pa.int64())
    return replace(manifest, table=manifest.table.append_column("num_events", column))


def _group(window: _Window, divided: list[str]) -> str:
    path = window.file.path
    return f"{path}/{window.split}" if path in divided else path


def _window(row: dict[str, str | None], files: dict[str, FileInfo], where: str) -> _Window:
    values = {
        name.strip().lower(): (value or "").strip() for name, value in row.items() if isinstance(name, str)
    }
    file, named = files.get(values["file"]), values.get("split", "")
    split = _PROBED if named.lower() == _PROBED else split_of(named) if named else "train"
    if file is None:
        raise DataError(
            f"{where}: no recording {values['file']!r} below data.root; restore it or drop the line"
        )
    if not split:
        raise DataError(f"{where}: unknown split {named!r}; known: {', '.join((*READY_SPLITS, _PROBED))}")
    try:
        start_us, end_us = int(values["start_us"]), int(values["end_us"])
        num_events = int(values.get("events") or -1)
    except ValueError:
        raise DataError(
            f"{where}: start_us, end_us and events must be whole numbers; repair the line"
        ) from None
    if end_us <= start_us:
        raise DataError(f"{where}: ends at {end_us} us, before it starts at {start_us} us; repair the line")
    return _Window(file, values["label"], split, values.get("group", ""), start_us, end_us, num_events)
