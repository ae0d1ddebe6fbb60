"""From a row to a recording of events, checked against the sensor."""

import threading
from collections import OrderedDict
from typing import Any

from pipelines.decode.events import decode_events
from pipelines.forms.media import RECORDINGS
from pipelines.forms.quarantine import BadSample
from pipelines.forms.recording import Recording
from pipelines.generated import is_generated, make_sample
from pipelines.storage.event_payload import EventPayload, parse_payload
from pipelines.storage.event_shards import unpack_recording
from pipelines.storage.manifest import Manifest
from pipelines.storage.payload import read_payload
from pipelines.storage.places import Storage, count_opened
from pipelines.storage.rows import Row
from raytrain.config.data import DataConfig

_KEPT_BYTES = 128 * 2**20
_BYTES_AN_EVENT = 13


class _Kept:
    """The last whole recordings that windows were taken from: their next window costs no decoding."""

    def __init__(self) -> None:
        self.recordings: OrderedDict[tuple[Any, ...], tuple[Recording, bytes]] = OrderedDict()
        self.lock = threading.Lock()

    def take(self, place: tuple[Any, ...]) -> tuple[Recording, bytes] | None:
        """Return a recording and its file's bytes; None: not kept."""
        with self.lock:
            if place in self.recordings:
                self.recordings.move_to_end(place)
            return self.recordings.get(place)

    def put(self, place: tuple[Any, ...], kept: tuple[Recording, bytes]) -> None:
        """Keep a recording as long as there is room."""
        with self.lock:
            self.recordings[place] = kept
            while self._size() > _KEPT_BYTES:
                self.recordings.popitem(last=False)

    def _size(self) -> int:
        return sum(
            _BYTES_AN_EVENT * len(recording) + len(data) for recording, data in self.recordings.values()
        )


_kept = _Kept()


def read_events(row: Row, storage: Storage, config: DataConfig) -> Recording:
    """Return a row's recording, or the window of one that is the sample.

    Raises:
        BadSample: missing, changed, broken, a pixel outside the sensor, or time that runs back.
        StorageError: storage failed for longer than the retries.
    """
    return decode_row(row, storage, config)[0]


def decode_row(row: Row, storage: Storage, config: DataConfig) -> tuple[Recording, bytes]:
    """Return a row's recording and the bytes it was stored as (none where it is generated).

    Raises:
        BadSample: as `read_events`.
        StorageError: storage failed for longer than the retries.
    """
    if is_generated(row.uri):
        count_opened()
        return make_sample(row.uri), b""
    width, height = known_sensor(row.sensor, config)
    layout = parse_payload(row.payload)
    size: dict[str, int] = {"width": width, "height": height}
    if layout.packed:
        data = read_payload(row, storage)
        return unpack_recording(data, layout, **size), data
    name = _file_name(row.uri, row.key)
    if layout.start_us is None or layout.end_us is None:
        data = read_payload(row, storage)
        return _decoded(data, name, config, layout, size), data
    place = (
        *(storage.root, row.uri, row.offset, row.size, row.checksum),
        *(width, height, layout.tick_us, config.events.tick_us),
        *(config.events.columns, config.events.sort_within_us),
    )
    kept = _kept.take(place)
    if kept is None:
        data = read_payload(row, storage)
        kept = _decoded(data, name, config, layout, size), data
        _kept.put(place, kept)
    else:
        count_opened()
    recording, data = kept
    window = recording.between(layout.start_us, layout.end_us)
    if not len(window) and len(recording):
        raise BadSample(
            f"no event in {layout.start_us} .. {layout.end_us} us; the recording has {recording.t[0]} .. "
            f"{recording.t[-1]} us"
        )
    return window, data


def _decoded(
    data: bytes, name: str, config: DataConfig, layout: EventPayload, size: dict[str, int]
) -> Recording:
    events = config.events
    return decode_events(
        data,
        name=name,
        **size,
        tick_us=events.tick_us or layout.tick_us,
        columns=events.columns,
        sort_within_us=events.sort_within_us,
    )


def _file_name(uri: str, key: str) -> str:
    """Return a name that ends as the recording's file does; where the uri is an archive, the key says it."""
    if RECORDINGS.holds(uri):
        return uri
    return key if RECORDINGS.holds(key) else key.rpartition("@")[0]


def sensor_size(manifest: Manifest, config: DataConfig) -> tuple[int, int]:
    """Return width and height of the sensor in px: data.events where set, else the manifest's; 0: unknown."""
    return known_sensor((manifest.sensor_width, manifest.sensor_height), config)


def known_sensor(own: tuple[int, int], config: DataConfig) -> tuple[int, int]:
    """Return width and height of a sensor in px: data.events where set, else its own."""
    return config.events.sensor_width or own[0], config.events.sensor_height or own[1]
