"""Rows of the reading bench: complete, of every way, and of files that hold what they should."""

import numpy as np
import pytest
import torch

from pipelines.decode.events import decode_events
from raytrain import api
from raytrain.bench import events, matrix_lstm
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


def test_a_batch_is_held_against_the_bandwidth():
    made = matrix_lstm.recording(500, height=20, width=30, copies=4)
    assert made.counts.tolist() == [500] * 4
    assert made.t.view(4, 500).diff(dim=0).count_nonzero() == 0
    row = matrix_lstm.batch_row(torch.device("cpu"), repeats=1, num_events=500, hidden=3, num_recordings=4)
    assert row["name"] == "matrix_lstm forward+backward, 4 recordings"
    assert row["ratio"] == pytest.approx(row["value"] / row["against"])
    assert 0 < row["ratio"] < 1


def test_the_bench_is_known():
    assert "events" in api.BENCHES
