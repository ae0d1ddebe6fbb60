"""Generated shapes with known factors: eight classes, textured and coloured, under a strong random light.

An image is a pure function of its uri, shapes://<seed>/<size_px>/<split>/<number>, so nothing is stored, the
test images do not depend on how many training images there are, and a prepared manifest needs no settings.
The light (a gradient over the image, its tint and its strength) is the nuisance: it changes most pixels more
than the class does.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.quarantine import BadSample
from pipelines.forms.randomness import hash_keys, hash_words, uniforms

Float32s = NDArray[np.float32]
Outline = Callable[[Float32s, Float32s], Float32s]

SCHEME = "shapes://"
FACTORS = {
    "hue": (0.0, 1.0),
    "texture_frequency": (2.0, 7.0),
    "light_direction": (0.0, 2 * np.pi),
    "light_strength": (0.0, 1.0),
    "scale": (0.45, 0.8),
    "rotation": (0.0, 2 * np.pi),
    "x": (-0.25, 0.25),
    "y": (-0.25, 0.25),
}
"""name -> range; lengths in half image sides, angles in radians, frequency in cycles a half side"""
# Draws that are not factors: hue and texture of the background, phases, tint, exposure.
_NUM_OTHER = 9
_LIGHT_SLOPE = 2.8
_SHAPE_CONTRAST = 0.45


def _disc(x: Float32s, y: Float32s) -> Float32s:
    return np.asarray(np.hypot(x, y) - np.float32(0.8), np.float32)


def _square(x: Float32s, y: Float32s) -> Float32s:
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.7)


def _triangle(x: Float32s, y: Float32s) -> Float32s:
    half = np.float32(np.sqrt(3) / 2)
    return np.maximum(np.maximum(half * x + y * 0.5, -half * x + y * 0.5), -y) - np.float32(0.5)


def _star(x: Float32s, y: Float32s) -> Float32s:
    turn = np.float32(2 * np.pi / 5)
    angle, radius = np.arctan2(x, y), np.hypot(x, y)
    # Folded into half a point of the star, whose edge runs from its tip (1, 0) to the notch.
    angle = np.abs(angle - turn * np.round(angle / turn))
    notch = 0.42 * np.exp(0.2j * np.pi)
    normal = (notch - 1) * -1j / abs(notch - 1)
    across = (radius * np.cos(angle) - 1) * np.float32(normal.real)
    return np.asarray(across + radius * np.sin(angle) * np.float32(normal.imag), np.float32)


def _cross(x: Float32s, y: Float32s) -> Float32s:
    across, along = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
    return np.asarray(np.maximum(across - np.float32(0.28), along - np.float32(0.9)), np.float32)


def _ring(x: Float32s, y: Float32s) -> Float32s:
    return np.asarray(np.abs(np.hypot(x, y) - np.float32(0.64)) - np.float32(0.22), np.float32)


def _crescent(x: Float32s, y: Float32s) -> Float32s:
    outer, inner = np.hypot(x, y) - np.float32(0.9), np.float32(0.68) - np.hypot(x - np.float32(0.45), y)
    return np.asarray(np.maximum(outer, inner), np.float32)


def _arrow(x: Float32s, y: Float32s) -> Float32s:
    half = np.float32(np.sqrt(0.5))
    head = np.maximum(half * (np.abs(x) + y - np.float32(0.9)), -y)
    shaft = np.maximum(np.abs(x) - np.float32(0.25), np.abs(y + np.float32(0.45)) - np.float32(0.5))
    return np.asarray(np.minimum(head, shaft), np.float32)


SHAPES: dict[str, Outline] = {
    "arrow": _arrow,
    "crescent": _crescent,
    "cross": _cross,
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}
"""class name -> signed distance to the outline, in shape units, negative inside"""
_OUTLINES = tuple(SHAPES.values())


def draw_shape(uri: str) -> NDArray[np.uint8]:
    """Return the image of a uri, u8[3, size, size].

    Raises:
        BadSample: the uri is none of this data set.
    """
    try:
        _, size, _, number = uri.removeprefix(SCHEME).split("/")
        size_px, label = int(size), int(number) % len(SHAPES)
        if size_px < 1:
            raise ValueError
        draw = draw_factors([uri])[0].astype(np.float32)
    except ValueError:
        raise BadSample(f"no generated shape: {uri!r}") from None
    return _render(draw, size_px, _OUTLINES[label])


def draw_factors(uris: list[str]) -> NDArray[np.float64]:
    """Return the factors and the other draws of each uri, f64[N, F + others]."""
    # The size is no part of the draw: the same scene at every size.
    scenes = [_scene(uri) for uri in uris]
    draws = uniforms(hash_keys(scenes), seed=0, epoch=0, draw="shapes", count=len(FACTORS) + _NUM_OTHER)
    for column, (low, high) in enumerate(FACTORS.values()):
        draws[:, column] = low + (high - low) * draws[:, column]
    return draws


def _scene(uri: str) -> str:
    seed, _, split, number = uri.removeprefix(SCHEME).split("/")
    return f"{hash_words('shapes', int(seed))}/{split}/{number}"


def _render(draw: Float32s, size_px: int, outline: Outline) -> NDArray[np.uint8]:
    hue, frequency, light_direction, light_strength, scale, rotation, x, y = draw[: len(FACTORS)]
    back_hue, back_frequency, back_angle, phase, back_phase, tint_hue, exposure, angle, sign = draw[
        len(FACTORS) :
    ]
    across, down = _grid(size_px)
    cosine, sine = np.cos(rotation), np.sin(rotation)
    right = ((across - x) * cosine + (down - y) * sine) / scale
    up = ((across - x) * sine - (down - y) * cosine) / scale
    # One pixel is 2 / size of a half side: the edge is a ramp one pixel wide.
    inside = np.clip(0.5 - outline(right, up) * np.float32(scale * size_px / 2), 0, 1)
    front_wave = _wave(right * scale, up * scale, frequency, 2 * np.pi * angle, 2 * np.pi * phase)
    back_wave = _wave(across, down, 2 + 5 * back_frequency, 2 * np.pi * back_angle, 2 * np.pi * back_phase)
    contrast = _SHAPE_CONTRAST if sign < 0.5 else -_SHAPE_CONTRAST
    front = (0.5 + contrast / 2) * (1 + 0.35 * front_wave)
    back = (0.5 - contrast / 2) * (1 + 0.35 * back_wave)
    image = _colour(back_hue, 0.55)[:, None, None] * back
    image += inside * (_colour(hue, 0.55)[:, None, None] * front - image)
    slope = _LIGHT_SLOPE * light_strength
    light = slope * (np.cos(light_direction) * across + np.sin(light_direction) * down)
    # A shadow is darker and of another tint than the lit side.
    tint = (_colour(tint_hue, 0.5) - np.float32(1.0)) * light_strength
    image *= np.exp(
        light * np.float32(0.7) + (exposure - np.float32(0.5)) * np.float32(1.2) - np.float32(0.35) * slope
    )
    image *= 1 + tint[:, None, None]
    # A soft shoulder instead of clipping, which would wipe the shape out on the lit side.
    image = image / (image + np.float32(0.35)) * np.float32(1.1)
    return np.asarray(np.clip(image * 255 + 0.5, 0, 255), np.uint8)


def _wave(across: Float32s, down: Float32s, frequency: float, angle: float, phase: float) -> Float32s:
    along = across * np.float32(np.cos(angle)) + down * np.float32(np.sin(angle))
    return np.asarray(np.sin(np.float32(np.pi) * frequency * along + np.float32(phase)), np.float32)


def _colour(hue: float, saturation: float) -> Float32s:
    """Return a colour of value 1, f32[3] (HSV)."""
    ramps = np.clip(np.abs((hue * 6 + np.array([0, 4, 2], np.float32)) % 6 - 3) - 1, 0, 1)
    return np.asarray(1 - saturation * (1 - ramps), np.float32)


@lru_cache(maxsize=8)
def _grid(size_px: int) -> tuple[Float32s, Float32s]:
    """Return the pixel centres, f32[1, S] and f32[S, 1], in -1..1."""
    line = ((np.arange(size_px, dtype=np.float32) + 0.5) * 2 / size_px - 1).astype(np.float32)
    return line[None, :], line[:, None]
