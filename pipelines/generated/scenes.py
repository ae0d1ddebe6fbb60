"""Generated scenes with known motion: a textured shape before a textured ground, filmed by a camera.

Every quantity that a kind of motion changes (place, angle and size of the object, angle and zoom of the
camera) is drawn uniformly from its range and moves through it by reflection or around it, which keeps it
uniform at every moment; where the ground lies in the frame is drawn apart. So stills of all kinds have one
and the same distribution: a single frame tells nothing of the kind. In all of them the light changes a little
over time, and the sensor has noise.

Textures are sums of waves of amplitude 1/frequency, so that no scale stands out but a mild one. Directions of
the waves and hues of training and test scenes come from ranges without overlap.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.randomness import generator, hash_keys, uniforms
from pipelines.generated.shapes import SHAPES

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
UInt8s = NDArray[np.uint8]

KINDS = (
    "still",
    "object_slow",
    "object_fast",
    "object_turns",
    "object_scales",
    "camera_pans",
    "camera_zooms",
    "camera_rolls",
)
"""classes; the object moves on a line, is turned, comes and goes; or the camera does, past all there is"""
PACES = {
    "object_slow": (0.15, 0.3),
    "object_fast": (0.9, 1.8),
    "object_turns": (0.8, 2.4),
    "object_scales": (0.4, 0.9),
    "camera_pans": (0.2, 1.6),
    "camera_zooms": (0.3, 0.7),
    "camera_rolls": (0.4, 1.2),
}
"""a second: half short sides, radians, or natural logarithms of the size; spread by their logarithm"""
FACTORS = {
    "pace": (0.0, 1.0),
    "direction": (0.0, 2 * np.pi),
    "object_scale": (0.26, 0.46),
    "object_frequency": (3.0, 9.0),
    "ground_frequency": (2.0, 6.0),
    "zoom": (1.0, 1.7),
    "x": (-0.75, 0.75),
    "y": (-0.5, 0.5),
}
"""name -> range, as at the start of a clip; pace: place in the range of the kind; lengths in half short
sides, frequencies in cycles a half short side; scale and zoom are spread by their logarithm"""
_OTHERS = ("spin", "roll", "across", "down", "outline", "sign", "flicker", "flicker_phase", "drift", "shade")

TEXTURE_TEXELS, TEXELS_A_UNIT = 1024, 192
_WAVES, _SPRITE_TEXELS = 512, 256
_SPRITE_EDGE = 1.06
"""half side of the picture of a shape, in shape units"""
_MOST_WAVES = 160
_NUM_SECTORS = 12
_LUMINANCE, _CHROMA = 0.15, 0.09
_LEVELS = {"ground": (0.38, 0.48), "object": (0.24, 0.64)}
"""mean brightness, one of two; an object is lighter or darker than what it moves over"""
_LIGHT, _NOISE = 0.06, 1.2
_NOISE_LENGTH = 2**20


@dataclass(frozen=True)
class Scene:
    """What is drawn for one clip."""

    name: str
    """what its textures and noise are keyed by"""
    split: str
    kind: str
    values: dict[str, float]


def draw_factors(names: list[str]) -> Float64s:
    """Return the factors and the other draws of each scene, f64[N, F + others]."""
    columns = len(FACTORS) + len(_OTHERS)
    draws = uniforms(hash_keys(names), seed=0, epoch=0, draw="clips", count=columns)
    for column, (name, (low, high)) in enumerate(FACTORS.items()):
        if name in ("object_scale", "zoom"):
            draws[:, column] = low * (high / low) ** draws[:, column]
        else:
            draws[:, column] = low + (high - low) * draws[:, column]
    return draws


def make_scene(name: str, *, split: str, kind: str) -> Scene:
    """Return the scene of a name; split: train or test."""
    return Scene(
        name, split, kind, dict(zip((*FACTORS, *_OTHERS), draw_factors([name])[0].tolist(), strict=True))
    )


def render(scene: Scene, *, size_px: int, num_frames: int, rate_hz: float) -> Iterator[UInt8s]:
    """Yield the frames of a scene, u8[size, about 4/3 size, 3]."""
    width = frame_width(size_px)
    across = (((np.arange(width) + 0.5) * 2 - width) / size_px).astype(np.float32)
    down = (((np.arange(size_px) + 0.5) * 2 - size_px) / size_px).astype(np.float32)
    poses = move(scene, np.arange(num_frames) / rate_hz)
    ground = _texture(scene, "ground", scene.values["ground_frequency"])
    sprite = _sprite(scene)
    shade, gain = _light(scene, across, down, np.arange(num_frames) / rate_hz)
    rng = generator("clip noise", scene.name)
    noise, starts = _noise(), rng.integers(0, _NOISE_LENGTH - size_px * width * 3, num_frames)
    for number in range(num_frames):
        pose = {name: float(values[number]) for name, values in poses.items()}
        frame = _sample_ground(ground, pose, across, down)
        _draw_object(frame, sprite, pose, across, down)
        lit = frame * (shade * np.float32(gain[number]))
        lit += noise[starts[number] : starts[number] + lit.size].reshape(lit.shape)
        yield np.clip(lit, 0, 255, out=lit).astype(np.uint8)


def frame_width(size_px: int) -> int:
    """Return the width of a frame of 4:3, an even number."""
    return 2 * round(size_px * 2 / 3)


def move(scene: Scene, times_s: Float64s) -> dict[str, Float64s]:
    """Return where object and camera are at each time, f64[T] each.

    x, y: the object in the frame; size, spin: its half size and angle there; pivot_x, pivot_y: the place in
    the frame that the camera zooms and rolls around; zoom, roll, across, down: the camera's.
    """
    values, kind = scene.values, scene.kind
    low, high = PACES.get(kind, (0.0, 0.0))
    pace = low * (high / low) ** values["pace"] if low else 0.0
    way = pace * times_s
    still = np.zeros_like(times_s)
    sign = 1.0 if values["sign"] < 0.5 else -1.0
    on_line = way if kind in ("object_slow", "object_fast", "camera_pans") else still
    x = _fold(values["x"] + on_line * np.cos(values["direction"]), *FACTORS["x"])
    y = _fold(values["y"] + on_line * np.sin(values["direction"]), *FACTORS["y"])
    pans = kind == "camera_pans"
    zoom = _fold_log(values["zoom"], sign * way if kind == "camera_zooms" else still, *FACTORS["zoom"])
    scale = _fold_log(
        values["object_scale"], sign * way if kind == "object_scales" else still, *FACTORS["object_scale"]
    )
    roll = 2 * np.pi * values["roll"] + (sign * way if kind == "camera_rolls" else still)
    spin = 2 * np.pi * values["spin"] + (sign * way if kind == "object_turns" else still)
    return {
        "x": x,
        "y": y,
        "size": scale * zoom,
        "spin": spin + roll,
        "pivot_x": x if pans else still + values["x"],
        "pivot_y": y if pans else still + values["y"],
        "zoom": zoom,
        "roll": roll,
        "across": still + values["across"],
        "down": still + values["down"],
    }


def _fold(values: Float64s, low: float, high: float) -> Float64s:
    """Reflect at the ends of a range, which keeps what is uniform in it so."""
    way = np.mod(values - low, 2 * (high - low))
    return np.asarray(low + np.minimum(way, 2 * (high - low) - way), np.float64)


def _fold_log(value: float, way: Float64s, low: float, high: float) -> Float64s:
    return np.asarray(np.exp(_fold(np.log(value) + way, np.log(low), np.log(high))), np.float64)


def _sample_ground(
    ground: NDArray[np.uint32], pose: dict[str, float], across: Float32s, down: Float32s
) -> UInt8s:
    """Return the ground as the camera sees it, u8[H, W, 3]; the texture goes on for ever."""
    scale = TEXELS_A_UNIT / pose["zoom"]
    cosine, sine = scale * np.cos(pose["roll"]), scale * np.sin(pose["roll"])
    x, y = across - np.float32(pose["pivot_x"]), down - np.float32(pose["pivot_y"])
    # Moved by whole periods to be positive, where cutting off is rounding down.
    start_x, start_y = ((4 + pose[name]) * TEXTURE_TEXELS for name in ("across", "down"))
    columns = (np.float32(cosine) * x + np.float32(start_x))[None, :] + (np.float32(sine) * y)[:, None]
    rows = (np.float32(-sine) * x + np.float32(start_y))[None, :] + (np.float32(cosine) * y)[:, None]
    index = (rows.astype(np.int32) & (TEXTURE_TEXELS - 1)) * TEXTURE_TEXELS
    index |= columns.astype(np.int32) & (TEXTURE_TEXELS - 1)
    pixels = ground.ravel().take(index)
    return pixels.view(np.uint8).reshape(*index.shape, 4)[..., :3].copy()


def _draw_object(
    frame: UInt8s, sprite: NDArray[np.uint32], pose: dict[str, float], across: Float32s, down: Float32s
) -> None:
    """Draw the object into a frame u8[H, W, 3]; only its surroundings are touched."""
    reach = pose["size"] * _SPRITE_EDGE * np.sqrt(2)
    left, right = np.searchsorted(across, (pose["x"] - reach, pose["x"] + reach))
    top, bottom = np.searchsorted(down, (pose["y"] - reach, pose["y"] + reach))
    x, y = across[left:right] - np.float32(pose["x"]), down[top:bottom] - np.float32(pose["y"])
    texels = _SPRITE_TEXELS / (2 * _SPRITE_EDGE * pose["size"])
    cosine, sine = np.float32(texels * np.cos(pose["spin"])), np.float32(texels * np.sin(pose["spin"]))
    middle = np.float32(_SPRITE_TEXELS / 2)
    columns = (cosine * x + middle)[None, :] + (sine * y)[:, None]
    rows = (-sine * x + middle)[None, :] + (cosine * y)[:, None]
    # The border is transparent.
    index = np.clip(rows, 0, _SPRITE_TEXELS - 1).astype(np.int32) * _SPRITE_TEXELS
    index += np.clip(columns, 0, _SPRITE_TEXELS - 1).astype(np.int32)
    pixels = sprite.ravel().take(index).view(np.uint8).reshape(*index.shape, 4).astype(np.int16)
    patch = frame[top:bottom, left:right]
    behind = patch.astype(np.int16)
    # Of 128: the product stays within 16 bits.
    patch[:] = behind + ((pixels[..., :3] - behind) * pixels[..., 3:] >> 7)


def _light(scene: Scene, across: Float32s, down: Float32s, times_s: Float64s) -> tuple[Float32s, Float64s]:
    """Return the light over the frame, f32[H, W, 1], and over time, f64[T]."""
    values = scene.values
    angle = 2 * np.pi * values["shade"]
    slope = (
        np.float32(0.2 * np.cos(angle)) * across[None, :] + np.float32(0.2 * np.sin(angle)) * down[:, None]
    )
    fast, slow = 0.5 + values["flicker"], 0.1 + 0.2 * values["drift"]
    gain = 1 + _LIGHT * np.sin(2 * np.pi * (fast * times_s + values["flicker_phase"]))
    gain += _LIGHT * np.sin(2 * np.pi * (slow * times_s + values["drift"] * 7))
    return (1 + slope)[..., None].astype(np.float32), gain


@lru_cache(maxsize=1)
def _noise() -> Float32s:
    """Return noise of the sensor and half a step, for rounding, f32[2^20]; each frame gets a piece of it."""
    rng = generator("clip sensor noise")
    return rng.standard_normal(_NOISE_LENGTH, dtype=np.float32) * np.float32(_NOISE) + np.float32(0.5)


def sectors(split: str) -> NDArray[np.bool_]:
    """Return which wave vectors a split's textures may have, bool[512, 512], as numpy.fft orders them."""
    wave = np.fft.fftfreq(_WAVES, 1 / _WAVES)
    turned = np.arctan2(wave[:, None], wave[None, :]) % np.pi
    sector = np.floor(turned / np.pi * _NUM_SECTORS).astype(np.int64) % _NUM_SECTORS
    length = np.hypot(wave[:, None], wave[None, :])
    return np.asarray((sector % 2 == (split == "test")) & (length > 0) & (length <= _MOST_WAVES), np.bool_)


@lru_cache(maxsize=2)
def _spectrum(split: str) -> tuple[NDArray[np.int64], Float32s, Float32s]:
    """Return the places of a split's wave vectors, their length, and the amplitude 1/length."""
    wave = np.fft.fftfreq(_WAVES, 1 / _WAVES)
    places = np.flatnonzero(sectors(split))
    length = np.hypot(wave[:, None], wave[None, :]).ravel()[places].astype(np.float32)
    return places, length, (1 / length).astype(np.float32)


def fields(name: str, *, split: str, frequency: float) -> Float32s:
    """Return two independent textures of mean 0 and deviation 1, f32[2, 512, 512], periodic.

    frequency: around which the waves are somewhat stronger, in cycles a half short side of the frame.
    """
    places, length, amplitude = _spectrum(split)
    peak = np.float32(frequency * TEXTURE_TEXELS / TEXELS_A_UNIT)
    weights = amplitude * (1 + 1.5 * np.exp(-2 * np.log(length / peak) ** 2))
    drawn = generator("clip texture", name).standard_normal((2, len(places)), dtype=np.float32) * weights
    waves = np.zeros(_WAVES * _WAVES, np.complex64)
    waves[places] = drawn[0] + 1j * drawn[1]
    # Real and imaginary part are two real fields of the same, symmetric set of wave vectors.
    field = np.fft.ifft2(waves.reshape(_WAVES, _WAVES))
    both = np.stack([field.real, field.imag])
    return np.asarray(both / both.std((1, 2), keepdims=True), np.float32)


def hues(name: str, split: str) -> Float64s:
    """Return two hues of a texture in 0..1, those of training and test from different twelfths."""
    draws = generator("clip hues", name).random(4)
    return np.asarray((2 * np.floor(6 * draws[:2]) + (split == "test") + draws[2:]) / 12 % 1, np.float64)


def _texture(scene: Scene, part: str, frequency: float) -> NDArray[np.uint32]:
    """Return a texture, u32[1024, 1024]: red, green, blue and 128, a byte each."""
    name = f"{scene.name}/{part}"
    light, tint = fields(name, split=scene.split, frequency=frequency)
    first, second = (_colour(hue) for hue in hues(name, scene.split))
    base = _LEVELS[part][int(generator("clip level", name).random() * 2)]
    colours = np.empty((_WAVES, _WAVES, 4), np.float32)
    for channel in range(3):
        mean = base * (0.8 + 0.2 * first[channel] * 3)
        colours[..., channel] = mean + _LUMINANCE * light + (_CHROMA * (second[channel] - 1 / 3) * 3) * tint
    colours[..., 3] = 128 / 255
    fine = _doubled(_doubled(colours, 0), 1)
    packed = np.clip(fine * 255 + 0.5, 0, 255).astype(np.uint8).view(np.uint32)
    return np.asarray(packed[..., 0], np.uint32)


def _doubled(values: Float32s, axis: int) -> Float32s:
    """Return a periodic texture with the means of neighbours between them."""
    between = (values + np.roll(values, -1, axis)) / 2
    return np.stack([values, between], axis + 1).reshape(
        *(size * 2 if place == axis else size for place, size in enumerate(values.shape))
    )


def _sprite(scene: Scene) -> NDArray[np.uint32]:
    """Return the object, u32[256, 256]: red, green, blue and cover of 128, a byte each."""
    texture = _texture(
        scene, "object", scene.values["object_frequency"] * scene.values["object_scale"] / 0.625
    )
    sprite = texture[:_SPRITE_TEXELS, :_SPRITE_TEXELS].copy()
    outline = tuple(SHAPES.values())[int(scene.values["outline"] * len(SHAPES))]
    line = ((np.arange(_SPRITE_TEXELS) + 0.5) * 2 / _SPRITE_TEXELS - 1).astype(np.float32) * _SPRITE_EDGE
    # The edge is a ramp of about a pixel of the frame.
    cover = np.clip(0.5 - outline(line[None, :], -line[:, None]) * 24, 0, 1)
    sprite.view(np.uint8).reshape(_SPRITE_TEXELS, _SPRITE_TEXELS, 4)[..., 3] = cover * 128 + 0.5
    return sprite


def _colour(hue: float) -> Float64s:
    """Return red, green and blue of a sum of 1, f64[3]."""
    ramps = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1) + 0.25
    return np.asarray(ramps / ramps.sum(), np.float64)
