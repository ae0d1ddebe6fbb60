"""The generated recordings: a pure function of the uri, a plausible sensor, motion only time tells."""

import numpy as np
import pytest

from pipelines.forms.quarantine import BadSample
from pipelines.forms.randomness import generator
from pipelines.generated.moving_shapes import MOTIONS, SCHEME, _sensor, record
from pipelines.generated.sensor import REFRACTORY_US, Sensor, make_sensor, refractory, see
from pipelines.sources import open_manifest
from raytrain.config.data import DataConfig, GeneratedEventsConfig
from tests.event_files import same


def uri(number: int, split: str = "train", size: int = 64, seed: int = 0) -> str:
    return f"{SCHEME}{seed}/{size}/150/{split}/{number}"


def test_the_manifest_is_balanced_and_does_not_depend_on_the_number_of_recordings() -> None:
    def read(count: int) -> list[str]:
        settings = GeneratedEventsConfig(num_train=count, num_test=16)
        manifest = open_manifest(DataConfig(source="moving_shapes", moving_shapes=settings))
        assert manifest.modality == "events"
        assert (manifest.sensor_width, manifest.sensor_height) == (64, 64)
        assert manifest.classes == MOTIONS
        counts = np.bincount(manifest.labels, minlength=8)
        assert (counts == (count + 16) // 8).all()
        return [manifest.keys_of()[row] for row in manifest.indices("test")]

    assert read(16) == read(64)


def test_a_recording_is_a_function_of_its_uri() -> None:
    assert same(record(uri(3)), record(uri(3)))
    others = [record(uri(3, "test")), record(uri(3, seed=1)), record(uri(11))]
    assert not any(same(record(uri(3)), other) for other in others)


def test_recordings_are_of_a_useful_size_and_in_order() -> None:
    counts = []
    for number in range(16):
        found = record(uri(number))
        counts.append(len(found))
        assert (np.diff(found.t) >= 0).all()
        assert found.t[0] >= 0
        assert found.t[-1] < 150_000
        assert found.x.max() < 64
        assert found.y.max() < 64
        assert 0.1 < found.p.mean() < 0.9
    assert min(counts) > 2000
    assert max(counts) < 50_000


def test_pixels_rest_after_an_event() -> None:
    found = record(uri(0))
    pixel = found.y.astype(int) * 64 + found.x
    order = np.lexsort((found.t, pixel))
    close = (np.diff(pixel[order]) == 0) & (np.diff(found.t[order]) < REFRACTORY_US)
    assert not close.any()


def test_a_resting_pixel_is_as_by_a_loop() -> None:
    rng = np.random.default_rng(0)
    pixel = np.sort(rng.integers(0, 4, 300))
    t = np.concatenate([np.sort(rng.integers(0, 400, n)) for n in np.bincount(pixel)])
    expected, last = [], {}
    for number, (place, stamp) in enumerate(zip(pixel, t, strict=True)):
        if stamp - last.get(place, -100) >= 10:
            last[place] = stamp
            expected.append(number)
    assert np.flatnonzero(refractory(pixel, t, 10)).tolist() == expected


def test_hot_pixels_are_the_sensor_s() -> None:
    counts = np.zeros(64 * 64, int)
    for number in range(8):
        found = record(uri(number, "test"))
        counts += np.bincount(found.y.astype(int) * 64 + found.x, minlength=64 * 64) >= 15
    assert set(_sensor(0, 64).hot.tolist()) <= set(np.flatnonzero(counts == 8).tolist())


def test_a_ramp_crosses_at_equal_times() -> None:
    # One pixel whose light rises by 1 in 100 ms, threshold 0.1: every 10 ms, whatever the frames.
    sensor = Sensor(np.full((1, 1), 0.1001, np.float32), np.zeros(0, np.int64))
    for num_frames in (2, 5, 41):
        ramp = np.linspace(0, 1, num_frames, dtype=np.float32)[:, None, None]
        _, _, t, p = see(ramp, sensor, duration_us=100_000, rng=_silent())
        assert p.tolist() == [1] * 9
        assert np.abs(t - 10_010 * np.arange(1, 10)).max() <= 2
        assert see(-ramp, sensor, duration_us=100_000, rng=_silent())[3].tolist() == [0] * 9


def _silent() -> np.random.Generator:
    """A generator by which one pixel has no noise in a tenth of a second."""
    return generator("no noise here")


def test_nothing_moves_nothing_but_noise() -> None:
    sensor = make_sensor(32, 32, rng=np.random.default_rng(0))
    x, y, _, _ = see(
        np.zeros((9, 32, 32), np.float32), sensor, duration_us=10**6, rng=np.random.default_rng(1)
    )
    counts = np.bincount(y.astype(int) * 32 + x, minlength=1024)
    assert set(np.flatnonzero(counts > 100).tolist()) == set(sensor.hot.tolist())
    assert 700 < counts.sum() - counts[sensor.hot].sum() < 1400


def _centre_moves(found: object, axis: str) -> float:
    """How far the mean of the last third lies beyond that of the first."""
    places, third = getattr(found, axis).astype(float), len(found) // 3  # type: ignore[arg-type]
    return float(places[-third:].mean() - places[:third].mean())


@pytest.mark.parametrize("motion", ["left", "right", "up", "down"])
def test_the_class_is_the_direction(motion: str) -> None:
    axis, sign = {"left": ("x", -1), "right": ("x", 1), "up": ("y", -1), "down": ("y", 1)}[motion]
    number = MOTIONS.index(motion)
    moved = [sign * _centre_moves(record(uri(number + 8 * n)), axis) for n in range(6)]
    assert min(moved) > 3


@pytest.mark.parametrize(
    "wrong", ["", "0/64/150/train", "0/0/150/train/1", "0/64/150/train/-1", "a/64/150/train/1"]
)
def test_no_uri_of_this_set(wrong: str) -> None:
    with pytest.raises(BadSample, match="no generated recording"):
        record(SCHEME + wrong)
