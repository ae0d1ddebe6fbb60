"""How long the fixed operators take, beside scikit-image's local binary pattern in the same process."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from pipelines.views.operators import build_operator
from raytrain.config.operators import DtcwtConfig, IdentityConfig, LbpConfig, OperatorConfig, RgConfig

LBP_BOUND = 12.0
"""how many times faster than scikit-image the table must be"""

OPERATORS: dict[str, OperatorConfig] = {
    "identity": IdentityConfig(),
    "lbp": LbpConfig(),
    "lbp 24 points": LbpConfig(num_points=24, radius_px=3),
    "lbp bilinear": LbpConfig(interpolation="bilinear"),
    "lbp paper2023": LbpConfig(compat="paper2023"),
    "rg": RgConfig(),
    "rg paper2023": RgConfig(compat="paper2023"),
    "dtcwt 1 level": DtcwtConfig(),
    "dtcwt 3 levels": DtcwtConfig(num_levels=3),
    "dtcwt paper2023": DtcwtConfig(compat="paper2023"),
}


def run(
    *, device: str = "cpu", repeats: int = 5, num_images: int = 256, size_px: int = 64
) -> list[dict[str, Any]]:
    """Return a row for each operator: milliseconds an image, one thread, median of interleaved repeats.

    The time contains everything from the bytes on: grey, table, scaling. scikit-image gets the grey for free
    and is timed on at most 32 images. `ratio` is the peer's time over ours; `bound` is what it must reach.
    Both are None where there is no peer, as `against` is where scikit-image is not installed.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _rows(device=torch.device(device), repeats=repeats, num_images=num_images, size_px=size_px)
    finally:
        torch.set_num_threads(threads)


def _rows(*, device: torch.device, repeats: int, num_images: int, size_px: int) -> list[dict[str, Any]]:
    pixels = np.random.default_rng(0).integers(0, 256, (num_images, 3, size_px, size_px), dtype=np.uint8)
    images = torch.from_numpy(pixels).to(device)
    contenders: dict[str, tuple[Callable[[], object], int]] = {}
    for name, config in OPERATORS.items():
        operator = build_operator(config).to(device)
        contenders[name] = (partial(operator, images), num_images)
    peer = _skimage_lbp(pixels[:32, 0])
    if peer is not None:
        contenders["peer"] = (peer, min(32, num_images))

    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats + 1):
        for name, (work, num) in contenders.items():
            seconds = _seconds(work, device)
            if repeat:  # the first round warms up: matrices, allocator, kernels
                times[name].append(1e3 * seconds / num)
    medians = {name: statistics.median(values) for name, values in times.items()}
    against = medians.pop("peer", None)
    return [_row(name, value, peer=against if name == "lbp" else None) for name, value in medians.items()]


def _row(name: str, value: float, *, peer: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": "ms/image",
        "against": peer,
        "ratio": None if peer is None else peer / value,
        "bound": None if peer is None else LBP_BOUND,
    }


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    del result
    return seconds


def _skimage_lbp(grey: np.ndarray[Any, np.dtype[np.uint8]]) -> Callable[[], object] | None:
    try:
        from skimage import feature
    except ImportError:
        return None
    pattern: Callable[..., object] = feature.local_binary_pattern
    return lambda: [pattern(image, 8, 1, method="ror") for image in grey]
