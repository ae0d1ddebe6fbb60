import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.order import permutation
from pipelines.order.event_limits import EventLimits
from pipelines.order.permutation import KEYED_FROM, KeyedOrder, StoredOrder, epoch_order

SIZES = st.one_of(
    st.sampled_from([2, 3, 4, 5]),
    st.builds(lambda power, shift: 2**power + shift, st.integers(2, 11), st.sampled_from([-1, 0, 1])),
    st.integers(2, 3000),
)
LARGE = (2**24, 2**24 + 1, 2**31 + 7, 2**33 - 1)


def whole(order: KeyedOrder | StoredOrder, size: int) -> list[int]:
    samples: list[int] = order.samples_at(np.arange(size)).tolist()
    return samples


def test_the_stored_order_is_a_function_of_seed_and_epoch() -> None:
    first = whole(StoredOrder(100, 3, 1), 100)
    assert first == whole(StoredOrder(100, 3, 1), 100)
    assert sorted(first) == list(range(100))
    assert first != whole(StoredOrder(100, 3, 2), 100)
    assert first != whole(StoredOrder(100, 4, 1), 100)
    assert first[:5] == [57, 40, 9, 14, 55]  # the order must never change between versions


def test_the_keyed_order_never_changes_between_versions() -> None:
    assert whole(KeyedOrder(100, 3, 1), 5) == [67, 75, 28, 43, 6]
    assert whole(KeyedOrder(2**24 + 1, 3, 1), 3) == [1557003, 6950917, 8847090]


def test_the_number_of_samples_says_which_order_it_is() -> None:
    assert isinstance(epoch_order(KEYED_FROM, 0, 0), KeyedOrder)
    assert isinstance(epoch_order(1000, 0, 0), StoredOrder)
    assert KEYED_FROM == 2**24


@given(SIZES, st.integers(0, 5), st.integers(0, 5))
def test_keyed_orders_are_permutations_and_undone(size: int, seed: int, epoch: int) -> None:
    order = KeyedOrder(size, seed, epoch)
    samples = order.samples_at(np.arange(size))
    assert sorted(samples.tolist()) == list(range(size))
    assert order.positions_of(samples).tolist() == list(range(size))


@given(st.integers(2, 500), st.integers(0, 3))
def test_stored_orders_are_undone(size: int, seed: int) -> None:
    order = StoredOrder(size, seed, 0)
    assert order.positions_of(order.samples_at(np.arange(size))).tolist() == list(range(size))


@given(st.sampled_from(LARGE), st.integers(0, 3), st.data())
def test_large_keyed_orders_are_undone_place_by_place(size: int, seed: int, data: st.DataObject) -> None:
    places = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=50, unique=True)))
    order = KeyedOrder(size, seed, 1)
    samples = order.samples_at(places)
    assert len(set(samples.tolist())) == len(places)
    assert samples.min() >= 0
    assert samples.max() < size
    assert order.positions_of(samples).tolist() == places.tolist()
    # Each place by itself is what it is among others: nothing of the call decides it.
    assert [int(order.samples_at(places[i : i + 1])[0]) for i in range(len(places))] == samples.tolist()


@given(st.integers(64, 5000), st.integers(0, 50))
def test_another_seed_or_epoch_is_another_order(size: int, seed: int) -> None:
    orders = [whole(KeyedOrder(size, *key), size) for key in ((seed, 0), (seed, 1), (seed + 1, 0))]
    assert all(orders.count(order) == 1 for order in orders)


@pytest.mark.parametrize("size", LARGE)
def test_keyed_orders_show_no_structure(size: int) -> None:
    for epoch in range(3):
        samples = KeyedOrder(size, 0, epoch).samples_at(np.arange(40_000)) / size
        parts = np.histogram(samples, bins=20, range=(0, 1))[0]
        # Chi square with 19 degrees of freedom: beyond 60 once in 10^5 draws.
        assert ((parts - 2000) ** 2 / 2000).sum() < 60
        # Neighbours, and those far apart: of 40,000 independent pairs |r| passes .025 once in 10^6.
        for apart in (1, 2, 4096):
            assert abs(np.corrcoef(samples[:-apart], samples[apart:])[0, 1]) < 0.025
        assert abs(np.corrcoef(samples, np.arange(40_000))[0, 1]) < 0.025
        steps = np.diff(samples)
        assert np.abs(np.bincount((steps > 0).astype(int))[1] / len(steps) - 0.5) < 0.02


def test_batches_of_events_follow_a_keyed_order_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permutation, "KEYED_FROM", 50)
    epoch_order.cache_clear()
    counts = np.arange(60)
    limits = EventLimits(num_events=counts, batch_size=8, batch_events=150, seed=2)
    of_positions = counts[KeyedOrder(60, 2, 0).samples_at(np.arange(60))]
    for step in range(limits.num_steps(0)):
        first, behind = limits.span(0, step)
        assert of_positions[first:behind].sum() <= 150
        assert behind - first == 8 or behind == 60 or of_positions[first : behind + 1].sum() > 150
    epoch_order.cache_clear()
