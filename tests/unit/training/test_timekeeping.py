from typing import Any

import numpy as np
import pytest
import torch

from pipelines.modalities import MODALITIES
from pipelines.stream.batch import Batch
from pipelines.stream.window import DECODING, REPLAYING, STARTING
from pipelines.views.events import Events
from raytrain.training.timekeeping import Ledger, Pace, explain


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("raytrain.training.timekeeping.time", time)
    return time


def common(size: int) -> dict[str, Any]:
    numbers = np.arange(size)
    return {
        "epoch": 0,
        "step": 0,
        "keys": [str(number) for number in numbers],
        "key_hashes": numbers.astype(np.uint64),
        "positions": numbers,
        "valid": np.ones(size, np.bool_),
        "groups": numbers,
        "labels": torch.zeros(size, dtype=torch.int64),
        "factors": torch.zeros(size, 0),
    }


def recordings(*counts: int) -> Batch:
    flat = torch.zeros(sum(counts), dtype=torch.int32)
    offsets = torch.from_numpy(np.cumsum([0, *counts]))
    columns = {"x": flat, "y": flat, "t": flat.long(), "p": flat.to(torch.uint8)}
    return Batch(**common(len(counts)), pixels=Events(**columns, offsets=offsets, width=1, height=1))


def train(pace: Pace, *batches: Batch, num_ranks: int = 1) -> None:
    for batch in batches:
        pace.take(batch, num_ranks=num_ranks)
    pace.mark()


def test_batches_count_by_what_they_hold(time: Time) -> None:
    pace = Pace(MODALITIES["events"])
    train(pace, recordings(1000, 1000, 1000))  # start-up: no pace yet
    assert pace.rates == {"samples_per_s": 0.0, "events_per_s": 0.0}
    time.now += 4
    train(pace, recordings(70, 10), recordings(20))
    assert pace.rates == {"samples_per_s": 0.8, "events_per_s": 25.0}
    time.now += 2
    train(pace, recordings(5, 0), num_ranks=2)
    assert pace.rates == {"samples_per_s": 2.0, "events_per_s": 5.0}


def test_images_have_no_events(time: Time) -> None:
    pace = Pace(MODALITIES["image"])
    assert not pace.begun
    for _ in range(2):
        time.now += 2
        train(pace, Batch(**common(3), pixels=torch.zeros(3, 3, 1, 1, dtype=torch.uint8)))
    assert pace.begun
    assert pace.rates == {"samples_per_s": 1.5}


def test_time_is_added_to_its_account_even_when_the_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 13.0, 20.0, 21.0, 30.0, 34.0])
    monkeypatch.setattr("raytrain.training.timekeeping.time.perf_counter", lambda: next(clock))
    ledger = Ledger()
    with ledger.time("data"):
        pass
    with ledger.time("data"):
        pass
    with pytest.raises(OSError, match="full"), ledger.time("checkpoint"):
        raise OSError("full")
    assert (ledger.data, ledger.step, ledger.checkpoint) == (4.0, 0.0, 4.0)
    assert ledger.shares() == {"data": 0.5, "step": 0.0, "checkpoint": 0.5}


def test_an_empty_ledger_has_no_shares() -> None:
    assert Ledger().shares() == {"data": 0.0, "step": 0.0, "checkpoint": 0.0}


@pytest.mark.parametrize(
    ("share", "causes", "said"),
    [
        (0.04, {DECODING: 9.0}, "lbp waited 4 % for data"),
        (0.31, {}, "lbp waited 31 % for data"),
        (0.31, {DECODING: 1.0, "dtcwt/0": 3.0}, "lbp waited 31 % for data: dtcwt is the slowest reader"),
        (
            0.31,
            {DECODING: 2.0, STARTING: 1.0},
            "lbp waited 31 % for data: decoding is the slowest part; give it more CPUs (data.decode_tasks), "
            "or data.cache = 'memory'",
        ),
        (0.5, {STARTING: 1.0}, "lbp waited 50 % for data: another pathway was still starting"),
        (
            0.5,
            {REPLAYING: 1.0},
            "lbp waited 50 % for data: chunks were made again for a pathway that came back",
        ),
        (0.5, {"broadcast restarting": 1.0}, "lbp waited 50 % for data: the broadcast was restarted"),
    ],
)
def test_a_wait_is_said_in_words(share: float, causes: dict[str, float], said: str) -> None:
    assert explain("lbp", {"data": share}, causes) == said
