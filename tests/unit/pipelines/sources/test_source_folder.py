import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.sources import open_manifest
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError

_PIXELS = Image.new("RGB", (2, 2))


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        _PIXELS.save(root / path, "PNG")


def read(root: Path, **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), **settings))


def splits(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.keys_of(), manifest.table["split"].to_pylist(), strict=True))


def test_class_folders_are_cut_into_three_splits(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}/{number}.png" for name in ("dog", "cat") for number in range(20)))
    put(tmp_path, "cat/deep/x.JPEG", "dog/.hidden.png", "dog/._1.png", "__MACOSX/cat/1.png")
    (tmp_path / "dog" / "notes.txt").touch()
    made = read(tmp_path)
    assert made.classes == ("cat", "dog")
    assert len(made) == 41
    assert made.labels[made.keys_of().index("cat/deep/x.JPEG")] == 0
    assert made.labels[made.keys_of().index("dog/3.png")] == 1
    assert Counter(splits(made).values()) == {"train": 30, "select": 3, "test": 8}
    assert made.table["bytes"].to_pylist() == [(tmp_path / key).stat().st_size for key in made.keys_of()]
    assert made.keys_of() == sorted(made.keys_of())
    assert read(tmp_path).hash == made.hash != read(tmp_path, split_seed=1).hash


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "a.JPG",
        "a.Jpeg",
        "a.jfif",
        "a.ppm",
        "a.pgm",
        "a.bmp",
        "a.WEBP",
        "a.TIF",
        "a.gif",
        "a.avif",
        "a.jp2",
    ],
)
def test_extensions_in_any_case(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"p/{name}", "q/b.png")
    assert len(read(tmp_path)) == 2


def test_a_ready_split_is_kept(tmp_path: Path) -> None:
    put(tmp_path, "train/p/1.png", "train/q/2.png", "test/p/3.png", "val/q/4.png", "unlabeled/5.png")
    made = read(tmp_path)
    assert splits(made) == {
        "train/p/1.png": "train",
        "train/q/2.png": "train",
        "test/p/3.png": "test",
        "val/q/4.png": "select",
        "unlabeled/5.png": "pretrain",
    }
    assert made.labels.tolist() == [0, 0, 1, -1, 1]


def test_val_is_the_test_split_where_there_is_no_other(tmp_path: Path) -> None:
    put(tmp_path, *(f"train/{name}/{number}.png" for name in "pq" for number in range(10)))
    put(tmp_path, "val/p/a.png", "val/q/b.png")
    assert Counter(splits(read(tmp_path)).values()) == {"train": 18, "select": 2, "test": 2}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "plane/2.png")
    assert read(tmp_path).classes == ("plane", "train")


@pytest.mark.parametrize(
    ("train", "test"),
    [("Train", "Test"), ("TRAIN", "VAL"), ("training_set", "test_set"), ("train2017", "val2017")]
    + [("images-train", "images-validation"), ("train_images", "eval"), ("trainset", "holdout")],
)
def test_a_ready_split_in_any_spelling(tmp_path: Path, train: str, test: str) -> None:
    put(tmp_path, *(f"{train}/{name}/{number}.png" for name in "pq" for number in range(10)))
    put(tmp_path, f"{test}/p/a.png", f"{test}/q/b.png")
    made = read(tmp_path, select_fraction=0.0)
    assert made.classes == ("p", "q")
    assert Counter(splits(made).values()) == {"train": 20, "test": 2}


def test_splits_in_every_class_are_kept(tmp_path: Path) -> None:
    put(
        tmp_path,
        *(f"{name}/{split}/{number}.png" for name in "pq" for split in ("Train", "Test") for number in "12"),
    )
    made = read(tmp_path, select_fraction=0.0)
    assert made.classes == ("p", "q")
    assert {key for key, split in splits(made).items() if split == "test"} == {
        f"{name}/Test/{number}.png" for name in "pq" for number in "12"
    }


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (
            ["Train/p/1.png", "Test/p/2.png", "Meta/3.png"],
            "Test and Train look like splits, but Meta beside them does",
        ),
        (["train/p/1.png", "car/2.png"], "train looks like a split, but car beside it does"),
        (
            ["train/1.png", "test/2.png"],
            "test and train look like splits, but hold images and no class folders",
        ),
        (["train/p/1.png", "test/p/2.png", "cover.png"], "but cover.png lies beside them; move it"),
        (
            ["set/train/p/1.png", "set/test/p/2.png"],
            "holds set alone, which holds the splits test, train; set data.root to",
        ),
        (
            ["p/train/1.png", "p/test/2.png", "q/train/1.png", "q/more/2.png"],
            "look like splits, but more does not; move it",
        ),
        (["Test/p/1.png", "Val/p/2.png"], "Test and Val look like splits, but none is for training"),
        (["dev/1.png", "eval/2.png"], "dev and eval look like splits, but hold images and no class folders"),
        (
            ["data/images/train/p/1.png", "data/images/test/p/2.png"],
            "holds data/images alone, which holds the splits test, train; set data.root to",
        ),
    ],
)
def test_a_folder_of_a_layout_is_never_a_class_by_accident(
    tmp_path: Path, paths: list[str], says: str
) -> None:
    put(tmp_path, *paths)
    with pytest.raises(DataError, match=re.escape(says)):
        read(tmp_path)


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (
            [f"{s}/{s}/{c}/1.png" for s in ("train", "test") for c in "pq"],
            "the class folders of test lie in test/test; move them up to test",
        ),
        (
            [f"seg_{s}/{c}/1.png" for s in ("train", "test", "pred") for c in "pq"],
            "seg_test and seg_train look like splits; call them test and train",
        ),
        (
            [f"{s}/{c}/1.png" for s in ("trainA", "trainB", "testA", "testB") for c in "pq"],
            "testA and trainA look like splits",
        ),
        (
            [f"{s}/{c}/1.png" for s in ("SegTrain", "SegTest") for c in "pq"],
            "SegTest and SegTrain look like splits",
        ),
        ([f"fold{n}/{c}/1.png" for n in range(3) for c in "pq"], "fold0 and fold1 and fold2 look like parts"),
        (
            [*(f"train/images/{c}/1.png" for c in "pq"), *(f"test/{c}/1.png" for c in "pq")],
            "the class folders of train lie in train/images",
        ),
        (
            [*(f"{c}/1.png" for c in "pq"), *(f"val/{c}/1.png" for c in "pq")],
            "val looks like a split, but p, q beside it do not",
        ),
        ([*(f"{c}/1.png" for c in "pq"), "test/1.png"], "test looks like a split, but p, q beside it do not"),
        (
            [f"{a}/{s}/{c}/1.png" for a in ("day", "night") for s in ("train", "test") for c in "pq"],
            "day and night hold splits of the same folders (p, q)",
        ),
    ],
)
def test_splits_of_odd_names_are_no_classes(tmp_path: Path, paths: list[str], says: str) -> None:
    put(tmp_path, *paths)
    with pytest.raises(DataError, match=re.escape(says)):
        read(tmp_path)


def test_words_of_splits_in_names_of_classes_are_no_splits(tmp_path: Path) -> None:
    put(
        tmp_path,
        *(f"{name}/{number}.png" for name in ("bullet_train", "test_tube", "Tube") for number in "12"),
    )
    assert read(tmp_path).classes == ("Tube", "bullet_train", "test_tube")


def test_classes_that_hold_the_same_folders_are_said(tmp_path: Path) -> None:
    put(tmp_path, *(f"{domain}/{c}/1.png" for domain in ("photo", "sketch") for c in ("bike", "mug")))
    made = read(tmp_path)
    assert made.classes == ("photo", "sketch")
    assert made.notes[0].startswith("the classes (photo, sketch) all hold the same folders (bike, mug)")
    put(tmp_path, "sketch/pen/1.png")
    assert read(tmp_path).notes == ()


def test_classes_that_differ_in_case_alone_are_said(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}/{number}.png" for name in ("Cat", "cat", "dog") for number in "12"))
    made = read(tmp_path)
    assert made.classes == ("Cat", "cat", "dog")
    assert made.notes == ("the classes Cat and cat differ in case alone; each is a class",)


def test_names_that_only_sound_like_splits_are_classes(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}/{number}.png" for name in ("trains", "testament", "valley") for number in "12"))
    assert read(tmp_path).classes == ("testament", "trains", "valley")


def test_what_is_left_out_is_counted_by_suffix(tmp_path: Path) -> None:
    put(tmp_path, "p/1.png", "q/2.png", "p/1.xmp", "q/2.XMP", "notes.txt")
    assert read(tmp_path).notes == (
        "more is left out than read (2 files): 3 files of other kinds (2 .xmp, 1 .txt), e.g. notes.txt",
    )
    put(tmp_path, "p/3.png", "q/4.png")
    assert read(tmp_path).notes[0].startswith("left out: 3 files of other kinds (2 .xmp, 1 .txt)")


def test_what_raytrain_wrote_is_no_data(tmp_path: Path) -> None:
    put(tmp_path, "p/1.png", "q/2.png")
    run = ("config.toml", "counters.json", "report/figures/views.png", "scores.png")
    put(tmp_path, *(f"runs/first/{name}" for name in run))
    put(
        tmp_path,
        "cache/1a/entry.json",
        "cache/1a/metrics.jsonl",
        "cache/1a/view.png",
        "small/manifest.parquet",
    )
    made = read(tmp_path)
    assert (made.keys_of(), made.classes) == (["p/1.png", "q/2.png"], ("p", "q"))
    assert made.notes == ("left out: 8 files written by raytrain, e.g. cache/1a/entry.json",)
    with pytest.raises(DataError, match="is the folder of a run; name the folder of its data"):
        read(tmp_path / "runs/first")
    (tmp_path / "runs/first/counters.json").unlink()
    assert read(tmp_path).classes == ("p", "q", "runs")


@pytest.mark.parametrize(
    "path",
    ["@eaDir/1.png", "p/@eaDir/1.png/thumb.jpg", "$RECYCLE.BIN/1.png", "#recycle/1.png", "lost+found/1.png"]
    + [
        "System Volume Information/1.png",
        "p/~$1.png",
        ".Trash-1000/files/1.png",
        "p/Thumbs.db",
        "__pycache__/1.png",
    ],
)
def test_what_programs_leave_behind_is_no_data(tmp_path: Path, path: str) -> None:
    put(tmp_path, "p/1.png", "q/2.png", path)
    made = read(tmp_path)
    assert made.keys_of() == ["p/1.png", "q/2.png"]
    assert made.notes == (f"left out: 1 file left behind by other programs, e.g. {path}",)


def test_missing_and_wrong_roots_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^data\.root {tmp_path}/no: no such folder; check the path"):
        read(tmp_path / "no")
    put(tmp_path, "file.png")
    with pytest.raises(DataError, match=r"file\.png: is a file; name the folder that holds the data set"):
        read(tmp_path / "file.png")
    with pytest.raises(ConfigError, match=r"^data\.root is not set; name the folder"):
        open_manifest(DataConfig())


def test_no_images_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no images \(\.png, .*\); the folder is empty$"):
        read(tmp_path)
    for number in range(10):
        (tmp_path / f"{number}.txt").touch()
    for name in ("a.csv", "b.CSV", "Makefile"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"found 13 files: 10 \.txt, 2 \.csv, 1 without extension$"):
        read(tmp_path)


def test_images_outside_a_class_folder_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png", "p/c.png")
    with pytest.raises(
        DataError, match=r"2 of 3 images lie outside a class folder, e\.g\. a\.png; put every"
    ):
        read(tmp_path)


def test_one_class_or_one_sample_is_a_wrong_call(tmp_path: Path) -> None:
    put(tmp_path, "p/1.png")
    with pytest.raises(ConfigError, match=r"holds 1 sample only; at least two are needed"):
        read(tmp_path)
    put(tmp_path, "p/2.png")
    with pytest.raises(
        ConfigError, match=r"holds one class only \(p\); a probe needs two or more; is data\.root"
    ):
        read(tmp_path)
    assert ConfigError.exit_code == 2


def test_an_unfinished_prepare_is_no_class_folder(tmp_path: Path) -> None:
    put(tmp_path, ".prepare/p/1.png")
    with pytest.raises(
        DataError, match=r"holds an unfinished `raytrain prepare`; run the same command again"
    ):
        read(tmp_path)


def test_real_ready_split(real_data: Path) -> None:
    made = read(real_data / "cifar10")
    assert len(made.classes) == 10
    assert Counter(splits(made).values()) == {"train": 2700, "select": 300, "test": 800}
    assert {key.partition("/")[0] for key, split in splits(made).items() if split == "test"} == {"test"}
    assert len(read(real_data / "stl10_unlabeled_examples").classes) == 26
    flat = read(real_data / "coil20")
    assert set(splits(flat).values()) == {"pretrain"}
    assert len(flat.indices("pretrain")) == 14 * 72


def test_splits_within_one_of_several_folders_are_not_mixed(tmp_path: Path) -> None:
    put(tmp_path, *(f"set/v1/{split}/{c}/1.png" for split in ("Train", "Test") for c in "pq"), "other/1.png")
    says = "set/v1 holds the splits Test, Train, but other folders lie beside it; set data.root"
    with pytest.raises(DataError, match=re.escape(says)):
        read(tmp_path)


def test_a_class_without_files_is_said(tmp_path: Path) -> None:
    put(tmp_path, "train/p/1.png", "train/q/2.png", "test/p/3.png")
    (tmp_path / "train/r").mkdir()
    assert read(tmp_path).notes == ("1 folder is empty, e.g. train/r",)
    (tmp_path / ".cache").mkdir()
    assert read(tmp_path).notes == ("1 folder is empty, e.g. train/r",)


def test_what_the_source_noted_comes_before_the_conclusion(tmp_path: Path) -> None:
    put(tmp_path, "p/1.png", "p/2.png", "q/1.heic", "q/2.heic")
    says = r"left out: 2 files of other kinds \(2 \.heic\), e\.g\. .*; so it holds one class only \(p\)"
    with pytest.raises(ConfigError, match=says):
        read(tmp_path)
