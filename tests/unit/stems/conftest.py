"""Events of the parity fixture, and events drawn at random."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.views.events import Events

FIXTURE = Path(__file__).parents[2] / "fixtures" / "events_parity.npz"


@pytest.fixture(scope="session")
def parity():
    with np.load(FIXTURE) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="session")
def recordings(parity):
    """Return a function from names, such as s0 and s1, to a batch of those recordings."""

    def batch(*names):
        return join([{column: parity[f"{name}_{column}"] for column in "xytp"} for name in names])

    return batch


@pytest.fixture(scope="session")
def drawn():
    """Return a function from a seed and counts to a batch of random recordings with repeated stamps."""

    def batch(seed, counts, *, width=8, height=6, lasting_us=5000):
        draw = np.random.default_rng(seed)
        columns = []
        for count in counts:
            pixels = draw.integers(0, width * height, count) * draw.integers(0, 2, count)  # half on one pixel
            stamps = np.sort(draw.integers(0, lasting_us, count)) // 50 * 50 + draw.integers(0, 10**9)
            values = {"x": pixels % width, "y": pixels // width, "t": stamps, "p": draw.integers(0, 2, count)}
            columns.append({name: torch.from_numpy(value) for name, value in values.items()})
        return join(columns, width=width, height=height)

    return batch


@pytest.fixture(scope="session")
def part_of():
    """Return a function from events and a range of events of each sample to those events alone."""

    def part(events, ranges):
        columns = []
        for start, (first, last) in zip(events.offsets[:-1].tolist(), ranges, strict=True):
            columns.append({name: getattr(events, name)[start + first : start + last] for name in "xytp"})
        return join(columns, width=events.width, height=events.height)

    return part


def join(columns, *, width=8, height=6):
    kinds = {"x": torch.int32, "y": torch.int32, "t": torch.int64, "p": torch.uint8}
    flat = {name: torch.cat([sample[name] for sample in columns]).to(kind) for name, kind in kinds.items()}
    counts = torch.tensor([0, *(len(sample["t"]) for sample in columns)])
    return Events(**flat, offsets=counts.cumsum(0), width=width, height=height)
