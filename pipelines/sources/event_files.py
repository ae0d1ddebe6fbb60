"""What the sources of event recordings share: samples from class folders, sensor size, counts where cheap."""

import io
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipelines.decode.events import decode_events
from pipelines.decode.recordings import bin40, dat
from pipelines.forms.media import RECORDINGS as MEDIUM
from pipelines.forms.media import extension, is_hidden
from pipelines.forms.quarantine import BadSample
from pipelines.sources.media import describe, split_by_medium
from pipelines.sources.records import join
from pipelines.sources.samples import Sample, build_manifest
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError

_HEADER_BYTES = 4096
_NPY_MAGIC = b"\x93NUMPY"

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
        modality="events",
        sensor_width=config.events.sensor_width or sensor[0],
        sensor_height=config.events.sensor_height or sensor[1],
    )


def sensor_of(manifest: Manifest, storage: Storage, config: DataConfig) -> tuple[int, int]:
    """Return the size of the sensor as set, else as the first recording's file says it.

    Raises:
        ConfigError: neither is so.
    """
    if config.events.sensor_width:
        return config.events.sensor_width, config.events.sensor_height
    uri = manifest.table["uri"][0].as_py()
    reason = "it does not say"
    try:
        sort_within_us = config.events.sort_within_us
        recording = decode_events(storage.read_bytes(uri), name=uri, sort_within_us=sort_within_us)
        if recording.width and recording.height:
            return recording.width, recording.height
    except BadSample as bad:
        reason = bad.reason
    raise ConfigError(
        f"data.root {storage.root}: the sensor's size is not known from {uri} ({reason}); set "
        "data.events.sensor_width and data.events.sensor_height"
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
    if not head.startswith(_NPY_MAGIC):
        return -1
    file = io.BytesIO(head)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape = read(file)[0]
    return int(shape[0]) if shape else -1
