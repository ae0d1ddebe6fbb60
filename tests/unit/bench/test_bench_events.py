"""Rows of the reading bench: complete, of every way, and of files that hold what they should."""

import numpy as np

from pipelines.decode.events import decode_events
from raytrain import api
from raytrain.bench import events
from tests.event_files import bin_file, random_recording


def test_rows_are_complete_and_every_way_reads_all(monkeypatch):
    monkeypatch.delenv("RAYTRAIN_TEST_DATA", raising=False)
    monkeypatch.setattr(events, "_matrix_lstm", lambda device, repeats: [])
    rows = events.run(repeats=1, share=0.01)
    assert all(row.keys() == {"name", "value", "unit", "against", "ratio", "bound"} for row in rows)
    assert all(row["value"] > 0 for row in rows)
    names = [row["name"] for row in rows]
    for kind in events.KINDS:
        ways = [name.partition(": ")[2] for name in names if name.startswith(f"read {kind}:")]
        assert [way for way in ways if "tonic" not in way] == [
            ".bin",
            *(
                f"packed, {codec}, {way}"
                for codec in ("none", "lz4", "zstd")
                for way in ("a shard", "rows at random")
            ),
        ]


def test_files_of_the_bench_are_those_of_nmnist():
    recording = random_recording()
    assert events.bin_bytes(recording) == bin_file(recording)
    assert np.array_equal(decode_events(events.bin_bytes(recording), name="a.bin").t, recording.t)


def test_the_bench_is_known():
    assert "events" in api.BENCHES
