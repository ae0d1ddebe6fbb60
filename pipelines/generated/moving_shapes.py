"""Generated event recordings: a textured shape moves before a simulated sensor; the motion is the class.

A recording is a pure function of its uri, moving_shapes://<seed>/<size_px>/<duration_ms>/<split>/<number>.
Shape, texture, place, pace and whether it is brighter or darker than the ground are drawn apart from the
class, so that a count of events tells the axis of a motion, but only their order its direction. All
recordings of a seed come from one sensor: its pixels differ in threshold, and some are hot.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.quarantine import BadSample
from pipelines.forms.randomness import generator, hash_keys, hash_words, uniforms
from pipelines.forms.recording import Recording
from pipelines.generated.sensor import Sensor, make_sensor, see
from pipelines.generated.shapes import SHAPES

Float32s = NDArray[np.float32]

SCHEME = "moving_shapes://"
MOTIONS = ("down", "grows", "left", "right", "shrinks", "turns_left", "turns_right", "up")
FACTORS = {
    "pace": (0.0, 1.0),
    "scale": (0.45, 0.7),
    "rotation": (0.0, 2 * np.pi),
    "x": (-0.15, 0.15),
    "y": (-0.15, 0.15),
    "texture_frequency": (1.5, 4.0),
    "contrast": (0.7, 1.0),
}
"""name -> range; lengths in half sides of the sensor, frequency in cycles a half side of the shape, contrast
to the ground in natural logarithms"""
_OTHERS = ("outline", "sign", "wave", "wave_phase", "cross_phase")
_WAY, _TURN, _GROWTH = (0.5, 0.9), (0.7, 1.3), (0.5, 0.9)
"""range of the pace: half sides, radians, natural logarithm of the size, in a recording"""
_FRAME_MS = 2.0
_OUTLINES = tuple(SHAPES.values())


@dataclass(frozen=True)
class RecordingName:
    """What the uri of a generated recording says."""

    seed: int
    size_px: int
    duration_ms: int
    split: str
    number: int

    @classmethod
    def parse(cls, uri: str) -> "RecordingName":
        """Return the parts of a uri.

        Raises:
            BadSample: the uri is none of this data set.
        """
        try:
            seed, size, duration, split, number = uri.removeprefix(SCHEME).split("/")
            name = cls(int(seed), int(size), int(duration), split, int(number))
            if str(name) != uri or min(name.size_px, name.duration_ms) < 1 or name.number < 0:
                raise ValueError
        except ValueError:
            raise BadSample(f"no generated recording: {uri!r}") from None
        return name

    def __str__(self) -> str:
        return f"{SCHEME}{self.seed}/{self.size_px}/{self.duration_ms}/{self.split}/{self.number}"

    @property
    def motion(self) -> str:
        """The class."""
        return MOTIONS[self.number % len(MOTIONS)]

    @property
    def scene(self) -> str:
        """What the draws are keyed by: size and duration are no part of it."""
        return f"{hash_words('moving shapes', self.seed)}/{self.split}/{self.number}"


def record(uri: str) -> Recording:
    """Return the recording of a uri.

    Raises:
        BadSample: the uri is none of this data set.
    """
    name = RecordingName.parse(uri)
    duration_us = 1000 * name.duration_ms
    num_frames = max(2, round(name.duration_ms / _FRAME_MS) + 1)
    frames = _film(name, np.linspace(-0.5, 0.5, num_frames, dtype=np.float32))
    sensor = _sensor(name.seed, name.size_px)
    x, y, t, p = see(frames, sensor, duration_us=duration_us, rng=generator("moving shapes", name.scene))
    return Recording(x=x, y=y, t=t, p=p, width=name.size_px, height=name.size_px)


@lru_cache(maxsize=4)
def _sensor(seed: int, size_px: int) -> Sensor:
    return make_sensor(size_px, size_px, rng=generator("moving shapes sensor", seed, size_px))


def draw_factors(scenes: list[str]) -> NDArray[np.float64]:
    """Return the factors and the other draws of each scene, f64[N, F + others]."""
    columns = len(FACTORS) + len(_OTHERS)
    draws = uniforms(hash_keys(scenes), seed=0, epoch=0, draw="moving shapes", count=columns)
    for column, (low, high) in enumerate(FACTORS.values()):
        draws[:, column] = low + (high - low) * draws[:, column]
    return draws


def _film(name: RecordingName, moments: Float32s) -> Float32s:
    """Return the logarithm of the light at each moment -0.5 .. 0.5 of the recording, f32[T, S, S]."""
    values = dict(zip((*FACTORS, *_OTHERS), draw_factors([name.scene])[0].astype(np.float32), strict=True))
    line = ((np.arange(name.size_px, dtype=np.float32) + 0.5) * 2 / name.size_px - 1).astype(np.float32)
    path = _path(name.motion, values["pace"])(moments)
    shift_x, shift_y, turn, growth = (part.astype(np.float32)[:, None, None] for part in path)
    scale = values["scale"] * np.exp(growth)
    angle = values["rotation"] + turn
    across, down = line[None, None, :] - values["x"] - shift_x, line[None, :, None] - values["y"] - shift_y
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    right, up = across * cosine + down * sine, across * sine - down * cosine
    outline = _OUTLINES[int(values["outline"] * len(_OUTLINES))]
    inside = np.clip(0.5 - outline(right, up) * (scale * np.float32(name.size_px / 2)), 0, 1)
    waves = _texture(right, up, values)
    sign = 1 if values["sign"] < 0.5 else -1
    return np.asarray(inside * (sign * values["contrast"]) * (1 + np.float32(0.7) * waves), np.float32)


def _texture(right: Float32s, up: Float32s, values: dict[str, np.float32]) -> Float32s:
    """Return two crossed waves that are fixed to the shape, in -1..1."""
    direction = 2 * np.pi * values["wave"]
    frequency = np.float32(2 * np.pi * 0.5) * values["texture_frequency"]
    cosine, sine = np.float32(np.cos(direction)) * frequency, np.float32(np.sin(direction)) * frequency
    first = np.sin(right * cosine + up * sine + np.float32(2 * np.pi) * values["wave_phase"])
    second = np.sin(up * cosine - right * sine + np.float32(2 * np.pi) * values["cross_phase"])
    return np.asarray((first + second) / 2, np.float32)


def _path(motion: str, pace: float) -> Callable[[Float32s], tuple[Float32s, ...]]:
    """Return what gives shift to the right, shift down, turn and growth (logarithm) at each moment."""

    def path(moments: Float32s) -> tuple[Float32s, ...]:
        ways = {"right": (0, 1), "left": (0, -1), "down": (1, 1), "up": (1, -1)}
        ways |= {"turns_right": (2, 1), "turns_left": (2, -1), "grows": (3, 1), "shrinks": (3, -1)}
        place, sign = ways[motion]
        low, high = (_WAY, _WAY, _TURN, _GROWTH)[place]
        still = np.zeros_like(moments)
        moved = sign * (low + (high - low) * pace) * moments
        return tuple(moved if number == place else still for number in range(4))

    return path
