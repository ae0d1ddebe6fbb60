"""What the sources of event recordings share: samples from class folders, sensor size, counts where cheap."""

import io
from collections.abc import Callable, Iterable
from dataclasses import replace

import pyarrow as pa

from pipelines.decode.events import decode_events
from pipelines.decode.recordings import arrays, bin40, dat
from pipelines.forms.media import RECORDINGS as MEDIUM
from pipelines.forms.media import extension, is_hidden
from pipelines.forms.quarantine import BadSample
from pipelines.forms.recording import Recording
from pipelines.sources.media import describe, split_by_medium
from pipelines.sources.records import join
from pipelines.sources.samples import Sample, build_manifest
from pipelines.storage.event_payload import parse_payload
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError

_HEADER_BYTES = 4096
_SAY_LITTLE = (".npy", ".npz", ".h5", ".hdf5", ".aedat4")
"""files of numbers, where what is what is told by value; and of which only a part may be read"""
_MOST_LOOKED_AT = 5

Place = Callable[[str], "tuple[str, str, str] | None"]
"""path below the base -> split, class name and group (empty: its own); None: no sample"""


def find_base(storage: Storage, bases: Iterable[str], folders: Iterable[str]) -> str | None:
    """Return the first of the bases that holds one of the folders; None: none does.

    With few questions, because across a network each takes long and every root is asked.
    """
    inner: dict[str, list[str]] = {}
    for name in folders:
        inner.setdefault(name.partition("/")[0], []).append(name)
    for base in bases:
        if base and not storage.exists(base):
            continue
        there = (name for top, names in inner.items() if storage.exists(join(base, top)) for name in names)
        if any("/" not in name or storage.exists(join(base, name)) for name in there):
            return base
    return None


def first_file(storage: Storage, folder: str) -> str:
    """Return the path of the first recording in a folder's folders; empty: there is none.

    Only the first folders are listed: it is to be called for every root.
    """
    for inner in storage.list_folders(folder)[:3]:
        for file in storage.list_files(inner, recursive=False):
            if MEDIUM.holds(file.path) and not is_hidden(file.path):
                return file.path
    return ""


def read_layout(
    config: DataConfig,
    storage: Storage,
    place: Place,
    *,
    base: str | None,
    absent: str,
    extensions: tuple[str, ...],
    sensor: tuple[int, int],
    classes: tuple[str, ...] = (),
    payload: str = "",
) -> Manifest:
    """Return the manifest of the recordings below a base, each where `place` says.

    absent: what is said where there is no base. sensor: width and height in px. classes: all names in their
    order; empty: those found, sorted.

    Raises:
        DataError: no base, or no recordings.
    """
    if base is None:
        raise DataError(f"data.root {storage.root}: {absent}")
    prefix = f"{base}/" if base else ""
    files, others = split_by_medium(storage.list_files(base), MEDIUM)
    placed: list[tuple[FileInfo, tuple[str, str, str]]] = []
    for file in files:
        found = place(file.path.removeprefix(prefix)) if extension(file.path) in extensions else None
        if found is not None:
            placed.append((file, found))
    if not placed:
        raise DataError(
            f"data.root {storage.root}: no recordings ({', '.join(extensions)}) of {config.source} in their "
            f"places; {describe(others or files)}"
        )
    names = classes or tuple(sorted({name for _, (_, name, _) in placed}))
    samples = [
        Sample(
            key=file.path.removeprefix(prefix),
            uri=file.path,
            size=file.size,
            split=split,
            label=names.index(name),
            group=group,
            payload=payload,
        )
        for file, (split, name, group) in placed
    ]
    manifest = build_manifest(samples, root=storage.root, classes=names, config=config, modality="events")
    return finish_manifest(manifest, storage, config, sensor=sensor)


def finish_manifest(
    manifest: Manifest, storage: Storage, config: DataConfig, *, sensor: tuple[int, int]
) -> Manifest:
    """Return the manifest with its sensor's size, data.events before the data set's own, and known counts."""
    table = manifest.table
    if "num_events" not in table.column_names:
        columns = (table[name].to_pylist() for name in ("uri", "bytes"))
        counts = [count_events(storage, uri, size) for uri, size in zip(*columns, strict=True)]
        table = table.append_column("num_events", pa.array(counts, pa.int64()))
    return replace(
        manifest,
        table=table,
        notes=(*manifest.notes, *_told_by_value(manifest, storage, config)),
        modality="events",
        sensor_width=config.events.sensor_width or sensor[0],
        sensor_height=config.events.sensor_height or sensor[1],
    )


def sensor_of(manifest: Manifest, storage: Storage, config: DataConfig) -> tuple[int, int]:
    """Return the size of the sensor as set, else as the first of some recordings says it that does.

    Raises:
        ConfigError: neither is so.
    """
    if config.events.sensor_width:
        return config.events.sensor_width, config.events.sensor_height
    uris = manifest.table["uri"].slice(0, _MOST_LOOKED_AT).to_pylist()
    reasons: dict[str, str] = {}
    for number, uri in enumerate(uris):
        try:
            recording = _recording(number, manifest, storage, config)
        except BadSample as bad:
            reasons[uri] = bad.reason
            continue
        if recording.width and recording.height:
            return recording.width, recording.height
        reasons[uri] = "it does not say"
    uri, reason = next(iter(reasons.items()))
    raise ConfigError(
        f"data.root {storage.root}: the sensor's size is not known from {uri} ({reason}); set "
        "data.events.sensor_width and data.events.sensor_height"
    )


def _told_by_value(manifest: Manifest, storage: Storage, config: DataConfig) -> tuple[str, ...]:
    """Return the note of how files that do not say what they hold are read, by the first with events."""
    note: tuple[str, ...] = ()
    for number, uri in enumerate(manifest.table["uri"].slice(0, _MOST_LOOKED_AT).to_pylist()):
        if extension(uri) not in _SAY_LITTLE:
            return note
        try:
            recording = _recording(number, manifest, storage, config)
        except BadSample as bad:
            note = note or (f"{uri} cannot be read: {bad.reason}",)
            continue
        if len(recording):
            if not recording.read_as:
                return ()
            lasts = f"{len(recording)} events in {recording.duration_us / 1e6:.4g} s"
            settings = "data.events.columns, data.events.time_unit"
            return (f"{uri} is read as {recording.read_as}: {lasts} (by value; {settings})",)
    return note


def _recording(number: int, manifest: Manifest, storage: Storage, config: DataConfig) -> Recording:
    """Return the recording of the file of a row.

    Raises:
        BadSample: it cannot be read.
    """
    row, events = manifest.table.slice(number, 1), config.events
    uri = row["uri"][0].as_py()
    payload = row["payload"][0].as_py() if "payload" in row.column_names else ""
    return decode_events(
        storage.read_bytes(uri),
        name=uri,
        width=events.sensor_width,
        height=events.sensor_height,
        tick_us=events.tick_us or parse_payload(payload or "").tick_us,
        columns=events.columns,
        sort_within_us=events.sort_within_us,
    )


def count_events(storage: Storage, path: str, size: int) -> int:
    """Return how many events a file holds where its size or a local file's header says it, else -1."""
    ending = extension(path)
    if size < 0:
        return -1
    if ending == ".bin":
        return size // bin40.RECORD_BYTES
    # Across a network, and in archives, a request for each file would take longer than it is worth.
    if ending not in (".dat", ".npy") or type(storage) is not Storage or "://" in storage.root:
        return -1
    try:
        head = storage.read_bytes(path, length=_HEADER_BYTES)
        if ending == ".dat":
            return (size - dat.header_bytes(head)) // dat.RECORD_BYTES
        return _npy_length(head)
    except Exception:  # a damaged header may raise anything; what is wrong is said when the file is decoded
        return -1


def _npy_length(head: bytes) -> int:
    """Return the events of the array that a file's first bytes announce, -1 where they announce none."""
    shape, _, dtype = arrays.read_npy_header(io.BytesIO(head))
    if dtype.names or len(shape) != 2:
        return int(shape[0]) if shape else -1
    # Of [4, 4] the values decide, which gives the same number.
    return next((shape[1 - axis] for axis in (1, 0) if shape[axis] == 4), -1)
