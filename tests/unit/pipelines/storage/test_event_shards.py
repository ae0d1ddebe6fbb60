"""Packed recordings: every blob by any Parquet reader, every row by one range; prepare."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.decode.read_events import read_events
from pipelines.forms.quarantine import BadSample
from pipelines.forms.recording import Recording, cut_recording
from pipelines.generated import MAKERS
from pipelines.preparing.prepare import prepare
from pipelines.sources import open_manifest, open_storage
from pipelines.storage.event_payload import EventPayload, parse_payload
from pipelines.storage.event_shards import (
    TYPES,
    PackedRow,
    check_packable,
    read_event_shard,
    unpack_recording,
    write_event_shard,
)
from pipelines.storage.manifest import Manifest
from pipelines.storage.payload import checksum
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig, EventsConfig, GeneratedEventsConfig
from raytrain.errors import ConfigError, DataError
from tests.event_files import bin_file, random_recording, same

CODECS = ["none", "lz4", "zstd"]
COUNTS = (300, 0, 1, 5000)
SIZE = {"width": 34, "height": 30}


def packed_rows() -> list[PackedRow]:
    return [
        PackedRow(
            key=f"a/{number}",
            label=number,
            split="train",
            group=f"g{number}",
            recording=random_recording(count, seed=number, start_us=2**40 + number),
        )
        for number, count in enumerate(COUNTS)
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_a_row_is_read_by_its_range_alone(tmp_path: Path, codec: str) -> None:
    rows = packed_rows()
    storage = Storage(str(tmp_path))
    placed = write_event_shard(storage, "a.parquet", rows, codec=codec)
    assert len(placed) == len(rows)
    for row, place in zip(rows, placed, strict=True):
        data = storage.read_bytes("a.parquet", offset=place.offset, length=place.size)
        assert checksum(data) == place.checksum
        payload = parse_payload(str(place.payload))
        assert payload == place.payload
        found = unpack_recording(data, payload, **SIZE)
        assert same(found, row.recording)
        assert (found.width, found.height) == (34, 30)


@pytest.mark.parametrize("codec", CODECS)
def test_any_parquet_reader_has_the_columns(tmp_path: Path, codec: str) -> None:
    rows = packed_rows()
    write_event_shard(Storage(str(tmp_path)), "a.parquet", rows, codec=codec)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.metadata[b"raytrain.events"] == b"1"
    for row, read in zip(rows, table.to_pylist(), strict=True):
        assert (read["key"], read["label"], read["group"]) == (row.key, row.label, row.group)
        assert (read["n"], read["width"], read["height"]) == (len(row.recording), 34, 30)
        for name, kind in TYPES.items():
            column = np.frombuffer(read[name], kind).astype(np.int64)
            expected = getattr(row.recording, name)
            assert np.array_equal(column + (read["t0"] if name == "t" else 0), expected)


def test_a_whole_shard_is_read(tmp_path: Path) -> None:
    rows = packed_rows()
    write_event_shard(Storage(str(tmp_path)), "a.parquet", rows, codec="lz4")
    found = list(read_event_shard((tmp_path / "a.parquet").read_bytes()))
    assert [row.key for row in found] == [row.key for row in rows]
    assert all(same(a.recording, b.recording) for a, b in zip(found, rows, strict=True))
    with pytest.raises(BadSample, match="no shard of events"):
        list(read_event_shard(b"PAR1"))


def test_too_long_a_recording_cannot_be_packed() -> None:
    def spanning(span: int) -> Recording:
        zeros = np.zeros(2, np.uint16)
        return Recording(x=zeros, y=zeros, t=np.array([5, 5 + span]), p=zeros.astype(np.uint8))

    check_packable(spanning(2**32 - 1))
    with pytest.raises(BadSample, match=r"lasts 4294967296 us.*data\.events\.slice_ms"):
        check_packable(spanning(2**32))


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_of_another_row_are_refused(tmp_path: Path, codec: str) -> None:
    rows = packed_rows()
    placed = write_event_shard(Storage(str(tmp_path)), "a.parquet", rows, codec=codec)
    content = (tmp_path / "a.parquet").read_bytes()
    first = placed[0]
    for data in (content[first.offset + 2 :][: first.size], content[first.offset :][: first.size - 9], b""):
        with pytest.raises(BadSample, match="packed recording"):
            unpack_recording(data, first.payload, **SIZE)
    with pytest.raises(BadSample, match="outside the sensor of 9 x 9 px"):
        unpack_recording(content[first.offset :][: first.size], first.payload, width=9, height=9)


@pytest.mark.parametrize(
    "payload",
    [
        EventPayload(),
        EventPayload(tick_us=1000),
        EventPayload(start_us=-4, end_us=2**40),
        EventPayload(start_us=0, end_us=1, tick_us=0.5),
    ],
)
def test_a_payload_is_its_text(payload: EventPayload) -> None:
    assert parse_payload(str(payload)) == payload


@pytest.mark.parametrize(
    "text", ["uint8", "events:", "events:window:1", "events:packed:none:0:3:1+2", "events:x:1:2"]
)
def test_no_payload_of_events(text: str) -> None:
    with pytest.raises(BadSample, match="is no recording's"):
        parse_payload(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty recordings in two classes."""
    for number in range(20):
        path = tmp_path / "data" / "pq"[number % 2] / f"{number:02d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bin_file(random_recording(200 + 30 * number, seed=number)))
    return tmp_path / "data"


def config(root: Path | str, **events: Any) -> DataConfig:
    sizes = {"sensor_width": 34, "sensor_height": 30}
    return DataConfig(root=str(root), canvas_px=16, chunk_mib=1, events=EventsConfig(**sizes, **events))


def recordings(settings: DataConfig) -> dict[str, Recording]:
    manifest = open_manifest(settings)
    storage = open_storage(manifest.root, settings)
    return {
        key: read_events(manifest.row(row), storage, settings) for row, key in enumerate(manifest.keys_of())
    }


@pytest.mark.parametrize("kind", ["none", "encoded"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_prepared_folder_holds_the_same_recordings(
    folder: Path, tmp_path: Path, kind: Any, codec: Any
) -> None:
    out = tmp_path / "out"
    report = prepare(config(folder, compression=codec), str(out), shards=kind, shard_mib=0.01)
    assert (report.num_samples, report.quarantined) == (20, ())
    assert (report.num_shards > 1) == (kind == "encoded")
    plain, made = open_manifest(config(folder)), open_manifest(DataConfig(root=str(out)))
    assert made.keys_of() == plain.keys_of()
    assert (made.modality, made.sensor_width, made.sensor_height) == ("events", 34, 30)
    for name in ("label", "split", "group"):
        assert made.table[name] == plain.table[name]
    assert made.num_events is not None
    assert plain.num_events is not None
    assert (
        made.num_events.tolist()
        == plain.num_events.tolist()
        == [200 + 30 * int(k[2:4]) for k in made.keys_of()]
    )
    before, after = recordings(config(folder)), recordings(DataConfig(root=str(out)))
    assert all(same(after[key], before[key]) for key in before)
    again = prepare(config(folder, compression=codec), str(out), shards=kind, shard_mib=0.01)
    assert again.already_done


@pytest.mark.parametrize("cuts", [{"slice_ms": 0.3}, {"slice_events": 90}])
def test_slices_are_samples_of_one_group(folder: Path, tmp_path: Path, cuts: dict[str, Any]) -> None:
    out = tmp_path / "out"
    settings = config(folder, **cuts)
    prepare(settings, str(out), shards="encoded", shard_mib=0.01)
    whole = recordings(config(folder))
    made = open_manifest(DataConfig(root=str(out), events=EventsConfig(**cuts)))
    groups = dict(zip(made.keys_of(), made.table["group"].to_pylist(), strict=True))
    splits = dict(zip(made.keys_of(), made.table["split"].to_pylist(), strict=True))
    found = recordings(DataConfig(root=str(out)))
    for key, recording in whole.items():
        slice_us, count = settings.events.slice_us, settings.events.slice_events
        pieces = list(cut_recording(recording, slice_us=slice_us, slice_events=count))
        names = [f"{key}#{number:05d}" for number in range(len(pieces))]
        assert len(pieces) > 1
        assert all(same(found.pop(name), piece) for name, piece in zip(names, pieces, strict=True))
        assert {groups[name] for name in names} == {key}
        assert len({splits[name] for name in names}) == 1
    assert not found


def test_an_unfinished_prepare_of_slices_goes_on(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    out, settings = tmp_path / "out", config(folder, slice_events=90)
    told: list[int] = []

    def stop(done: int, of: int) -> None:
        told.append(done)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(settings, str(out), shards="encoded", shard_mib=0.01, progress=stop)
    assert told[-1] < 20
    prepare(settings, str(out), shards="encoded", shard_mib=0.01)
    prepare(settings, str(tmp_path / "other"), shards="encoded", shard_mib=0.01)
    first, second = (recordings(DataConfig(root=str(tmp_path / name))) for name in ("out", "other"))
    assert first.keys() == second.keys()
    assert all(same(first[key], second[key]) for key in first)


def test_other_slices_than_packed_are_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(config(folder, slice_events=90), str(out), shards="encoded")
    wanted = (
        r"^data\.events\.slice_events is 80, but the recordings of data\.root .*raytrain prepare --shards"
    )
    for root in (out, folder):
        with pytest.raises(ConfigError, match=wanted):
            open_manifest(config(root, slice_events=80))
    with pytest.raises(ConfigError, match=r"^data\.events\.slice_events is set.*--shards encoded"):
        prepare(config(folder, slice_events=80), str(tmp_path / "b"))
    with pytest.raises(ConfigError, match="--shards uint8 is for images"):
        prepare(config(folder), str(tmp_path / "b"), shards="uint8")


def test_bad_recordings_go_to_quarantine(folder: Path, tmp_path: Path) -> None:
    (folder / "p" / "00.bin").write_bytes(b"123")
    (folder / "q" / "01.bin").write_bytes(bin_file(random_recording(50, width=200)))
    out = tmp_path / "out"
    settings = DataConfig(
        root=str(folder),
        quarantine_budget=0.2,
        events=EventsConfig(sensor_width=34, sensor_height=30),
    )
    report = prepare(settings, str(out), shards="encoded")
    assert report.num_samples == 18
    reasons = [json.loads(line)["reason"] for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert "no whole number of events" in reasons[0]
    assert "outside the sensor of 34 px" in reasons[1]
    with pytest.raises(DataError, match=r"2 of 20 samples are bad"):
        prepare(config(folder), str(tmp_path / "b"), shards="encoded")


def test_generated_recordings_are_packed_too(tmp_path: Path) -> None:
    generated = GeneratedEventsConfig(num_train=8, num_test=8, size_px=32, duration_ms=40)
    settings = DataConfig(source="moving_shapes", moving_shapes=generated)
    for kind in ("none", "encoded"):
        prepare(settings, str(tmp_path / kind), shards=kind)  # type: ignore[arg-type]
    plain = recordings(settings)
    for kind in ("none", "encoded"):
        made = recordings(DataConfig(root=str(tmp_path / kind)))
        assert plain.keys() == made.keys()
        assert all(same(made[key], plain[key]) for key in plain)
        counts = Manifest.load(str(tmp_path / kind / "manifest.parquet"), schemes=MAKERS).num_events
        assert counts is not None
        assert counts.tolist() == [len(plain[key]) for key in plain]
