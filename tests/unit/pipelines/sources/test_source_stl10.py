from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.decode.read_image import read_sample
from pipelines.preparing.inspect import inspect
from pipelines.sources import open_manifest, open_storage
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage, opened
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

NUM_BYTES = 3 * 96 * 96
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 96, 96), np.uint8)


def put(root: Path, *, train: int = 40, test: int = 10, unlabeled: int = 5) -> dict[str, np.ndarray]:
    """Write the official files: each channel column by column, labels from 1."""
    root.mkdir(parents=True, exist_ok=True)
    images = {}
    for seed, (name, count) in enumerate({"train": train, "test": test, "unlabeled": unlabeled}.items()):
        images[name] = pictures(count, seed)
        (root / f"{name}_X.bin").write_bytes(images[name].transpose(0, 1, 3, 2).tobytes())
        if name != "unlabeled":
            (root / f"{name}_y.bin").write_bytes(bytes(number % 10 + 1 for number in range(count)))
    (root / "class_names.txt").write_text("\n".join(CLASSES) + "\n")
    (root / "fold_indices.txt").write_text("0 1 2\n")
    return images


def read(root: Path, **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), canvas_px=96, **settings))


def sample(manifest: Manifest, key: str) -> np.ndarray:
    config = DataConfig(canvas_px=96)
    return read_sample(
        manifest.row(manifest.keys_of().index(key)), open_storage(manifest.root, config), config
    )


@pytest.mark.parametrize("folder", ["", "stl10_binary"])
@pytest.mark.parametrize("source", ["auto", "stl10"])
def test_the_binary_files(tmp_path: Path, folder: str, source: Any) -> None:
    images = put(tmp_path / folder)
    made = read(tmp_path, source=source)
    assert made.classes == CLASSES
    assert Counter(made.table["split"].to_pylist()) == {"train": 36, "select": 4, "test": 10, "pretrain": 5}
    labels = dict(zip(made.keys_of(), made.labels.tolist(), strict=True))
    assert [labels[f"train_X/{number:06d}"] for number in range(11)] == [*range(10), 0]
    assert {labels[f"unlabeled_X/{number:06d}"] for number in range(5)} == {-1}
    # Unlabelled images are pretrained on together with the labelled ones.
    assert len(made.indices("pretrain")) == 41
    assert len(made.indices("probe_train")) == 36
    for name in ("train", "test", "unlabeled"):
        for number in (0, 1, 4):
            picture = sample(made, f"{name}_X/{number:06d}")
            assert np.array_equal(picture, images[name][number]), (name, number)


def test_one_image_is_one_range_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path)
    made = read(tmp_path)
    asked: list[dict[str, int]] = []
    original = Storage.read_bytes

    def note(self: Storage, uri: str, **options: Any) -> bytes:
        asked.append(options)
        return original(self, uri, **options)

    monkeypatch.setattr(Storage, "read_bytes", note)
    before = opened()
    sample(made, "train_X/000000")
    sample(made, "train_X/000003")
    assert opened() == before + 2
    assert asked == [
        {"offset": 0, "length": NUM_BYTES},
        {"offset": 3 * NUM_BYTES, "length": NUM_BYTES},
    ]


def test_unlabelled_images_alone(tmp_path: Path) -> None:
    put(tmp_path)
    for name in ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"):
        (tmp_path / name).unlink()
    made = read(tmp_path)
    assert made.classes == ()
    assert len(made.indices("pretrain")) == len(made) == 5


def test_inspect_knows_the_size_of_raw_pixels(tmp_path: Path) -> None:
    put(tmp_path)
    report = inspect(DataConfig(root=str(tmp_path)))
    assert (report.smallest, report.largest, report.bad) == ((96, 96), (96, 96), ())
    assert report.num_bytes == 55 * NUM_BYTES


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    put(tmp_path)
    path = tmp_path / "unlabeled_X.bin"
    path.write_bytes(path.read_bytes()[:-1])
    text = (
        r"unlabeled_X\.bin: 138239 bytes are no whole number of records of 27648 bytes \(3 x 96 x 96\); the "
        r"file is cut off, download it again$"
    )
    with pytest.raises(DataError, match=text):
        read(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"unlabeled_X\.bin: 0 bytes are no whole number"):
        read(tmp_path)


def test_images_and_labels_of_other_numbers(tmp_path: Path) -> None:
    put(tmp_path)
    path = tmp_path / "train_X.bin"
    path.write_bytes(path.read_bytes()[: 39 * NUM_BYTES])
    text = r"train_X\.bin: 39 images, but 40 labels in train_y\.bin; one of them is cut off, download both"
    with pytest.raises(DataError, match=text):
        read(tmp_path)
    (tmp_path / "train_y.bin").unlink()
    with pytest.raises(DataError, match=r"train_X\.bin: train_y\.bin is missing beside it; download it too"):
        read(tmp_path)


def test_labels_and_names_that_are_none(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "test_y.bin").write_bytes(bytes([1, 2, 3, 4, 5, 6, 7, 8, 0, 10]))
    with pytest.raises(DataError, match=r"test_y\.bin: label 0 of image 8 is outside 1\.\.10; not this data"):
        read(tmp_path)
    put(tmp_path)
    (tmp_path / "class_names.txt").write_text("cat\ndog\n")
    with pytest.raises(
        DataError, match=r"class_names\.txt: 2 class names, expected 10; restore it or remove"
    ):
        read(tmp_path)
    (tmp_path / "class_names.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"class_names\.txt: not text; restore it or remove it"):
        read(tmp_path)
    (tmp_path / "class_names.txt").unlink()
    assert read(tmp_path).classes == CLASSES


def test_folders(tmp_path: Path) -> None:
    for path in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "unlabeled/4.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 96)).save(tmp_path / path)
    made = read(tmp_path, source="stl10", select_fraction=0.0)
    assert made.table["split"].to_pylist() == ["test", "train", "train", "pretrain"]
    assert made.classes == ("cat", "dog")


def test_images_in_other_folders_are_unlabelled(real_data: Path) -> None:
    made = read(real_data / "stl10_unlabeled_examples", source="stl10")
    assert len(made) == len(made.indices("pretrain")) == 129
    assert set(made.labels.tolist()) == {-1}
    assert made.classes == ()
    assert sample(made, made.keys_of()[0]).any()
