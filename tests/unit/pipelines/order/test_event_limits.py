import pickle
from dataclasses import replace
from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.order.event_limits import EventLimits
from pipelines.order.permutation import epoch_order
from pipelines.order.plan import BatchPlan, ChunkPlan, Cursor


@st.composite
def plans(draw: st.DrawFn) -> BatchPlan:
    """Plans of rank 0 of 1 on 1, 2 or 4 lanes; recordings without events and of more than the bound too."""
    lanes = draw(st.sampled_from([1, 2, 4]))
    unit = 2 * lanes if lanes > 1 else 1
    batch_size = unit * draw(st.integers(1, 4))
    counts = draw(st.lists(st.integers(0, 30), min_size=batch_size, max_size=batch_size + 60))
    return plan_of(counts, batch_size, draw(st.integers(1, 40)), lanes=lanes, seed=draw(st.integers(0, 3)))


def plan_of(
    counts: list[int], batch_size: int, batch_events: int, *, lanes: int = 1, seed: int = 0
) -> BatchPlan:
    limits = EventLimits(
        num_events=np.array(counts),
        batch_size=batch_size,
        batch_events=batch_events,
        seed=seed,
        unit=2 * lanes if lanes > 1 else 1,
    )
    chunks = ChunkPlan(num_samples=len(counts), chunk_samples=4, num_lanes=lanes)
    return BatchPlan(chunks=chunks, batch_size=batch_size, limits=limits)


def limits_of(plan: BatchPlan) -> EventLimits:
    assert isinstance(plan.limits, EventLimits)
    return plan.limits


def in_words(plan: BatchPlan, epoch: int) -> list[list[int]]:
    """The batches by their definition: unit after unit, the last one where it is full by either bound."""
    limits = limits_of(plan)
    num = len(limits.num_events)
    order = epoch_order(num, limits.seed, epoch).samples_at(np.arange(num))

    def events(positions: list[int]) -> int:
        return int(limits.num_events[order[positions]].sum())

    batches: list[list[int]] = [[]]
    for first in range(0, len(order) - limits.unit + 1, limits.unit):
        unit = list(range(first, first + limits.unit))
        longer = batches[-1] + unit
        fits = len(longer) <= limits.batch_size and events(longer) <= limits.batch_events
        if fits or not batches[-1]:
            batches[-1] = longer
        else:
            batches.append(unit)
    full = len(batches[-1]) == limits.batch_size or events(batches[-1]) >= limits.batch_events
    return batches if full else batches[:-1]


@given(plans(), st.integers(0, 3))
def test_batches_are_those_of_the_definition(plan: BatchPlan, epoch: int) -> None:
    steps = range(plan.num_steps(epoch))
    batches = [plan.positions(Cursor(epoch, step)).tolist() for step in steps]
    assert batches == in_words(plan, epoch)
    used = list(range(plan.num_used(epoch)))
    assert list(chain.from_iterable(batches)) == used  # every one once, without a gap


@given(plans(), st.integers(0, 3))
def test_bounds_hold_but_for_a_unit_alone(plan: BatchPlan, epoch: int) -> None:
    limits = limits_of(plan)
    num = len(limits.num_events)
    order = epoch_order(num, limits.seed, epoch).samples_at(np.arange(num))
    for step in range(plan.num_steps(epoch)):
        batch = plan.positions(Cursor(epoch, step))
        assert limits.unit <= len(batch) <= limits.batch_size
        assert limits.num_events[order[batch]].sum() <= limits.batch_events or len(batch) == limits.unit


@given(plans(), st.integers(0, 3))
def test_ranks_share_each_batch_alike(plan: BatchPlan, epoch: int) -> None:
    for workers in (w for w in (1, 2, 4) if plan.chunks.num_lanes % w == 0):
        ranks = [replace(plan, rank=rank, num_workers=workers) for rank in range(workers)]
        for step in range(plan.num_steps(epoch)):
            batch = plan.positions(Cursor(epoch, step))
            parts = [rank.positions(Cursor(epoch, step)) for rank in ranks]
            assert {len(part) for part in parts} == {len(batch) // workers}
            assert sorted(np.concatenate(parts)) == batch.tolist()


@given(plans(), st.integers(1, 3))
def test_cursors_follow_each_other_through_the_epochs(plan: BatchPlan, epochs: int) -> None:
    expected = [Cursor(epoch, step) for epoch in range(epochs) for step in range(plan.num_steps(epoch))]
    assert plan.steps_before(epochs) == len(expected)
    assert [plan.cursor_at(step) for step in range(len(expected))] == expected
    assert plan.cursor_at(len(expected)) == Cursor(epochs, 0)
    cursor = Cursor()
    for following in [*expected[1:], Cursor(epochs, 0)]:
        cursor = plan.after(cursor)
        assert cursor == following


@given(plans())
def test_needed_chunks_are_those_of_the_batches(plan: BatchPlan) -> None:
    chunks: set[int] = set()
    for epoch in range(2):
        used = np.arange(plan.num_used(epoch))
        chunks |= set(plan.chunks.locate(epoch, used)[0].tolist())
    assert list(plan.needed_chunks(Cursor(), 2)) == sorted(chunks)


def test_epochs_have_other_batches() -> None:
    plan = plan_of([1, 9, 2, 8, 3, 7, 4, 6, 5, 5] * 4, 8, 16)
    spans = [[len(plan.positions(Cursor(e, s))) for s in range(plan.num_steps(e))] for e in range(6)]
    assert len({plan.num_steps(epoch) for epoch in range(6)}) > 1
    assert max(map(max, spans)) > min(map(min, spans))


def test_a_rest_is_left_out_unless_it_is_full() -> None:
    kept = {events: plan_of([5] * 7, 4, events) for events in (100, 15, 35)}
    assert {events: plan.num_used(0) for events, plan in kept.items()} == {100: 4, 15: 6, 35: 4}
    assert plan_of([5] * 6, 4, 10).num_used(0) == 6  # the last two have 10 events: full
    assert plan_of([50] * 5, 4, 10).num_steps(0) == 5  # each alone exceeds the bound


def test_a_bound_that_never_binds_changes_nothing() -> None:
    free = plan_of(list(range(50)), 8, 10**9)
    plain = replace(free, limits=None)
    for epoch in range(3):
        assert free.num_steps(epoch) == plain.num_steps(epoch)
        for step in range(free.num_steps(epoch)):
            cursor = Cursor(epoch, step)
            assert free.positions(cursor).tolist() == plain.positions(cursor).tolist()


def test_who_gets_the_limits_does_not_walk_the_epochs_again() -> None:
    plan = plan_of([3, 1, 2] * 20, 8, 12)
    total = plan.steps_before(5)
    sent: BatchPlan = pickle.loads(pickle.dumps(plan))
    limits = limits_of(sent)
    object.__setattr__(limits, "num_events", None)
    assert sent.steps_before(5) == total
    assert sent.cursor_at(total) == Cursor(5, 0)
