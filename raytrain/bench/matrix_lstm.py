"""Matrix-LSTM over events beside the padded layout of the authors' code: speed, and what backward keeps."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.forms.randomness import generator
from pipelines.views.events import Events
from raytrain.config.stems import MatrixLstmConfig
from raytrain.stems import MatrixLstm, build_stem

SPEED_BOUND = 50.0
"""how many times faster than the padded layout forward and backward must be"""
MEMORY_BOUND = 20.0
"""how many times less must be kept for the backward pass"""
FLOOR_BOUND = 0.1
"""share of the bandwidth's floor that forward and backward must reach on a GPU"""
COPIED_BYTES = 256 << 20
"""of the copy that measures the bandwidth"""

HOT_PIXELS, HOT_SHARE = 3, 0.02
ACTIVE_SHARE = 0.65
"""of the sensor's pixels that see any event"""


def recording(num_events: int = 100_000, *, height: int = 180, width: int = 240, copies: int = 1) -> Events:
    """Return a recording shaped like N-Caltech101's, as often as asked: few events a pixel, three hot pixels
    with 2 %."""
    draw = generator("bench", "matrix_lstm", num_events)
    pixels = draw.permutation(height * width)[: int(ACTIVE_SHARE * height * width)]
    rates = draw.gamma(2.0, size=len(pixels))
    places = draw.choice(pixels, num_events, p=rates / rates.sum())
    hot = draw.random(num_events) < HOT_SHARE
    places[hot] = draw.choice(pixels[:HOT_PIXELS], int(hot.sum()))
    stamps = np.sort(draw.integers(0, 300_000, num_events))
    return Events(
        x=torch.from_numpy((places % width).astype(np.int32)).repeat(copies),
        y=torch.from_numpy((places // width).astype(np.int32)).repeat(copies),
        t=torch.from_numpy(stamps).repeat(copies),
        p=torch.from_numpy(draw.integers(0, 2, num_events, dtype=np.uint8)).repeat(copies),
        offsets=num_events * torch.arange(copies + 1),
        width=width,
        height=height,
    )


def padded_surface(stem: MatrixLstm, events: Events) -> Tensor:
    """Return the surface by the authors' layout: [longest field, fields, F] zero-padded through one LSTM.

    For fields of one pixel, one bin, no bound, and the delay over the field's longest as the time feature.
    """
    keys = (events.sample * events.height + events.y) * events.width + events.x
    keys, order = torch.sort(keys, stable=True)
    cells, lengths = torch.unique_consecutive(keys, return_counts=True)
    fields = torch.repeat_interleave(torch.arange(len(cells), device=keys.device), lengths)
    steps = torch.arange(len(keys), device=keys.device) - (lengths.cumsum(0) - lengths)[fields]
    longest, channels = int(lengths.max()), stem.config.hidden
    kind = stem.weights[0].dtype
    delays = events.t[order].diff(prepend=events.t[order[:1]]).where(steps > 0, 0).to(kind)
    padded = torch.zeros(longest, len(cells), 2, dtype=kind, device=keys.device)
    padded[steps, fields, 0] = events.p[order].to(kind)
    padded[steps, fields, 1] = delays
    padded[..., 1] /= padded[..., 1].amax(0) + 1e-6
    outputs: Tensor = stem.lstm(padded)[0]
    last = outputs[lengths - 1, torch.arange(len(cells), device=keys.device)]
    surface = last.new_zeros(len(events) * events.height * events.width, channels)
    surface = surface.index_put((cells,), last)
    return surface.view(len(events), events.height, events.width, channels).permute(0, 3, 1, 2)


def bytes_kept(forward: Callable[[], Tensor]) -> int:
    """Return the bytes of memory that autograd keeps for the backward pass of `forward`."""
    kept: dict[int, Tensor] = {}

    def keep(values: Tensor) -> Tensor:
        kept.setdefault(values.untyped_storage().data_ptr(), values)  # held, so that no address comes twice
        return values

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda values: values):
        forward()
    return sum(values.untyped_storage().nbytes() for values in kept.values())


def run(
    *, device: str = "cpu", repeats: int = 5, num_events: int = 100_000, hidden: int = 3
) -> list[dict[str, Any]]:
    """Return rows of forward, forward and backward (Mev/s, one thread) and bytes kept, ours beside padded.

    On a CPU seconds are those of its time, so that a busy machine changes little; median of `repeats`, two
    for the padded layout, which takes about 11 GB at 100,000 events. `ratio`: how many times better ours is.
    On a GPU a row of a batch beside what the device's bandwidth allows follows.
    """
    threads, where = torch.get_num_threads(), torch.device(device)
    torch.set_num_threads(1)
    try:
        rows = _rows(where, repeats=repeats, num_events=num_events, hidden=hidden)
        if where.type != "cpu":
            rows.append(batch_row(where, repeats=repeats, num_events=num_events, hidden=hidden))
        return rows
    finally:
        torch.set_num_threads(threads)


def _rows(device: torch.device, *, repeats: int, num_events: int, hidden: int) -> list[dict[str, Any]]:
    config = MatrixLstmConfig(hidden=hidden, max_events=0)
    stem = build_stem(config, seed_words=("bench",)).to(device)
    assert isinstance(stem, MatrixLstm)
    events = recording(num_events).to(device)
    ways: dict[str, Callable[[], Tensor]] = {
        "ours": partial(stem, events),
        "padded": partial(padded_surface, stem, events),
    }
    with torch.no_grad():
        difference = float((ways["ours"]() - ways["padded"]()).abs().max())
    kept = {name: bytes_kept(way) / num_events for name, way in ways.items()}
    forward, both = {}, {}
    for name, way in ways.items():
        times = repeats if name == "ours" else min(2, repeats)
        forward[name] = num_events / 1e6 / _median(partial(_without_gradients, way), device, times)
        both[name] = num_events / 1e6 / _median(partial(_with_gradients, way), device, times)
    return [
        _row("matrix_lstm forward", forward, unit="Mev/s"),
        _row("matrix_lstm forward+backward", both, unit="Mev/s", bound=SPEED_BOUND),
        _row("matrix_lstm kept for backward", kept, unit="bytes/event", bound=MEMORY_BOUND),
        _row("matrix_lstm largest difference", {"ours": difference}, unit="of +-1"),
    ]


def batch_row(
    device: torch.device, *, repeats: int, num_events: int, hidden: int, num_recordings: int = 32
) -> dict[str, Any]:
    """Return events a second of forward and backward over a batch, beside the floor of the bandwidth.

    The floor is that of one fused kernel: 68 bytes an event to build, sort and read the keys, 16 a hidden
    unit for the states that backward reads again, 4 to read the event again. The bandwidth is what a copy on
    the same device reaches.
    """
    stem = build_stem(MatrixLstmConfig(hidden=hidden, max_events=0), seed_words=("bench",)).to(device)
    events = recording(num_events, copies=num_recordings).to(device)
    total = num_events * num_recordings / 1e6
    rate = total / _median(partial(_with_gradients, partial(stem, events)), device, repeats)
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * COPIED_BYTES / _median(partial(target.copy_, source), device, max(3, repeats))
    floor = bandwidth / (72 + 16 * hidden) / 1e6
    return {
        "name": f"matrix_lstm forward+backward, {num_recordings} recordings",
        "value": rate,
        "unit": "Mev/s",
        "against": floor,
        "ratio": rate / floor,
        "bound": FLOOR_BOUND,
    }


def _row(name: str, values: dict[str, float], *, unit: str, bound: float | None = None) -> dict[str, Any]:
    against = values.get("padded")
    better = None if against is None else values["ours"] / against
    if better is not None and not unit.endswith("/s"):
        better = 1 / better
    return {
        "name": name,
        "value": values["ours"],
        "unit": unit,
        "against": against,
        "ratio": better,
        "bound": bound,
    }


def _without_gradients(way: Callable[[], Tensor]) -> None:
    with torch.no_grad():
        way()


def _with_gradients(way: Callable[[], Tensor]) -> None:
    way().sum().backward()  # type: ignore[no-untyped-call]


def _median(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the median seconds of some repeats, after one more that warms up where it is cheap."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    seconds = []
    for _ in range(repeats + (repeats > 2)):
        _wait(device)
        start = clock()
        work()
        _wait(device)
        seconds.append(clock() - start)
    return statistics.median(seconds[-repeats:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
