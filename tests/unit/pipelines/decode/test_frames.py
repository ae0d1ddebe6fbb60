import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.decode.frames import decode_frames, probe_frames
from pipelines.decode.read_clip import decode_row
from pipelines.forms.quarantine import BadSample
from pipelines.storage.places import Storage
from pipelines.storage.rows import Row
from raytrain.config import DataConfig
from tests.clip_files import numbered_frame, plan_of, plan_whole, shown_numbers

NAMES = [f"{number:05d}.jpg" for number in range(12)]
SETTINGS: dict[str, Any] = {"rate_hz": 24.0, "canvas_px": 24, "fit": "squash", "max_pixels": 10**6}


class Folder:
    """A folder of frames that notes what is read of it."""

    def __init__(self) -> None:
        self.files = {name: _jpeg(numbered_frame(number)) for number, name in enumerate(NAMES)}
        self.read: list[str] = []

    def __call__(self, name: str) -> bytes:
        self.read.append(name)
        return self.files[name]


def _jpeg(pixels: Any, orientation: int = 1) -> bytes:
    file, tags = io.BytesIO(), Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=tags)
    return file.getvalue()


def test_only_planned_files_are_read() -> None:
    folder = Folder()
    clip = decode_frames(folder, NAMES, lambda _: plan_of([3, 7], [7, 9]), **SETTINGS)
    assert shown_numbers(clip.frames) == [3, 7]
    assert clip.large.shape == (2, 3, 48, 48)
    assert clip.decoder == "frames"
    assert folder.read == [NAMES[0], NAMES[3], NAMES[7], NAMES[9]]  # the first tells the size
    folder.read.clear()
    assert shown_numbers(decode_frames(folder, NAMES, plan_whole, **SETTINGS).frames) == list(range(12))
    assert folder.read == NAMES


def test_what_is_known_before() -> None:
    meta = probe_frames(Folder(), NAMES, rate_hz=24.0, max_pixels=10**6)
    np.testing.assert_allclose(meta.times_s, np.arange(12) / 24)
    assert (meta.width, meta.height) == (64, 48)


@pytest.mark.parametrize("offset", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_large_square(offset: float, orientation: int) -> None:
    folder = Folder()
    upright = numbered_frame(5)
    stored = np.rot90(upright) if orientation == 6 else upright
    folder.files[NAMES[5]] = _jpeg(np.ascontiguousarray(stored), orientation)
    clip = decode_frames(folder, NAMES, lambda _: plan_of([], [5], offset=offset), **SETTINGS)
    left = round(16 * offset)
    expected = upright[:, left : left + 48].transpose(2, 0, 1).astype(int)
    assert np.abs(clip.large[0] - expected).mean() < 4


def test_a_broken_frame_is_named() -> None:
    folder = Folder()
    folder.files[NAMES[4]] = folder.files[NAMES[4]][:-300]
    assert shown_numbers(decode_frames(folder, NAMES, lambda _: plan_of([3, 5]), **SETTINGS).frames) == [3, 5]
    with pytest.raises(BadSample, match=r"00004\.jpg: .*[Tt]runcated"):
        decode_frames(folder, NAMES, plan_whole, **SETTINGS)
    with pytest.raises(BadSample, match=r"00000\.jpg: claims 64 x 48 pixels"):
        decode_frames(folder, NAMES, plan_whole, **SETTINGS | {"max_pixels": 100})
    with pytest.raises(BadSample, match="holds no frames"):
        decode_frames(folder, [], plan_whole, **SETTINGS)


def test_a_folder_of_frames_that_is_gone_is_a_missing_sample(tmp_path: Path) -> None:
    row = Row(key="clip", uri="clip", payload="frames:12")
    with pytest.raises(BadSample, match=r"/clip: no such folder$") as caught:
        decode_row(row, Storage(str(tmp_path)), DataConfig(root=str(tmp_path)), plan_whole)
    assert caught.value.fate == "missing"


def test_a_frame_that_is_gone_makes_its_clip_a_missing_sample(tmp_path: Path) -> None:
    for name in NAMES[:2]:
        path = tmp_path / "clip" / name.rpartition("/")[2]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(Folder().files[name])
    path.unlink()
    path.symlink_to("nowhere")
    row = Row(key="clip", uri="clip", payload="frames:2")
    with pytest.raises(BadSample, match=r"missing: No such file") as caught:
        decode_row(row, Storage(str(tmp_path)), DataConfig(root=str(tmp_path)), plan_whole)
    assert caught.value.fate == "missing"


def test_real_frames(real_data: Path) -> None:
    files = sorted((real_data / "DAVIS/JPEGImages/480p/libby").glob("*.jpg"))
    names = [str(file) for file in files]
    clip = decode_frames(
        lambda name: Path(name).read_bytes(), names, plan_whole, **SETTINGS | {"max_pixels": 10**7}
    )
    with Image.open(files[0]) as first:
        assert (clip.meta.width, clip.meta.height) == first.size
    assert len(clip.frames) == len(files) > 10
