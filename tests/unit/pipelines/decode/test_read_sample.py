from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.decode.read_image import read_sample
from pipelines.forms.quarantine import BadSample
from pipelines.sources import open_manifest
from pipelines.storage.manifest import Manifest, table_from_columns
from pipelines.storage.payload import checksum
from pipelines.storage.places import Storage, opened
from raytrain.config.data import DataConfig, ShapesConfig

CONFIG = DataConfig(canvas_px=16)


def one_file(
    folder: Path, *, offset: int = 0, size: int = -1, digest: str = "", **fields: object
) -> Manifest:
    table = table_from_columns(
        key=["k"],
        uri=["a.png"],
        label=[0],
        split=["train"],
        group=["k"],
        offset=[offset],
        bytes_=[size],
        checksum=[digest],
    )
    return Manifest(table=table, root=str(folder), classes=("a", "b"), **fields)


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_reads_checks_and_counts(image_file: Path) -> None:
    data = image_file.read_bytes()
    before = opened()
    manifest = one_file(image_file.parent, size=len(data), digest=checksum(data))
    sample = read_sample(manifest.row(0), Storage(manifest.root), CONFIG)
    assert np.array_equal(sample, np.arange(768).reshape(16, 16, 3).transpose(2, 0, 1) % 256)
    assert opened() == before + 1


def test_a_file_of_another_size_is_bad(image_file: Path) -> None:
    size = image_file.stat().st_size
    manifest = one_file(image_file.parent, size=size + 1)
    with pytest.raises(
        BadSample, match=rf"^size: {size} bytes, but the manifest says {size + 1}; the file has"
    ):
        read_sample(manifest.row(0), Storage(manifest.root), CONFIG)


def test_a_flipped_bit_is_bad(image_file: Path) -> None:
    data = image_file.read_bytes()
    manifest = one_file(image_file.parent, size=len(data), digest=checksum(data))
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    image_file.write_bytes(flipped)
    before = opened()
    with pytest.raises(
        BadSample, match=r"^checksum differs from the manifest; the file has changed or is damaged"
    ):
        read_sample(manifest.row(0), Storage(manifest.root), CONFIG)
    assert opened() == before + 1


def test_a_missing_file_is_bad(image_file: Path) -> None:
    manifest = one_file(image_file.parent)
    image_file.unlink()
    with pytest.raises(BadSample, match=r"^missing: No such file") as caught:
        read_sample(manifest.row(0), Storage(manifest.root), CONFIG)
    assert caught.value.fate == "missing"


def test_raw_canvases_are_read_by_one_range(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16), np.uint8)
    (tmp_path / "a.png").write_bytes(b"before" + pixels.tobytes() + b"after")
    manifest = one_file(tmp_path, offset=6, size=768, payload="uint8", canvas_px=16, fit="squash")
    sample = read_sample(manifest.row(0), Storage(manifest.root), CONFIG)
    assert np.array_equal(sample, pixels)
    assert sample.flags.writeable
    cut = one_file(tmp_path, offset=6, size=760, payload="uint8", canvas_px=16, fit="squash")
    with pytest.raises(BadSample, match=r"^size: 760 bytes, but u8:chw:3x16x16 needs 768$"):
        read_sample(cut.row(0), Storage(manifest.root), CONFIG)


def test_generated_samples_are_counted_and_fitted() -> None:
    config = DataConfig(source="shapes", canvas_px=40, shapes=ShapesConfig(num_train=8, num_test=8))
    manifest = open_manifest(config)
    before = opened()
    assert read_sample(manifest.row(3), Storage(manifest.root), config).shape == (3, 40, 40)
    assert opened() == before + 1
