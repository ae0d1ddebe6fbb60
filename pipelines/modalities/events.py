"""Recordings of an event camera: flat columns x, y, t, p, without padding."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.image import fit_canvas
from pipelines.decode.read_events import decode_row, read_events, sensor_size
from pipelines.forms import event_columns
from pipelines.forms.chunk import Chunk
from pipelines.forms.clips import ClipPlanner
from pipelines.forms.recording import count_picture
from pipelines.modalities.base import DecodedSample, Examined, Joined, Modality
from pipelines.modalities.parts import Part, places_of
from pipelines.storage.manifest import Manifest
from pipelines.storage.payload import checksum
from pipelines.storage.places import Storage
from pipelines.storage.rows import Row
from raytrain.config.data import DataConfig, EventsConfig
from raytrain.config.operators import UNCHANGED, CountConfig, EventOperatorConfig
from raytrain.config.pathway import PathwayConfig
from raytrain.config.run import RunConfig
from raytrain.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.modalities.base import Pixels
    from pipelines.views.events import Events, Room

BYTES_AN_EVENT = 13  # two of x, two of y, eight of t, one of p
UNKNOWN_EVENTS = 20_000  # of a recording whose events nobody has counted


class EventModality(Modality):
    """Recordings of events. The columns of a chunk: see `pipelines.forms.event_columns`."""

    name = "events"
    purpose = (
        "Recordings of event cameras (.aedat4, .dat, .npy, .h5, ...); taken by event operators and stems"
    )
    ragged = event_columns.RAGGED
    has_movie = True
    sections = ("representations",)
    wanted = "an event operator, e.g. operator = 'count'"
    unit = "bin"
    axes: ClassVar = {
        "patches": ("patches", "rows, recordings, columns, channels, px, px"),
        "surface": ("surfaces", "1, recordings, 1, channels, px, px"),
        "bins": ("bins", "bins, recordings, 1, polarities, px, px"),
    }
    size_setting = "the side of its maps"
    caption = "The first training recordings; brighter events red, darker ones blue, summed over the bins."

    def read(
        self, row: Row, storage: Storage, data: DataConfig, *, planner: ClipPlanner | None, epoch: int
    ) -> DecodedSample:
        """Return a row's recording, or the window of one that is the sample."""
        recording = read_events(row, storage, data)
        notes = ("late_events",) if recording.num_late else ()
        return DecodedSample(event_columns.event_columns(recording), notes)

    def blank(
        self, data: DataConfig, *, sensor: tuple[int, int], planner: ClipPlanner | None, epoch: int
    ) -> DecodedSample:
        """Return a recording without events."""
        return DecodedSample(event_columns.blank_columns(*sensor))

    def examine(self, row: Row, storage: Storage, data: DataConfig) -> Examined:
        """Decode a recording whole; its picture is the count of events: brighter red, darker blue."""
        recording, payload = decode_row(row, storage, data)
        picture = count_picture(recording)
        return Examined(
            payload=payload,
            checksum=checksum(payload) if payload else "",
            width=picture.shape[2],
            height=picture.shape[1],
            image=fit_canvas(picture, canvas_px=data.canvas_px, fit=data.fit),
            num_frames=0,
            duration_s=recording.duration_us / 1e6,
            recording=recording,
        )

    def prepared_by(self, manifest: Manifest, data: DataConfig, shards: str) -> dict[str, Any]:
        """Return the sensor, and of packed recordings how they are cut and compressed.

        Raises:
            ConfigError: shards of canvases, or slices that are not packed.
        """
        if shards == "uint8":
            raise ConfigError("--shards uint8 is for images; --shards encoded packs recordings of events")
        if data.events.cuts and shards == "none":
            name = "slice_ms" if data.events.slice_ms else "slice_events"
            raise ConfigError(f"data.events.{name} is set, but slices must be packed; add --shards encoded")
        request: dict[str, Any] = {"sensor": sensor_size(manifest, data)}
        if shards != "none":
            events = data.events
            request |= {"slice_us": events.slice_us, "slice_events": events.slice_events}
            request["compression"] = events.compression
            # Packed once, events are no longer read so: only where it is set, to know folders of before.
            read_as = {name: getattr(events, name) for name in ("columns", "time_unit", "sort_within_us")}
            request |= {
                name: value for name, value in read_as.items() if value != getattr(EventsConfig(), name)
            }
        return request

    def request(self, pathway: PathwayConfig) -> str:
        """Return the one name there is."""
        return "events"

    def settled(self, config: RunConfig, manifest: Manifest) -> RunConfig:
        """Return the settings with the sensor's size."""
        width, height = sensor_size(manifest, config.data)
        events = replace(config.data.events, sensor_width=width, sensor_height=height)
        return replace(config, data=replace(config.data, events=events))

    def sample_bytes(self, config: RunConfig, names: Collection[str], manifest: Manifest) -> int:
        """Return the mean bytes of a recording of the pretrain split: a pure function of the manifest."""
        counts = manifest.num_events
        known = np.zeros(0) if counts is None else counts[counts > 0]
        mean = float(known.mean()) if len(known) else UNKNOWN_EVENTS
        return max(1, int(BYTES_AN_EVENT * mean))

    def join(self, parts: Sequence[Part], request: str, room: "Room") -> Joined:
        """Return the recordings in a row."""
        from pipelines.views.events import join_events

        return Joined(pixels=join_events(places_of(parts), room=room))

    def pieces(self, chunk: Chunk, pathway: PathwayConfig, *, size: int) -> Iterator["Pixels"]:
        """Yield the recordings, at most `size` of them in a row."""
        from pipelines.views.events import join_events

        for start in range(0, len(chunk), size):
            yield join_events([(chunk, place) for place in range(start, min(start + size, len(chunk)))])

    def empty(self, pathway: PathwayConfig, *, canvas_px: int, sensor: tuple[int, int]) -> "Pixels":
        """Return a recording without events."""
        import torch

        from pipelines.views.events import Events

        none = torch.zeros(0, dtype=torch.int32)
        offsets = torch.zeros(2, dtype=torch.int64)
        width, height = sensor
        return Events(
            x=none, y=none, t=none.long(), p=none.byte(), offsets=offsets, width=width, height=height
        )

    def amounts(self, pixels: "Pixels") -> dict[str, int]:
        """Return how many recordings and how many events."""
        return {"samples": len(pixels), "events": _events(pixels).num_events}

    def floor(self, pixels: "Pixels") -> "Tensor":
        """Return how many events of each polarity every pixel has."""
        from pipelines.views.operators.events import build_event_operator

        counted: Tensor = build_event_operator(CountConfig())(pixels)
        return counted

    def pictures(self, pixels: "Pixels") -> NDArray[np.uint8]:
        """Return how many events there are: brighter ones red, darker ones blue."""
        from pipelines.views.events import event_pictures

        return event_pictures(_events(pixels))

    def operated(self, config: RunConfig, pixels: "Pixels") -> dict[str, NDArray[np.float32]]:
        """Return each surface's sum over its bins, polarities as colours."""
        from pipelines.views.events import polarities
        from pipelines.views.operators.events import build_event_operator

        found: dict[str, NDArray[np.float32]] = {}
        for settings in _surfaces(config):
            operator = build_event_operator(settings)
            found[settings.name] = polarities(operator(pixels).numpy(), operator.num_polarities)
        return found

    def watched(self, pixels: "Pixels") -> tuple[str, "Tensor"]:
        """Return the number of events of each recording."""
        return "events a recording", _events(pixels).counts

    def words(self, pixels: "Pixels") -> str:
        """Return e.g. `12,345 events`."""
        return f"{_events(pixels).num_events:,} events"


def _events(pixels: "Pixels") -> "Events":
    from pipelines.views.events import Events

    assert isinstance(pixels, Events)
    return pixels


def _surfaces(config: RunConfig) -> list[EventOperatorConfig]:
    """Return the surfaces that the pathways take; where they are for other samples one of each kind."""
    operators = {pathway.operator.name: pathway.operator for pathway in config.pathways.values()}
    found: list[EventOperatorConfig] = [
        operator for operator in operators.values() if isinstance(operator, EventOperatorConfig)
    ]
    if not found:
        found = [kind() for kind in get_args(EventOperatorConfig)]
    return [operator for operator in found if operator.name not in UNCHANGED]
