import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.forms.quarantine import BadSample
from pipelines.generated import clips
from pipelines.generated.clips import ClipName, clip_bytes, make_clip, scene_of
from pipelines.generated.scenes import (
    FACTORS,
    KINDS,
    PACES,
    Scene,
    fields,
    hues,
    make_scene,
    move,
    render,
    sectors,
)
from pipelines.sources import open_manifest
from pipelines.sources.clips import read_clips
from raytrain.config.data import DataConfig, GeneratedClipsConfig
from raytrain.errors import ConfigError

SMALL = "clips://0/32/6/24/train/{}.{}"
SUM_OF_PIXELS = 13_224_802


def config(**generated: float) -> DataConfig:
    values = {"num_train": 160, "num_test": 80, **generated}
    return DataConfig(source="clips", generated=GeneratedClipsConfig(**values))


def decode(data: bytes) -> tuple[np.ndarray, float]:
    with av.open(io.BytesIO(data)) as container:
        rate = float(container.streams.video[0].average_rate or 0)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]), rate


def test_the_manifest_is_balanced_and_knows_its_factors() -> None:
    made = open_manifest(config())
    assert (made.modality, made.classes, made.root) == ("clip", KINDS, "clips://")
    assert np.bincount(made.labels[made.indices("test")]).tolist() == [10] * 8
    assert np.bincount(made.labels[made.indices("pretrain")]).tolist() == [18] * 8
    assert len(made.indices("select")) == 16
    assert made.table["group"].to_pylist() == made.keys_of()
    uris = made.table["uri"].to_pylist()
    assert uris[9] == "clips://0/96/96/24/train/9.avi"
    # Neither of the containers gives a class away.
    avi = np.array([uri.endswith(".avi") for uri in uris])
    assert np.bincount(made.labels[avi]).tolist() == np.bincount(made.labels[~avi]).tolist() == [15] * 8
    assert made.factor_names == tuple(FACTORS)
    low, high = np.array(list(FACTORS.values())).T
    assert (made.factors >= low - 1e-5).all()
    assert (made.factors <= high + 1e-5).all()
    known = np.column_stack([made.factors, made.labels])
    assert np.abs(np.corrcoef(known.T) - np.eye(9)).max() < 0.25


def test_a_clip_depends_on_its_uri_only() -> None:
    made, more = read_clips(config()), read_clips(config(num_train=400))
    assert made.table["uri"].to_pylist()[-80:] == more.table["uri"].to_pylist()[-80:]
    assert np.array_equal(made.factors[-80:], more.factors[-80:])
    assert np.array_equal(made.factors, read_clips(config(size_px=32, num_frames=9, rate_hz=12.5)).factors)
    assert not np.allclose(made.factors[:160:2], made.factors[1:160:2])
    assert not np.allclose(made.factors, read_clips(config(seed=1)).factors)
    assert ClipName.parse("clips://0/32/9/12.5/test/3.mp4").rate_hz == 12.5


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "h264"), ("avi", "mpeg4")])
def test_the_files_are_real_and_the_same_on_every_call(ending: str, codec: str) -> None:
    name = ClipName.parse(f"clips://0/36/30/12.5/train/2.{ending}")
    data = make_clip(name)
    assert data == make_clip(name)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.width, stream.height) == (codec, 48, 36)
    shown, rate = decode(data)
    drawn = np.stack(list(render(scene_of(name), size_px=36, num_frames=30, rate_hz=12.5)))
    assert (shown.shape, rate) == (drawn.shape, 12.5)
    assert np.abs(shown.astype(float) - drawn).mean() < 8
    # In the order in which they were drawn.
    errors = [[np.abs(a.astype(float) - b).mean() for b in drawn[::6]] for a in shown[::6]]
    assert np.argmin(errors, axis=1).tolist() == list(range(5))


def test_the_pixels_are_pinned() -> None:
    total = 0
    for number in range(16):
        scene = scene_of(ClipName.parse(SMALL.format(number, "avi")))
        total += sum(
            int(f.astype(np.int64).sum()) for f in render(scene, size_px=32, num_frames=2, rate_hz=24)
        )
    # Other pixels would make figures measured before worthless.
    assert abs(total / SUM_OF_PIXELS - 1) < 1e-4


def test_the_same_scene_at_another_size() -> None:
    for number in (0, 5):
        scene = scene_of(ClipName.parse(SMALL.format(number, "avi")))
        fine = next(render(scene, size_px=192, num_frames=1, rate_hz=24)).astype(float)
        coarse = next(render(scene, size_px=96, num_frames=1, rate_hz=24)).astype(float)
        assert np.abs(fine.reshape(96, 2, 128, 2, 3).mean((1, 3)) - coarse).mean() < 6


@pytest.mark.parametrize("kind", KINDS)
def test_stills_have_one_distribution_whatever_moves(kind: str) -> None:
    times = np.array([0.0, 0.37, 2.9])
    scenes = [make_scene(f"{number}", split="train", kind=kind) for number in range(1500)]
    states = [move(scene, times) for scene in scenes]
    for name in ("x", "y", "zoom", "object_scale"):
        low, high = FACTORS[name]
        values = np.array([s["size"] / s["zoom"] if name == "object_scale" else s[name] for s in states])
        if name in ("zoom", "object_scale"):
            values, low, high = np.log(values), np.log(low), np.log(high)
        # Kolmogorov's distance to the uniform distribution; beyond .05 once in 1,000 draws.
        for column in np.sort((values - low) / (high - low), axis=0).T:
            assert np.abs(column - (np.arange(1500) + 0.5) / 1500).max() < 0.05, name
    for name in ("spin", "roll"):
        turned = np.exp(1j * np.array([state[name] for state in states]))
        assert np.abs(turned.mean(0)).max() < 0.08
    # What moves, and what does not.
    moved = {name for name in states[0] if any(np.ptp(state[name]) > 1e-9 for state in states)}
    assert (
        moved
        == {
            "still": set(),
            "object_slow": {"x", "y"},
            "object_fast": {"x", "y"},
            "object_turns": {"spin"},
            "object_scales": {"size"},
            "camera_pans": {"x", "y", "pivot_x", "pivot_y"},
            "camera_zooms": {"zoom", "size"},
            "camera_rolls": {"roll", "spin"},
        }[kind]
    )


def test_paces_keep_to_their_ranges() -> None:
    assert set(PACES) == set(KINDS) - {"still"}
    for kind, name in (("object_turns", "spin"), ("camera_rolls", "roll")):
        for number in range(20):
            scene = make_scene(f"{number}", split="test", kind=kind)
            pace = abs(np.diff(move(scene, np.array([0.0, 0.1]))[name])[0]) / 0.1
            low, high = PACES[kind]
            assert pace == pytest.approx(low * (high / low) ** scene.values["pace"])


def levels(scene: Scene, num_frames: int) -> np.ndarray:
    """Return the brightness of frames at 12 Hz, f64[T, 96, 128]."""
    return np.stack(list(render(scene, size_px=96, num_frames=num_frames, rate_hz=12))).mean(-1)


def test_what_is_said_to_move_is_seen_to_move() -> None:
    for number in range(2):
        one = make_scene(f"seen/{number}", split="train", kind="still")
        x, y, zoom = (one.values[name] for name in ("x", "y", "zoom"))
        across = ((np.arange(128) + 0.5) * 2 - 128) / 96
        down = ((np.arange(96) + 0.5) * 2 - 96) / 96
        far = np.hypot(across[None] - x, down[:, None] - y) > 0.5 * zoom + 0.05
        for kind in ("still", "object_turns", "object_scales", *KINDS[5:]):
            frames = levels(replace(one, kind=kind), 5)
            # Without the change of the light.
            frames /= frames[:, far].mean(1)[:, None, None]
            change = np.abs(frames[1:] - frames[0])
            assert (change[:, far].mean(1).max() > 0.04) == kind.startswith("camera"), kind
            assert (change[:, ~far].mean(1).max() > 0.02) == (kind != "still"), kind


def test_the_ground_pans_as_far_as_the_camera() -> None:
    for number in range(3):
        scene = make_scene(f"pan/{number}", split="test", kind="camera_pans")
        scene.values["pace"] = 0.4
        path = move(scene, np.arange(3) / 12)
        frames = levels(scene, 3)
        frames /= frames.mean((1, 2), keepdims=True)
        window = np.hanning(96)[:, None] * np.hanning(128)[None]
        first, last = (np.fft.rfft2((frames[place] - 1) * window) for place in (0, 2))
        peak = np.fft.irfft2(last * np.conj(first), (96, 128))
        down, across = np.unravel_index(peak.argmax(), peak.shape)
        seen = np.array([(across + 64) % 128 - 64, (down + 48) % 96 - 48])
        known = np.array([path["x"][2] - path["x"][0], path["y"][2] - path["y"][0]]) * 48
        assert np.abs(seen - known).max() <= 1.5


def test_textures_of_training_and_test_have_nothing_in_common() -> None:
    train, test = sectors("train"), sectors("test")
    assert not (train & test).any()
    assert 0.8 < train.sum() / test.sum() < 1.25
    for split, own, other in (("train", train, test), ("test", test, train)):
        for frequency in (2.0, 9.0):
            power = np.abs(np.fft.fft2(fields("a", split=split, frequency=frequency))) ** 2
            assert power[:, other].sum() < 1e-6 * power.sum()
            assert power[:, own].sum() > 0.999 * power.sum()
    twelfths = {
        split: {int(h * 12) for n in range(100) for h in hues(f"{n}", split)} for split in ("train", "test")
    }
    assert twelfths == {"train": {0, 2, 4, 6, 8, 10}, "test": {1, 3, 5, 7, 9, 11}}


def test_textures_have_every_scale() -> None:
    wave = np.fft.fftfreq(512, 1 / 512)
    length = np.hypot(wave[:, None], wave[None])
    power = sum(np.abs(np.fft.fft2(fields(f"{n}", split="train", frequency=4.0)[0])) ** 2 for n in range(4))
    octaves = [power[(length >= low) & (length < 2 * low)].sum() / power.sum() for low in (4, 8, 16, 32, 64)]
    assert min(octaves) > 0.05
    assert max(octaves) < 0.5


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = SMALL.format(0, "mp4")
    fresh = clip_bytes(uri)
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path))
    assert clip_bytes(uri) == fresh
    (kept,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept.read_bytes() == fresh
    assert kept.relative_to(tmp_path).parts[0] == "clips"
    kept.write_bytes(b"other")
    assert clip_bytes(uri) == b"other"
    kept.write_bytes(b"")
    assert clip_bytes(uri) == fresh == kept.read_bytes()
    monkeypatch.setenv("RAYTRAIN_CACHE", str(kept))  # a file: nothing can be kept below it
    assert clip_bytes(uri) == fresh
    monkeypatch.delenv("RAYTRAIN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    clip_bytes(uri)
    assert len(list((tmp_path / "home/.cache/raytrain/clips").rglob("*.mp4"))) == 1


def test_without_a_cache_a_process_remembers_its_last_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(clips, "make_clip", lambda name: made.append(name.number) or bytes(10))
    monkeypatch.setattr(clips, "_MEMORY_BYTES", 30)
    clips._memory.clear()
    for number in (0, 1, 2, 0, 3, 1, 0):
        clip_bytes(SMALL.format(number, "avi"))
    assert made == [0, 1, 2, 3, 1]
    clips._memory.clear()


@pytest.mark.parametrize(
    "rest",
    ["1", "0/32/6/24/train/x.mp4", "0/32/6/24/val/1.mp4", "0/32/6/24/train/1.mkv", "0/33/6/24/train/1.mp4"]
    + ["0/32/0/24/train/1.mp4", "0/32/6/0/train/1.mp4", "0/32/6/nan/train/1.mp4", "0/32/6/24/train/../1.mp4"]
    + ["0/32/6/24.0/train/1.mp4", "0/32/6/24/train/-8.mp4"],
)
def test_foreign_uris_are_bad(rest: str) -> None:
    with pytest.raises(BadSample, match=r"^no generated clip: 'clips://"):
        clip_bytes(f"clips://{rest}")


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"data\.generated\.size_px is 33; it must be even"):
        GeneratedClipsConfig(size_px=33)


def test_pyav_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"needs PyAV: pip install av$"):
        make_clip(ClipName.parse(SMALL.format(0, "mp4")))


def test_sources_load_neither_torch_nor_ray_nor_pyav() -> None:
    code = (
        "import sys, pipelines.sources as s; print([n for n in ('torch', 'ray', 'av') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
