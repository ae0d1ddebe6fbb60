"""A simulated event camera: logarithm of the light in, events out.

Each pixel compares the logarithm of its light with the value it had at its last event, and gives an event at
every crossing of its threshold, at the time found by linear interpolation between frames. For a refractory
time after an event it gives none. Added are noise events at random and hot pixels that fire all the time.
Source: the model of Rebecq et al., "ESIM: an open event camera simulator", CoRL 2018, with frames at a fixed
rate; refractory time and noise as of real sensors (Lichtsteiner et al. 2008).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32s = NDArray[np.float32]
Int64s = NDArray[np.int64]
Events = tuple[NDArray[np.uint16], NDArray[np.uint16], Int64s, NDArray[np.uint8]]

THRESHOLD, THRESHOLD_SPREAD = 0.14, 0.02
REFRACTORY_US = 500
NOISE_HZ = 1.0
"""of a pixel"""
HOT_PIXELS, HOT_HZ = 3, 400.0


@dataclass(frozen=True)
class Sensor:
    """What distinguishes one sensor from another of its kind."""

    thresholds: Float32s
    """f32[H, W], of the logarithm of the light"""
    hot: Int64s
    """numbers of the hot pixels, row by row"""


def make_sensor(width: int, height: int, *, rng: np.random.Generator) -> Sensor:
    """Return a sensor of its own thresholds and hot pixels."""
    spread = rng.standard_normal((height, width), dtype=np.float32)
    thresholds = np.maximum(THRESHOLD + THRESHOLD_SPREAD * spread, THRESHOLD / 2).astype(np.float32)
    return Sensor(thresholds, np.sort(rng.choice(width * height, HOT_PIXELS, replace=False)))


def see(frames: Float32s, sensor: Sensor, *, duration_us: int, rng: np.random.Generator) -> Events:
    """Return x, y, t (microseconds from the first frame) and p of what a sensor gives, in order of time.

    Shapes: frames f32[T, H, W], the logarithm of the light at T moments at equal distances.
    """
    num_pixels = sensor.thresholds.size
    parts = [_crossings(frames, sensor, duration_us), _noise(num_pixels, duration_us, rng)]
    parts.append(_hot(sensor.hot, duration_us, rng))
    pixel, t, p = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((t, pixel))
    pixel, t, p = pixel[order], t[order], p[order]
    kept = refractory(pixel, t, REFRACTORY_US)
    pixel, t, p = pixel[kept], t[kept], p[kept]
    order = np.argsort(t, kind="stable")
    pixel, t, p = pixel[order], t[order], p[order]
    y, x = np.divmod(pixel, frames.shape[2])
    return x.astype(np.uint16), y.astype(np.uint16), t, p


def refractory(pixel: Int64s, t: Int64s, least_us: int) -> NDArray[np.bool_]:
    """Return which events remain of pixels that rest `least_us` after each, bool[N]; by pixel, then time."""
    kept = np.arange(len(t))
    while True:
        soon = (np.diff(t[kept]) < least_us) & (np.diff(pixel[kept]) == 0)
        # Of events in a row that come too soon, only the first surely does: the next may come late enough
        # after the one before it is gone.
        soon[1:] &= ~soon[:-1]
        if not soon.any():
            break
        kept = np.delete(kept, np.flatnonzero(soon) + 1)
    chosen = np.zeros(len(t), np.bool_)
    chosen[kept] = True
    return chosen


def _crossings(
    frames: Float32s, sensor: Sensor, duration_us: int
) -> tuple[Int64s, Int64s, NDArray[np.uint8]]:
    thresholds = sensor.thresholds.reshape(-1)
    light = frames.reshape(len(frames), -1)
    level = light[0].copy()
    step_us = duration_us / (len(frames) - 1)
    found: list[tuple[Int64s, Int64s, NDArray[np.uint8]]] = []
    for number in range(1, len(frames)):
        now = light[number]
        crossed = ((now - level) / thresholds).astype(np.int64)  # towards zero: whole thresholds passed
        pixels = np.flatnonzero(crossed)
        if not len(pixels):
            continue
        counts = np.abs(crossed[pixels])
        pixel = np.repeat(pixels, counts)
        nth = np.arange(len(pixel)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        sign = np.sign(crossed[pixel])
        before = light[number - 1][pixel].astype(np.float64)
        rise = now[pixel] - before
        share = (level[pixel] + sign * nth * thresholds[pixel] - before) / rise
        t = np.floor((number - 1 + np.clip(share, 0, 1)) * step_us).astype(np.int64)
        found.append((pixel, np.minimum(t, duration_us - 1), (sign > 0).astype(np.uint8)))
        level[pixels] += crossed[pixels] * thresholds[pixels]
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8)
    pixel, t, p = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return pixel, t, p


def _noise(
    num_pixels: int, duration_us: int, rng: np.random.Generator
) -> tuple[Int64s, Int64s, NDArray[np.uint8]]:
    count = int(rng.poisson(NOISE_HZ * num_pixels * duration_us * 1e-6))
    return _at_random(rng.integers(0, num_pixels, count), duration_us, rng)


def _hot(hot: Int64s, duration_us: int, rng: np.random.Generator) -> tuple[Int64s, Int64s, NDArray[np.uint8]]:
    counts = rng.poisson(HOT_HZ * duration_us * 1e-6, len(hot))
    return _at_random(np.repeat(hot, counts), duration_us, rng)


def _at_random(
    pixel: Int64s, duration_us: int, rng: np.random.Generator
) -> tuple[Int64s, Int64s, NDArray[np.uint8]]:
    t = rng.integers(0, duration_us, len(pixel))
    return pixel, t, rng.integers(0, 2, len(pixel), dtype=np.uint8)
