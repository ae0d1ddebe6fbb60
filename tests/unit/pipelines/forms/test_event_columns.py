import numpy as np
import torch

from pipelines.forms.chunk import Chunk, Ragged, from_table, to_table
from pipelines.forms.event_columns import RAGGED, blank_columns, event_columns, recording_at
from pipelines.forms.randomness import hash_keys
from pipelines.forms.recording import Recording
from pipelines.views.events import join_events

SIZES = (5, 0, 3, 7)


def recording(number: int) -> Recording:
    rng = np.random.default_rng(number)
    count = SIZES[number]
    return Recording(
        x=rng.integers(0, 40_000, count).astype(np.uint16),
        y=rng.integers(0, 90, count).astype(np.uint16),
        t=np.sort(rng.integers(0, 10**12, count)),
        p=rng.integers(0, 2, count).astype(np.uint8),
        width=50_000,
        height=90,
    )


def chunk_of(numbers: list[int]) -> Chunk:
    samples = [event_columns(recording(number)) for number in numbers]
    count = len(numbers)
    return Chunk(
        number=0,
        epoch=0,
        rows=np.arange(count),
        positions=np.arange(count),
        valid=np.ones(count, np.bool_),
        keys=[str(number) for number in numbers],
        key_hashes=hash_keys([str(number) for number in numbers]),
        labels=np.zeros(count, np.int64),
        groups=np.arange(count),
        factors=np.zeros((count, 0), np.float32),
        columns={
            name: Ragged.of([one[name] for one in samples])
            if name in RAGGED
            else np.stack([one[name] for one in samples])
            for name in samples[0]
        },
    )


def test_recordings_come_back_from_a_table() -> None:
    chunk = from_table(to_table(chunk_of([0, 1, 2, 3])))
    for number in range(4):
        found, expected = recording_at(chunk, number), recording(number)
        for name in RAGGED:
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert (found.width, found.height) == (50_000, 90)


def test_samples_of_several_chunks_are_joined_in_the_order_asked_for() -> None:
    first, second = chunk_of([0, 1]), chunk_of([2, 3])
    events = join_events([(second, 1), (first, 1), (first, 0)])
    assert events.offsets.tolist() == [0, 7, 7, 12]
    assert (events.width, events.height) == (50_000, 90)
    assert {name: getattr(events, name).dtype for name in RAGGED} == {
        "x": torch.int32,
        "y": torch.int32,
        "t": torch.int64,
        "p": torch.uint8,
    }
    for place, number in ((0, 3), (1, 1), (2, 0)):
        here = slice(int(events.offsets[place]), int(events.offsets[place + 1]))
        for name in RAGGED:
            np.testing.assert_array_equal(getattr(events, name)[here], getattr(recording(number), name))


def test_the_copy_is_its_own_memory() -> None:
    chunk = chunk_of([0, 3])
    events = join_events([(chunk, 0), (chunk, 1)])
    events.t.zero_()
    assert recording_at(chunk, 0).t.any()


def test_events_know_their_samples_and_stamps() -> None:
    events = join_events([(chunk_of([0, 1, 2]), place) for place in range(3)])
    assert events.counts.tolist() == [5, 0, 3]
    assert events.sample.tolist() == [0] * 5 + [2] * 3
    stamps = [recording(number).t for number in (0, 2)]
    assert events.first.tolist() == [stamps[0][0], 0, stamps[1][0]]
    assert events.last.tolist() == [stamps[0][-1], 0, stamps[1][-1]]
    assert events.to(torch.device("cpu")) is events


def test_no_events_at_all() -> None:
    columns = blank_columns(8, 6)
    assert all(len(columns[name]) == 0 for name in RAGGED)
    events = join_events([(chunk_of([1]), 0)])
    assert events.num_events == 0
    assert events.first.tolist() == events.last.tolist() == [0]
