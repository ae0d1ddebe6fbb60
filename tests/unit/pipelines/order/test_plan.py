import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.order.plan import BatchPlan, ChunkPlan, Cursor, chunk_samples
from raytrain.errors import ConfigError

plans = st.builds(
    lambda num_samples, half, lanes: ChunkPlan(
        num_samples=num_samples, chunk_samples=2 * half, num_lanes=lanes
    ),
    st.integers(1, 200),
    st.integers(1, 20),
    st.integers(1, 6),
)


@given(plans, st.integers(0, 3))
def test_chunks_of_an_epoch_hold_every_position_once(plan: ChunkPlan, epoch: int) -> None:
    first = epoch * plan.chunks_per_epoch
    parts = [plan.positions(chunk) for chunk in range(first, first + plan.chunks_per_epoch)]
    assert {number for number, _ in parts} == {epoch}
    together = np.concatenate([positions for _, positions in parts])
    assert sorted(together) == list(range(plan.num_samples))


@given(plans, st.integers(0, 3))
def test_locate_is_the_inverse_of_positions(plan: ChunkPlan, epoch: int) -> None:
    chunks, offsets = plan.locate(epoch, np.arange(plan.num_samples))
    for position in range(plan.num_samples):
        assert plan.positions(int(chunks[position]))[1][offsets[position]] == position


@given(plans)
def test_pairs_stay_in_one_chunk_side_by_side(plan: ChunkPlan) -> None:
    chunks, offsets = plan.locate(0, np.arange(plan.num_samples // 2 * 2))
    assert (chunks[::2] == chunks[1::2]).all()
    assert (offsets[::2] + 1 == offsets[1::2]).all()


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
def test_batches_are_the_same_for_every_number_of_workers(lanes: int, factor: int, steps: int) -> None:
    batch_size = 2 * lanes * factor
    plan = ChunkPlan(num_samples=batch_size * steps + 3, chunk_samples=4, num_lanes=lanes)
    for workers in (w for w in range(1, lanes + 1) if lanes % w == 0):
        ranks = [
            BatchPlan(chunks=plan, batch_size=batch_size, rank=rank, num_workers=workers)
            for rank in range(workers)
        ]
        for step in range(steps):
            parts = [rank.positions(Cursor(0, step)) for rank in ranks]
            assert {len(part) for part in parts} == {batch_size // workers}
            assert sorted(np.concatenate(parts)) == list(range(step * batch_size, (step + 1) * batch_size))


def test_a_rank_needs_only_chunks_of_its_lanes() -> None:
    plan = ChunkPlan(num_samples=64, chunk_samples=4, num_lanes=4)
    needed = list(BatchPlan(chunks=plan, batch_size=8, rank=1, num_workers=2).needed_chunks(Cursor(), 2))
    assert {chunk % 4 for chunk in needed} == {1, 3}
    assert needed == sorted(set(needed))
    assert len(needed) == 2 * plan.chunks_per_epoch / 2


def test_needed_chunks_from_a_cursor_are_a_tail_of_all() -> None:
    plan = BatchPlan(chunks=ChunkPlan(num_samples=50, chunk_samples=6), batch_size=8)
    everything = list(plan.needed_chunks(Cursor(), 3))
    rest = list(plan.needed_chunks(Cursor(1, 2), 3))
    assert rest == everything[-len(rest) :]
    assert rest[0] == plan.chunks.locate(1, np.array([16]))[0][0]


@given(plans, st.integers(0, 3))
def test_first_position(plan: ChunkPlan, epoch: int) -> None:
    for chunk in range(epoch * plan.chunks_per_epoch, (epoch + 1) * plan.chunks_per_epoch):
        positions = plan.positions(chunk)[1]
        assert len(positions) == 0 or plan.first_position(chunk) == positions[0]


def test_cursor_turns_to_the_next_epoch_and_leaves_out_the_rest() -> None:
    plan = BatchPlan(chunks=ChunkPlan(num_samples=50, chunk_samples=6), batch_size=8)
    assert (plan.num_steps(0), plan.num_used(3), plan.steps_before(3)) == (6, 48, 18)
    assert [plan.cursor_at(step) for step in (0, 5, 6, 13)] == [Cursor(*divmod(s, 6)) for s in (0, 5, 6, 13)]
    assert plan.after(Cursor(0, 5)) == Cursor(1, 0)
    assert plan.after(Cursor(1, 4)) == Cursor(1, 5)


def test_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.batch_size 64 is larger than the 50 .*at most 50"):
        BatchPlan(chunks=ChunkPlan(num_samples=50, chunk_samples=6), batch_size=64)


def test_odd_chunks_are_refused() -> None:
    with pytest.raises(ValueError, match="chunk_samples is 3; it must be even"):
        ChunkPlan(num_samples=50, chunk_samples=3)


def test_chunk_samples_follow_the_bytes() -> None:
    assert chunk_samples(2**20, chunk_mib=8, num_samples=1000, num_lanes=1) == 8
    assert chunk_samples(2**30, chunk_mib=8, num_samples=1000, num_lanes=1) == 2
    assert chunk_samples(1, chunk_mib=8, num_samples=11, num_lanes=2) == 6
    # 11 alike, not 10 and a rest
    assert chunk_samples(12288, chunk_mib=2, num_samples=1720, num_lanes=1) == 158


@pytest.mark.parametrize(
    ("sample_bytes", "num_samples", "num_lanes", "expected"),
    [
        (3 * 224**2, 1_281_167, 1, 222),  # as many as 32 MiB hold
        (3 * 224**2, 10_000_000, 4, 222),
        (3 * 64**2, 1_000_000, 1, 2730),
        (3 * 64**2, 1720, 1, 108),  # a small data set: 16 chunks, all of one length
        (3 * 64**2, 500, 1, 64),
        (3 * 64**2, 40, 1, 40),
        (4 * 2**20, 10_000, 1, 8),  # clips: their decoding costs more than a block does
        (2**30, 10_000, 2, 2),
    ],
)
def test_chunks_of_no_set_size(sample_bytes: int, num_samples: int, num_lanes: int, expected: int) -> None:
    found = chunk_samples(sample_bytes, chunk_mib=0, num_samples=num_samples, num_lanes=num_lanes)
    assert 0.95 * expected <= found <= expected
    assert found % 2 == 0
