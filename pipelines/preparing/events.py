"""What `prepare` does with recordings of events: cuts them into slices and packs those into shards."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.forms.quarantine import BadSample
from pipelines.forms.recording import cut_recording
from pipelines.modalities.base import Examined
from pipelines.preparing.entry import Entry
from pipelines.storage.columns import TEXT, text_array
from pipelines.storage.event_shards import (
    EVENT_BYTES,
    PackedRow,
    PlacedRow,
    check_packable,
    write_event_shard,
)
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig


def whole_recordings(config: DataConfig) -> DataConfig:
    """Return the settings without slices, as the data are before they are cut."""
    return replace(config, events=replace(config.events, slice_ms=0.0, slice_events=0))


def event_entries(sample: Examined, entry: Entry, config: DataConfig, *, shards: str) -> list[Entry]:
    """Return what becomes of a good recording: itself, or the pieces of it that are packed.

    entry: of the recording as it is stored.
    """
    assert sample.recording is not None
    if shards == "none":
        size = entry.size if sample.payload else -1  # generated: nothing is stored
        return [replace(entry, size=size, num_events=len(sample.recording))]
    events = config.events
    pieces = list(cut_recording(sample.recording, slice_us=events.slice_us, slice_events=events.slice_events))
    try:
        for piece in pieces:
            check_packable(piece)
    except BadSample as bad:
        return [Entry(row=sample.row, reason=bad.reason, fate=bad.fate)]
    return [
        Entry(
            row=sample.row,
            addition=f"#{number:05d}" if events.cuts else "",
            size=EVENT_BYTES * len(piece),
            num_events=len(piece),
            recording=piece,
        )
        for number, piece in enumerate(pieces)
    ]


def pack_part(target: Storage, path: str, source: Manifest, part: list[Entry], *, codec: str) -> list[Entry]:
    """Write the good recordings of a part as a shard and return the part with their places."""
    good = [(entry, entry.recording) for entry in part if entry.recording is not None]
    table = source.table.take(np.array([entry.row for entry, _ in good], np.int64))
    known = zip(*(table[name].to_pylist() for name in ("key", "split", "group", "label")), strict=True)
    rows = [
        PackedRow(key=key + entry.addition, split=split, group=group, label=label, recording=recording)
        for (key, split, group, label), (entry, recording) in zip(known, good, strict=True)
    ]
    places = iter(write_event_shard(target, path, rows, codec=codec))
    return [entry if entry.recording is None else _placed(entry, path, next(places)) for entry in part]


def _placed(entry: Entry, path: str, place: PlacedRow) -> Entry:
    kind = str(place.payload)
    return replace(entry, uri=path, offset=place.offset, size=place.size, kind=kind, checksum=place.checksum)


def name_pieces(table: pa.Table, good: pa.Table, *, packed: bool) -> pa.Table:
    """Return the manifest's rows of the good entries with their keys, counts, and how they are stored."""
    columns = {
        "key": pc.binary_join_element_wise(table["key"], text_array(good["addition"]), pa.scalar("", TEXT))
    }
    columns["num_events"] = good["num_events"]
    if packed:
        columns["payload"] = good["kind"]
    for name, column in columns.items():
        place = table.schema.get_field_index(name)
        table = table.append_column(name, column) if place < 0 else table.set_column(place, name, column)
    return table
