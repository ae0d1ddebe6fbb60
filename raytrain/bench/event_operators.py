"""How many events a second each event surface takes, on a recording as long as those of N-Caltech101."""

import statistics
import time
from typing import Any

import numpy as np
import torch

from pipelines.views.events import Events
from pipelines.views.operators.events import build_event_operator
from raytrain.config.operators import (
    BinaryFramesConfig,
    CountConfig,
    EstConfig,
    EventOperatorConfig,
    HatsConfig,
    LastTimestampConfig,
    TimeSurfaceConfig,
    VoxelGridConfig,
)

OPERATORS: dict[str, EventOperatorConfig] = {
    "count": CountConfig(),
    "count 8 bins": CountConfig(num_bins=8),
    "last_timestamp": LastTimestampConfig(),
    "time_surface": TimeSurfaceConfig(),
    "time_surface 8 bins": TimeSurfaceConfig(num_bins=8),
    "hats": HatsConfig(),
    "hats radius 1": HatsConfig(radius_px=1),
    "voxel_grid": VoxelGridConfig(),
    "voxel_grid 9 bins nonzero": VoxelGridConfig(num_bins=9, normalise="nonzero"),
    "est": EstConfig(),
    "binary_frames": BinaryFramesConfig(),
    "binary_frames 8 bits": BinaryFramesConfig(num_frames=1, num_bits=8),
}

DURATION_US = 300_000
NUM_HOT_PIXELS = 3
HOT_SHARE = 0.02
"""of all events"""
EVENTS_PER_PLACE = 3.7
"""events of a pixel and polarity that has any"""


def run(
    *, device: str = "cpu", repeats: int = 5, num_events: int = 100_000, num_recordings: int = 1
) -> list[dict[str, Any]]:
    """Return a row for each operator: million events a second forward, median of interleaved repeats.

    One thread. The time contains everything from flat columns to float32 maps, checks included. There is
    no peer: `against`, `ratio` and `bound` are None.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        events = random_recordings(num_recordings, num_events=num_events).to(torch.device(device))
        return _rows(events, repeats=repeats)
    finally:
        torch.set_num_threads(threads)


def random_recordings(
    num_recordings: int, *, num_events: int, width: int = 240, height: int = 180, seed: int = 0
) -> Events:
    """Return recordings of 0.3 s each: random places with a few events, and three hot pixels."""
    generator = np.random.default_rng(seed)
    num_hot = int(num_events * HOT_SHARE)
    columns: list[list[np.ndarray[Any, Any]]] = []
    for _ in range(num_recordings):
        num_places = min(2 * width * height, max(1, int(num_events / EVENTS_PER_PLACE)))
        places = generator.choice(2 * width * height, num_places, replace=False)
        chosen = places[generator.integers(0, num_places, num_events)]
        hot = generator.choice(num_events, num_hot, replace=False)
        chosen[hot] = places[hot % min(NUM_HOT_PIXELS, num_places)]
        pixel, polarity = np.divmod(chosen, 2)
        stamps = np.sort(generator.integers(0, DURATION_US, num_events))
        columns.append([pixel % width, pixel // width, stamps, polarity])
    x, y, t, p = (torch.from_numpy(np.concatenate(column)) for column in zip(*columns, strict=True))
    return Events(
        x=x.int(),
        y=y.int(),
        t=t.long(),
        p=p.to(torch.uint8),
        offsets=torch.arange(num_recordings + 1) * num_events,
        width=width,
        height=height,
    )


def _rows(events: Events, *, repeats: int) -> list[dict[str, Any]]:
    operators = {name: build_event_operator(config) for name, config in OPERATORS.items()}
    speeds: dict[str, list[float]] = {name: [] for name in operators}
    for repeat in range(repeats + 1):
        for name, operator in operators.items():
            _wait(events.device)
            start = time.perf_counter()
            maps = operator(events)
            _wait(events.device)
            seconds = time.perf_counter() - start
            del maps
            if repeat:  # the first round warms up: allocator, kernels, cached columns
                speeds[name].append(events.num_events / seconds / 1e6)
    return [
        {
            "name": name,
            "value": statistics.median(values),
            "unit": "Mev/s",
            "against": None,
            "ratio": None,
            "bound": None,
        }
        for name, values in speeds.items()
    ]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
