from typing import Any

import numpy as np
import pytest
import torch

from pipelines.forms.chunk import Chunk
from pipelines.order.plan import BatchPlan, ChunkPlan, Cursor
from pipelines.stream.batch import Batch, BatchReader
from pipelines.stream.stage import staged_name
from raytrain.config.operators import LbpConfig
from raytrain.config.pathway import PathwayConfig

NUM, SIDE, EPOCHS = 53, 4, 2
PLAIN, PLACED = PathwayConfig(), PathwayConfig(placement="stream")
STAGED = staged_name(PLACED)


def pixel(epoch: int, position: int) -> int:
    """The value of a sample's image, recognisable."""
    return (epoch * NUM + position) % 251


class Stream:
    """Chunks made in plain loops; notes which are taken."""

    def __init__(self, plan: ChunkPlan) -> None:
        self.plan = plan
        self.taken: list[int] = []
        self.made: dict[int, Chunk] = {}

    def __call__(self, number: int) -> Chunk:
        self.taken.append(number)
        epoch, positions = self.plan.positions(number)
        values = np.array([pixel(epoch, int(position)) for position in positions], np.uint8)
        chunk = Chunk(
            number=number,
            epoch=epoch,
            rows=positions,
            positions=positions,
            valid=positions % 7 != 0,
            keys=[f"{epoch}/{position}" for position in positions],
            key_hashes=positions.astype(np.uint64) * np.uint64(2**61),
            labels=positions * 3,
            groups=positions // 4,
            factors=np.stack([positions, -positions], 1).astype(np.float32),
            label_sets=np.stack([positions % 2, positions % 3 == 0], 1).astype(np.uint8),
            columns={
                "images": np.broadcast_to(values[:, None, None, None], (len(values), 3, SIDE, SIDE)).copy()
            },
            operated={STAGED: np.repeat(positions[:, None], 5, 1).astype(np.float32) / 7},
        )
        for array in (chunk.images, chunk.labels, chunk.factors, chunk.label_sets, chunk.operated[STAGED]):
            array.flags.writeable = False  # as shared memory is
        self.made[number] = chunk
        return chunk


def reader_of(
    lanes: int, workers: int, rank: int, length: int, pathway: PathwayConfig = PLAIN
) -> tuple[BatchReader, Stream, BatchPlan]:
    chunks = ChunkPlan(num_samples=NUM, chunk_samples=length, num_lanes=lanes)
    plan = BatchPlan(chunks=chunks, batch_size=12, rank=rank, num_workers=workers)
    stream = Stream(chunks)
    return BatchReader(plan, stream, pathway), stream, plan


def assert_is_plain(batch: Batch, positions: Any, cursor: Cursor) -> None:
    """Compare with what stands at the positions, computed sample by sample."""
    assert (batch.epoch, batch.step, len(batch)) == (cursor.epoch, cursor.step, len(positions))
    assert batch.positions.tolist() == list(positions)
    for place, position in enumerate(int(position) for position in positions):
        assert batch.keys[place] == f"{cursor.epoch}/{position}"
        assert batch.key_hashes[place] == np.uint64(position * 2**61 % 2**64)
        assert batch.valid[place] == (position % 7 != 0)
        assert batch.groups[place] == position // 4
        assert batch.labels[place] == position * 3
        assert batch.factors[place].tolist() == [position, -position]
        assert batch.label_sets[place].tolist() == [position % 2, int(position % 3 == 0)]
        assert batch.pixels[place].unique().tolist() == [pixel(cursor.epoch, position)]
    assert (batch.pixels.dtype, batch.labels.dtype, batch.factors.dtype) == (
        torch.uint8,
        torch.int64,
        torch.float32,
    )
    assert batch.pixels.shape == (len(positions), 3, SIDE, SIDE)


@pytest.mark.parametrize("length", [2, 10, 54])
@pytest.mark.parametrize(("lanes", "workers"), [(1, 1), (2, 1), (2, 2), (3, 3), (6, 2)])
def test_batches_across_chunks_lanes_and_epochs_equal_the_plain_reference(
    lanes: int, workers: int, length: int
) -> None:
    for rank in range(workers):
        reader, stream, plan = reader_of(lanes, workers, rank, length)
        cursor = Cursor()
        while cursor.epoch < EPOCHS:
            own = [
                position
                for position in range(cursor.step * 12, (cursor.step + 1) * 12)
                if position // 2 % lanes % workers == rank
            ]
            assert_is_plain(reader.read(cursor), own, cursor)
            cursor = plan.after(cursor)
        assert stream.taken == list(plan.needed_chunks(Cursor(), EPOCHS))  # each once, ascending


def test_reading_may_begin_anywhere() -> None:
    reader, stream, plan = reader_of(2, 1, 0, 6)
    cursor = Cursor(1, 2)
    assert_is_plain(reader.read(cursor), range(24, 36), cursor)
    assert stream.taken == list(plan.needed_chunks(cursor, EPOCHS))[: len(stream.taken)]


def test_the_copy_is_the_readers_own_memory() -> None:
    reader, stream, _ = reader_of(1, 1, 0, 54, PLACED)  # one chunk holds all batches of an epoch
    batch = reader.read(Cursor())
    before = {number: chunk.images.copy() for number, chunk in stream.made.items()}
    batch.pixels.fill_(9)
    batch.labels.zero_()
    batch.label_sets.zero_()
    batch.factors.zero_()
    batch.operated[STAGED].zero_()
    for number, chunk in stream.made.items():
        np.testing.assert_array_equal(chunk.images, before[number])
        assert chunk.labels.any()
        assert chunk.label_sets.any()
        assert chunk.factors.any()
        assert chunk.operated[STAGED].any()
    again = reader.read(Cursor())
    assert_is_plain(again, range(12), Cursor())
    assert again.pixels.data_ptr() != batch.pixels.data_ptr()


def test_what_the_stream_made_is_copied_only_for_who_asks_for_it() -> None:
    reader, _, _ = reader_of(2, 1, 0, 6, PLACED)
    batch = reader.read(Cursor(0, 1))
    assert list(batch.operated) == [STAGED]
    expected = torch.arange(12, 24, dtype=torch.float32)[:, None].expand(12, 5) / 7
    torch.testing.assert_close(batch.operated[STAGED], expected, rtol=0, atol=0)
    plain, _, _ = reader_of(2, 1, 0, 6)
    assert plain.read(Cursor(0, 2)).operated == {}


def test_an_output_that_the_stream_lacks_is_a_fault() -> None:
    other = PathwayConfig(placement="stream", operator=LbpConfig())
    reader, _, _ = reader_of(1, 1, 0, 6, other)
    with pytest.raises(KeyError, match=staged_name(other)):
        reader.read(Cursor())


def test_a_batch_on_its_device_is_itself() -> None:
    reader, _, _ = reader_of(1, 1, 0, 6, PLACED)
    batch = reader.read(Cursor())
    assert batch.to(torch.device("cpu")) is batch
    moved = reader.read(Cursor(0, 1)).to(torch.device("meta"))
    assert moved.label_sets.device.type == "meta"
    assert {moved.pixels.device.type, moved.labels.device.type, moved.operated[STAGED].device.type} == {
        "meta"
    }


def test_a_batch_without_its_invalid_samples_holds_the_others_in_order() -> None:
    reader, _, _ = reader_of(2, 1, 0, 10, PLACED)
    batch = reader.read(Cursor(0, 1))  # positions 12 .. 23, of which 14 and 21 are not valid
    left = batch.without_invalid()
    positions = [12, 13, 15, 16, 17, 18, 19, 20, 22, 23]
    assert_is_plain(left, positions, Cursor(0, 1))
    assert torch.equal(left.operated[STAGED], batch.operated[STAGED][[p - 12 for p in positions]])
    assert left.without_invalid() is left
