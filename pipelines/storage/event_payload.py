"""How the events of a sample lie in its bytes: the manifest's `payload` of a recording, as a short text."""

from dataclasses import dataclass

from pipelines.forms.quarantine import BadSample

_PREFIX = "events:"
NUM_COLUMNS = 4


@dataclass(frozen=True)
class PackedColumn:
    """One of x, y, t, p of a packed recording: bytes of the Parquet page's header, then of its data."""

    header_bytes: int
    data_bytes: int


@dataclass(frozen=True, kw_only=True)
class EventPayload:
    """A file of a recording, of which only some is the sample; or, with `packed`, a row of a shard."""

    start_us: int | None = None
    """the sample is what lies in start_us <= t < end_us of the file"""
    end_us: int | None = None
    tick_us: float = 0.0
    """what one tick of the file is; 0: as the format has it"""
    codec: str = ""
    """of a row of a shard: none, lz4 or zstd"""
    t0_us: int = 0
    """stamp that those of a row of a shard count from"""
    num_events: int = 0
    """of a row of a shard"""
    packed: tuple[PackedColumn, ...] = ()
    """x, y, t, p of a row of a shard, in this order and without gaps"""

    def __str__(self) -> str:
        if self.packed:
            columns = ",".join(f"{column.header_bytes}+{column.data_bytes}" for column in self.packed)
            return f"{_PREFIX}packed:{self.codec}:{self.t0_us}:{self.num_events}:{columns}"
        words = [f"tick:{self.tick_us:g}"] if self.tick_us else []
        if self.start_us is not None:
            words.append(f"window:{self.start_us}:{self.end_us}")
        return _PREFIX + ":".join(words) if words else ""


def parse_payload(kind: str) -> EventPayload:
    """Return what a manifest's payload says of a recording; `encoded` and "" are the whole file.

    Raises:
        BadSample: it is none of a recording.
    """
    if kind in ("", "encoded"):
        return EventPayload()
    try:
        if not kind.startswith(_PREFIX):
            raise ValueError
        words = kind.removeprefix(_PREFIX).split(":")
        if words[0] == "packed":
            return _parse_packed(words)
        tick_us = 0.0
        if words[0] == "tick":
            tick_us, words = float(words[1]), words[2:]
        if not words:
            return EventPayload(tick_us=tick_us)
        name, start, end = words
        if name != "window":
            raise ValueError
        return EventPayload(start_us=int(start), end_us=int(end), tick_us=tick_us)
    except (ValueError, IndexError):
        raise BadSample(f"the manifest's payload {kind!r} is no recording's; prepare it again") from None


def _parse_packed(words: list[str]) -> EventPayload:
    _, codec, t0_us, num_events, columns = words
    sizes = [column.split("+") for column in columns.split(",")]
    packed = tuple(PackedColumn(int(header), int(data)) for header, data in sizes)
    if len(packed) != NUM_COLUMNS:
        raise ValueError
    return EventPayload(codec=codec, t0_us=int(t0_us), num_events=int(num_events), packed=packed)
