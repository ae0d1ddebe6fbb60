from typing import Any

import numpy as np
import pytest
import torch

from pipelines.stream.batch import Batch, EventBatch, ImageBatch
from pipelines.views.events import Events
from raytrain.training.pace import Pace


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("raytrain.training.pace.time", time)
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


def recordings(*counts: int) -> EventBatch:
    flat = torch.zeros(sum(counts), dtype=torch.int32)
    offsets = torch.from_numpy(np.cumsum([0, *counts]))
    columns = {"x": flat, "y": flat, "t": flat.long(), "p": flat.to(torch.uint8)}
    return EventBatch(**common(len(counts)), events=Events(**columns, offsets=offsets, width=1, height=1))


def train(pace: Pace, *batches: Batch, num_ranks: int = 1) -> None:
    for batch in batches:
        pace.take(batch, num_ranks=num_ranks)
    pace.mark()


def test_batches_count_by_what_they_hold(time: Time) -> None:
    pace = Pace()
    train(pace, recordings(1000, 1000, 1000))  # start-up: no pace yet
    assert pace.rates == {"samples_per_s": 0.0, "events_per_s": 0.0}
    time.now += 4
    train(pace, recordings(70, 10), recordings(20))
    assert pace.rates == {"samples_per_s": 0.8, "events_per_s": 25.0}
    time.now += 2
    train(pace, recordings(5, 0), num_ranks=2)
    assert pace.rates == {"samples_per_s": 2.0, "events_per_s": 5.0}


def test_images_have_no_events(time: Time) -> None:
    pace = Pace()
    assert not pace.begun
    for _ in range(2):
        time.now += 2
        train(pace, ImageBatch(**common(3), images=torch.zeros(3, 3, 1, 1, dtype=torch.uint8)))
    assert pace.begun
    assert pace.rates == {"samples_per_s": 1.5}
