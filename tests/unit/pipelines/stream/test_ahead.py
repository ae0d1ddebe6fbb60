import threading

import numpy as np
import pytest
import torch

from pipelines.order.plan import Cursor
from pipelines.stream.ahead import NUM_BUFFERS, BatchAhead
from pipelines.stream.batch import BatchReader
from raytrain.errors import StorageError
from tests.unit.pipelines.stream.test_batch import EPOCHS, PLACED, PLAIN, assert_is_plain, reader_of

CPU = torch.device("cpu")


@pytest.mark.parametrize(("lanes", "workers", "length"), [(1, 1, 10), (2, 1, 8), (2, 2, 12), (3, 3, 4)])
def test_batches_are_those_of_the_plan_in_kept_memory(lanes: int, workers: int, length: int) -> None:
    for rank in range(workers):
        reader, stream, plan = reader_of(lanes, workers, rank, length, PLACED)
        start = Cursor(0, 1)
        ahead = BatchAhead(reader, start, EPOCHS, device=CPU)
        places = set()
        cursors = list(plan.cursors(start, EPOCHS))
        for cursor in cursors:
            batch = ahead()
            assert_is_plain(batch, plan.positions(cursor), cursor)
            places.add(batch.pixels.data_ptr())
        assert len(places) <= NUM_BUFFERS < len(cursors)
        assert stream.taken == sorted(set(stream.taken))
        ahead.close()


def test_a_batch_is_as_it_was_until_the_next_is_asked_for() -> None:
    reader, _, _ = reader_of(1, 1, 0, 10)
    ahead = BatchAhead(reader, Cursor(), EPOCHS, device=CPU)
    for _ in range(5):
        batch = ahead()
        before = batch.pixels.clone()
        threading.Event().wait(0.02)  # the thread would have written by now
        assert torch.equal(batch.pixels, before)
    ahead.close()


def test_what_ends_the_stream_is_raised_behind_the_batches_before() -> None:
    _, stream, plan = reader_of(1, 1, 0, 24)

    def fails(number: int) -> object:
        if number:
            raise StorageError("the disk is gone")
        return stream(number)

    ahead = BatchAhead(BatchReader(plan, fails, PLAIN), Cursor(), EPOCHS, device=CPU)  # type: ignore[arg-type]
    assert [ahead().step for _ in range(2)] == [0, 1]
    with pytest.raises(StorageError, match="the disk is gone"):
        ahead()


def test_the_thread_ends_with_the_batches_or_with_its_owner() -> None:
    before = threading.active_count()
    for num_taken in (0, 1, 8):
        reader, _, _ = reader_of(1, 1, 0, 10)
        ahead = BatchAhead(reader, Cursor(), EPOCHS, device=CPU)
        for _ in range(num_taken):
            ahead()
        ahead.close()
    for _ in range(100):
        if threading.active_count() == before:
            break
        threading.Event().wait(0.02)
    assert threading.active_count() == before


def test_no_chunk_is_held_behind_its_last_sample() -> None:
    reader, _, plan = reader_of(1, 1, 0, 12)  # a batch a chunk
    for cursor in plan.cursors(Cursor(), 1):
        reader.read(cursor)
        assert reader._open == {}


def test_batches_of_several_lanes_are_copied_without_lists_of_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """By slices and strides, whatever the lanes: only parts that no stride fits go sample by sample."""
    from pipelines.modalities.parts import Part

    for lanes, workers in ((1, 1), (2, 1), (2, 2), (3, 1)):
        for rank in range(workers):
            reader, _, plan = reader_of(lanes, workers, rank, 8)
            for cursor in plan.cursors(Cursor(), EPOCHS):
                positions = plan.positions(cursor)
                numbers, offsets = plan.chunks.locate(cursor.epoch, positions)
                for number in np.unique(numbers):
                    here = np.flatnonzero(numbers == number)
                    part = Part(reader._take(int(number)), here, offsets[here])
                    assert part._stride is not None
