from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.decode.read_image import read_sample
from pipelines.preparing.prepare import prepare
from pipelines.sources import open_manifest, open_storage
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def put(root: Path, count: int = 10) -> dict[str, np.ndarray]:
    """Write the official batches: a label byte and three channels row by row."""
    root.mkdir(parents=True, exist_ok=True)
    images = {}
    for seed, name in enumerate(BATCHES):
        images[name] = np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), np.uint8)
        records = [bytes([n % 10]) + image.tobytes() for n, image in enumerate(images[name])]
        (root / f"{name}.bin").write_bytes(b"".join(records))
    (root / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    (root / "readme.html").write_text("x")
    return images


def read(root: Path, **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), canvas_px=32, **settings))


@pytest.mark.parametrize("folder", ["", "cifar-10-batches-bin"])
@pytest.mark.parametrize("source", ["auto", "cifar10"])
def test_the_binary_batches(tmp_path: Path, folder: str, source: Any) -> None:
    images = put(tmp_path / folder)
    made = read(tmp_path, source=source)
    assert made.classes == CLASSES
    assert Counter(made.table["split"].to_pylist()) == {"train": 45, "select": 5, "test": 10}
    test = made.indices("test")
    assert [made.keys_of()[row] for row in test] == [f"test_batch/{number:06d}" for number in range(10)]
    assert made.labels[test].tolist() == list(range(10))
    config = DataConfig(canvas_px=32)
    for row, key in enumerate(made.keys_of()):
        name, _, number = key.partition("/")
        found = read_sample(made.row(row), open_storage(made.root, config), config)
        assert np.array_equal(found, images[name][int(number)]), key


@pytest.mark.parametrize("canvas_px", [16, 32])
@pytest.mark.parametrize("kind", ["none", "encoded", "uint8"])
def test_prepared_batches_hold_the_same_pixels(tmp_path: Path, kind: Any, canvas_px: int) -> None:
    put(tmp_path / "data")
    config = DataConfig(root=str(tmp_path / "data"), canvas_px=canvas_px)
    plain = open_manifest(config)
    prepare(config, str(tmp_path / "out"), shards=kind)
    made = open_manifest(DataConfig(root=str(tmp_path / "out"), canvas_px=canvas_px))
    assert made.keys_of() == plain.keys_of()
    storages = open_storage(made.root, config), open_storage(plain.root, config)
    for row in range(0, 60, 7):
        found, expected = (
            read_sample(manifest.row(row), storage, config)
            for manifest, storage in zip((made, plain), storages, strict=True)
        )
        assert np.array_equal(found, expected)


def test_batches_that_are_missing_or_cut_off(tmp_path: Path) -> None:
    put(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:30000])
    text = (
        r"data_batch_2\.bin: 30000 bytes are no whole number of records of 3073 bytes \(a label and 3 x 32 x "
        r"32\); the file is cut off"
    )
    with pytest.raises(DataError, match=text):
        read(tmp_path)
    path.unlink()
    (tmp_path / "test_batch.bin").unlink()
    with pytest.raises(
        DataError, match=r"2 of 6 batches are missing: data_batch_2\.bin, test_batch\.bin; download them too"
    ):
        read(tmp_path)


def test_a_label_that_is_none(tmp_path: Path) -> None:
    put(tmp_path)
    path = tmp_path / "data_batch_4.bin"
    data = bytearray(path.read_bytes())
    data[3073 * 7] = 10
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"data_batch_4\.bin: label 10 of image 7 is outside 0\.\.9; not this"
    ):
        read(tmp_path)


@pytest.mark.parametrize("folder", ["", "cifar-10-batches-py"])
def test_pickles_are_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "data_batch_1").write_bytes(b"\x80\x02")
    with pytest.raises(DataError, match=r"holds CIFAR-10's Python version, whose pickles can run code when"):
        read(tmp_path, source="cifar10")


def test_folders(tmp_path: Path) -> None:
    for path in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / path)
    made = read(tmp_path, source="cifar10", select_fraction=0.0)
    assert made.table["split"].to_pylist() == ["test", "train", "train"]


def test_the_real_folders(real_data: Path) -> None:
    made = read(real_data / "cifar10", source="cifar10")
    assert made.classes == CLASSES
    assert Counter(made.table["split"].to_pylist()) == {"train": 2700, "select": 300, "test": 800}
    assert made.hash == read(real_data / "cifar10").hash
