"""Recordings that claim, or unpack to, far more than they are: refused before they fill memory."""

import io
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.decode import events
from pipelines.decode.events import decode_events
from pipelines.forms.quarantine import BadSample
from pipelines.storage.event_payload import EventPayload, PackedColumn
from pipelines.storage.event_shards import unpack_recording
from tests.event_files import aedat4_file, npy_file, random_recording

MIB = 2**20


def refused(decode: Callable[[], Any]) -> tuple[str, int]:
    """The reason, and the most bytes that Python's, numpy's and Arrow's allocations held."""
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    try:
        with pytest.raises(BadSample) as caught:
            decode()
        return caught.value.reason, tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - before
    finally:
        tracemalloc.stop()


def compressed(data: bytes, codec: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(("codec", "name"), [(1, "lz4"), (3, "zstd")])
def test_a_packet_of_aedat4(codec: int, name: str) -> None:
    packet = compressed(bytes(64 * MIB), name)
    data = aedat4_file(random_recording(), codec=codec) + struct.pack("<ii", 1, len(packet)) + packet
    allowed = max(MIB, 200 * len(data))
    reason, peak = refused(lambda: decode_events(data, name="a.aedat4"))
    assert reason.startswith(f"AEDAT4: a packet of {len(packet)} bytes unpacks to more than ")
    assert reason.endswith("this looks like a decompression bomb")
    assert peak < 2 * allowed + 2 * MIB


def test_many_small_packets_of_aedat4_share_one_allowance() -> None:
    events = struct.pack("<iII", 8, 4, 60_000) + bytes(16 * 60_000)
    inner = struct.pack("<I4sHHHH", 16, b"EVTS", 6, 8, 4, 0) + events
    packet = compressed(struct.pack("<I", len(inner)) + inner, "zstd")
    data = aedat4_file(random_recording(), codec=3) + 60 * (struct.pack("<ii", 1, len(packet)) + packet)
    reason, peak = refused(lambda: decode_events(data, name="a.aedat4"))
    assert "decompression bomb" in reason
    assert peak < 4 * max(MIB, 200 * len(data))


def test_an_array_that_claims_more_than_it_holds() -> None:
    data = bytearray(npy_file(np.zeros((100, 4))))
    place = data.index(b"(100, 4)")
    claimed = b"(99999999, 4), }"
    data[place : place + len(claimed)] = claimed
    reason, peak = refused(lambda: decode_events(bytes(data), name="a.npy"))
    assert reason.startswith(".npy: cannot be read: buffer is smaller than requested size")
    assert peak < MIB


def test_a_packed_row_that_claims_more_than_it_holds() -> None:
    page = compressed(bytes(MIB), "zstd")
    layout = EventPayload(codec="zstd", num_events=10**9, packed=(PackedColumn(0, len(page)),) * 4)
    reason, peak = refused(lambda: unpack_recording(4 * page, layout, width=10, height=10))
    assert reason == (
        f"a packed recording: unpacks {4 * len(page)} bytes to 9000000000, more than 200 times; this looks "
        "like a decompression bomb"
    )
    assert peak < MIB


def hdf5_file(write: Callable[[Any], None]) -> bytes:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        write(h5)
    return file.getvalue()


def columns_of(**options: Any) -> Callable[[Any], None]:
    def write(h5: Any) -> None:
        for name in "xytp":
            h5.create_dataset(f"events/{name}", dtype=np.int64, **options)

    return write


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (8 * MIB,)},
        {"shape": (8 * MIB,), "chunks": (MIB,), "compression": "gzip"},
        {"shape": (10,), "chunks": (8 * MIB,), "maxshape": (None,), "compression": "gzip"},
    ],
    ids=["nothing is stored", "compressed", "one chunk"],
)
def test_columns_of_hdf5(options: dict[str, Any]) -> None:
    data = hdf5_file(columns_of(**options))
    reason, peak = refused(lambda: decode_events(data, name="a.h5"))
    claimed = 4 * 8 * 8 * MIB
    assert reason == (
        f".h5: unpacks {len(data)} bytes to {claimed}, more than 200 times; this looks like a "
        "decompression bomb"
    )
    assert peak < 4 * MIB


def test_columns_of_hdf5_that_lie_elsewhere(tmp_path: Any) -> None:
    (tmp_path / "secret").write_bytes(bytes(80))
    data = hdf5_file(columns_of(shape=(10,), external=[(str(tmp_path / "secret"), 0, 80)]))
    with pytest.raises(BadSample, match=r"^\.h5: the column /events/x leads to another file$"):
        decode_events(data, name="a.h5")


def test_what_does_not_fit_in_memory_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(events, "_decode", fill)
    with pytest.raises(
        BadSample, match=r"^5 bytes of events do not fit in memory; cut the recording$"
    ) as caught:
        decode_events(b"bytes", name="a.bin")
    assert caught.value.__cause__ is None
