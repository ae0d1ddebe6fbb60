import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines.sources import open_manifest
from pipelines.storage.frames import is_frames, list_frames, num_frames
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError


def put_clip(root: Path, folder: str, count: int = 3, ending: str = "jpg") -> None:
    (root / folder).mkdir(parents=True)
    for number in range(count):
        (root / folder / f"{number:05d}.{ending}").touch()


def put_davis(root: Path, *, lists: str = "480p", resolution: str = "480p/") -> None:
    for number, name in enumerate(("bear", "camel", "dog", "goat")):
        put_clip(root, f"JPEGImages/{resolution}{name}", 3 + number)
        put_clip(root, f"Annotations/480p/{name}", 3 + number, "png")
    if lists:
        folder = root / "ImageSets" / lists
        folder.mkdir(parents=True)
        paths = "/JPEGImages/480p/{0}/0000{1}.jpg /Annotations/480p/{0}/0000{1}.png"
        line = paths if lists == "480p" else "{0}"
        for list_name, names in (("train", ("bear", "dog")), ("val", ("camel",))):
            text = [
                line.format(name, number) for name in names for number in range(2 if lists == "480p" else 1)
            ]
            (folder / f"{list_name}.txt").write_text("\n".join(text) + "\n")


def read(root: Path, source: Any = "auto", **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), source=source, **settings))


def splits(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.keys_of(), manifest.table["split"].to_pylist(), strict=True))


@pytest.mark.parametrize("source", ["auto", "frames"])
@pytest.mark.parametrize(("lists", "resolution"), [("480p", "480p/"), ("2017", "480p/"), ("2016", "480p/")])
def test_davis_with_its_lists(tmp_path: Path, source: Any, lists: str, resolution: str) -> None:
    put_davis(tmp_path, lists=lists, resolution=resolution)
    made = read(tmp_path, source)
    assert (made.modality, made.classes) == ("clip", ())
    assert splits(made) == {"bear": "pretrain", "camel": "test", "dog": "pretrain"}
    assert made.table["uri"].to_pylist() == [f"JPEGImages/480p/{name}" for name in made.keys_of()]
    assert [made.payload_of(row) for row in range(3)] == ["frames:3", "frames:4", "frames:5"]
    assert made.table["bytes"].to_pylist() == [-1] * 3
    assert made.labels.tolist() == [-1] * 3
    assert len(made.notes) == 1
    assert "24 files of images that the layout or its lists do not use, e.g. Annotations/" in made.notes[0]


def test_davis_without_lists(tmp_path: Path) -> None:
    put_davis(tmp_path, lists="", resolution="")
    assert splits(read(tmp_path)) == dict.fromkeys(("bear", "camel", "dog", "goat"), "pretrain")


def test_davis_lists_of_other_sequences(tmp_path: Path) -> None:
    put_davis(tmp_path)
    (tmp_path / "ImageSets/480p/train.txt").write_text("elephant\n")
    (tmp_path / "ImageSets/480p/val.txt").write_text("camel\ndog\n")
    made = read(tmp_path)
    assert splits(made) == {"camel": "pretrain", "dog": "pretrain"}
    assert (
        made.notes[-1]
        == "ImageSets/480p: no sequence of train.txt is there; those of val.txt are for pretraining"
    )
    (tmp_path / "ImageSets/480p/val.txt").unlink()
    with pytest.raises(
        DataError, match=r"480p: none of the 1 listed sequences is there, e\.g\. elephant; restore"
    ):
        read(tmp_path)


def test_class_folders_of_clips(tmp_path: Path) -> None:
    for name in ("run", "sit"):
        for clip in range(5):
            put_clip(tmp_path, f"{name}/{clip}", 2 + clip)
    made = read(tmp_path, "frames", select_fraction=0.0)
    assert made.classes == ("run", "sit")
    assert made.labels[made.keys_of().index("sit/4")] == 1
    assert made.payload_of(made.keys_of().index("sit/4")) == "frames:6"
    assert sorted(splits(made).values()) == ["test"] * 2 + ["train"] * 8
    assert made.table["group"].to_pylist() == made.keys_of()


def test_clips_without_labels_and_ready_splits(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        put_clip(tmp_path / "flat", folder)
    assert set(splits(read(tmp_path / "flat", "frames")).values()) == {"pretrain"}
    for folder in ("train/p/1", "train/q/2", "val/p/3"):
        put_clip(tmp_path / "ready", folder)
    made = read(tmp_path / "ready", "frames")
    assert splits(made) == {"train/p/1": "train", "train/q/2": "train", "val/p/3": "test"}
    assert made.classes == ("p", "q")
    for folder in ("train/1", "train/2", "test/3"):
        put_clip(tmp_path / "plain", folder)
    made = read(tmp_path / "plain", "frames")
    assert splits(made) == {"train/1": "pretrain", "train/2": "pretrain", "test/3": "test"}
    assert made.classes == ()


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "x/clip"
    folder.mkdir(parents=True)
    for name in ("f10.png", "f9.png", "f1.png", "f100.png", ".f0.png", "notes.txt", "f9b.png"):
        (folder / name).touch()
    found = list_frames(Storage(str(tmp_path)), "x/clip")
    assert [path.rpartition("/")[2] for path in found] == [
        "f1.png",
        "f9.png",
        "f9b.png",
        "f10.png",
        "f100.png",
    ]
    assert found[0] == "x/clip/f1.png"


def test_the_payload_says_how_many() -> None:
    assert is_frames("frames:82")
    assert num_frames("frames:82") == 82
    assert not is_frames("encoded")
    assert not is_frames("")


def test_layouts_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"no frames \(\.png, .*\) in folders; found 1 file: 1 \.txt$"):
        read(tmp_path, "frames")
    put_clip(tmp_path, "a")
    put_clip(tmp_path, "b/c")
    with pytest.raises(
        DataError, match=r"different depths, e\.g\. a and b/c; expected <clip>/, <class>/<clip>/"
    ):
        read(tmp_path, "frames")
    put_clip(tmp_path / "deep", "x/y/z")
    with pytest.raises(
        DataError, match=r"x/y/z lies three folders deep, but x are no splits; name the folder above"
    ):
        read(tmp_path / "deep", "frames")
    (tmp_path / "0.png").touch()
    with pytest.raises(DataError, match=r"0\.png lies in no folder of a clip; put the frames of every clip"):
        read(tmp_path, "frames")


def test_frames_in_an_archive_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        for name in ("a/1.png", "a/2.png", "b/1.png"):
            archive.writestr(name, name)
    with pytest.raises(DataError, match=r"folders of frames cannot be read from an archive; unpack it"):
        read(tmp_path / "f.zip", "frames")


def test_the_real_sequences(real_data: Path) -> None:
    made = read(real_data / "DAVIS")
    assert {key: made.payload_of(row) for row, key in enumerate(made.keys_of())} == {
        "car-shadow": "frames:40",
        "libby": "frames:49",
        "motocross-jump": "frames:40",
    }
    assert set(splits(made).values()) == {"pretrain"}
    assert len(list_frames(Storage(made.root), made.table["uri"][1].as_py())) == 49


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("training_set", "validation")])
def test_splits_are_known_by_every_spelling(tmp_path: Path, train: str, test: str) -> None:
    for name in (f"{top}/{c}/one" for top in (train, test) for c in "xy"):
        put_clip(tmp_path, name)
    made = read(tmp_path, "frames")
    assert made.classes == ("x", "y")
    expected = {f"{top}/{c}/one": split for top, split in ((train, "train"), (test, "test")) for c in "xy"}
    assert splits(made) == expected
    put_clip(tmp_path, "extra/x/one")
    with pytest.raises(DataError, match="three folders deep, but extra are no splits"):
        read(tmp_path, "frames")
