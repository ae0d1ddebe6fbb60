from pathlib import Path

import pytest
from PIL import Image

from pipelines.preparing.inspect import inspect
from pipelines.sources import open_manifest
from raytrain.config.data import DataConfig
from raytrain.errors import DataError


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / path, "PNG")


def test_images_in_the_root_itself_are_unlabelled(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.jpg", "c.png", ".hidden.png")
    made = open_manifest(DataConfig(root=str(tmp_path)))
    assert made.keys_of() == ["a.png", "b.jpg", "c.png"]
    assert made.labels.tolist() == [-1, -1, -1]
    assert made.classes == ()
    assert made.indices("pretrain").tolist() == [0, 1, 2]
    assert all(len(made.indices(split)) == 0 for split in ("probe_train", "select", "test"))


def test_named_flat_any_folder_is_unlabelled(tmp_path: Path) -> None:
    put(tmp_path, "p/a.png", "q/deep/b.png", "c.png")
    made = open_manifest(DataConfig(root=str(tmp_path), source="flat"))
    assert made.table["split"].to_pylist() == ["pretrain"] * 3
    assert made.hash == open_manifest(DataConfig(root=str(tmp_path), source="flat")).hash


def test_inspect_says_what_is_missing(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    report = inspect(DataConfig(root=str(tmp_path)))
    assert report.warnings == (
        "no labelled samples: a probe needs labels, e.g. from data.splits.probe_train and test",
    )


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"no images \(\.png, .*\); found 1 file: 1 \.txt$"):
        open_manifest(DataConfig(root=str(tmp_path), source="flat"))


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "deep/b.jpg")
    (tmp_path / "notes.txt").touch()
    manifest = open_manifest(DataConfig(root=str(tmp_path), source="flat"))
    assert manifest.notes == ("left out: 1 file of other kinds (1 .txt), e.g. notes.txt",)
