from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.sources import open_manifest
from pipelines.sources.kinetics import video_of
from pipelines.storage.manifest import Manifest
from raytrain.config.data import CsvConfig, DataConfig
from raytrain.errors import ConfigError, DataError

HEADER = "label,youtube_id,time_start,time_end,split"


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def write_list(path: Path, *rows: str, header: str = HEADER) -> None:
    path.write_text("\n".join([header, *rows]) + "\n")


def read(root: Path, **settings: Any) -> Manifest:
    values = {"test_fraction": 0.0, "select_fraction": 0.0, **settings}
    return open_manifest(DataConfig(root=str(root), **values))


def rows(manifest: Manifest) -> dict[str, tuple[int, str, str]]:
    columns = (manifest.table[name].to_pylist() for name in ("key", "label", "split", "group"))
    return {key: (label, split, group) for key, label, split, group in zip(*columns, strict=True)}


@pytest.mark.parametrize("source", ["auto", "kinetics"])
def test_folders_of_trimmed_clips(tmp_path: Path, source: Any) -> None:
    put(tmp_path, "train/air drumming/abcdefghij0_000010_000020.mp4", "train/abseiling/b-_000001_000011.mp4")
    put(tmp_path, "train/abseiling/b-_000021_000031.mp4", "val/abseiling/c.mp4")
    made = read(tmp_path, source=source)
    assert (made.modality, made.classes) == ("clip", ("abseiling", "air drumming"))
    assert rows(made) == {
        "train/abseiling/b-_000001_000011.mp4": (0, "train", "b-"),
        "train/abseiling/b-_000021_000031.mp4": (0, "train", "b-"),
        "train/air drumming/abcdefghij0_000010_000020.mp4": (1, "train", "abcdefghij0"),
        "val/abseiling/c.mp4": (0, "test", "c"),
    }


@pytest.mark.parametrize("source", ["auto", "kinetics"])
def test_flat_files_and_lists(tmp_path: Path, source: Any) -> None:
    put(tmp_path, "v/a.mp4", "v/b_000007_000017.mp4", "v/c.webm", "v/stray.mp4", "v/d.mp4")
    write_list(tmp_path / "train.csv", "x,a,1,11,train", '"y, too",b,7.0,17.0,train', "x,gone,1,2,train")
    write_list(tmp_path / "validate.csv", "x,c,,,validate", header="\ufeff" + HEADER)
    write_list(tmp_path / "test.csv", ",d,3,13,test")
    made = read(tmp_path, source=source)
    assert made.classes == ("x", "y, too")
    # The test videos have no labels here, so val is the test split.
    assert rows(made) == {
        "v/a.mp4": (0, "train", "a"),
        "v/b_000007_000017.mp4": (1, "train", "b"),
        "v/c.webm": (0, "test", "c"),
    }
    assert made.notes == (
        "left out: 2 files of videos that the layout or its lists do not use, e.g. v/d.mp4",
        "1 of 5 listed videos are missing, e.g. gone_000001_000002; left out",
    )


def test_labelled_test_videos_leave_val_for_selection(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}.mp4" for name in "abcdef"))
    write_list(tmp_path / "all.csv", "x,a,,,train", "y,b,,,train", "x,c,,,val", "y,d,,,test", ",e,,,train")
    made = read(tmp_path)
    assert Counter(made.table["split"].to_pylist()) == {"train": 2, "select": 1, "test": 1, "pretrain": 1}


def test_flat_files_without_a_list_are_unlabelled(tmp_path: Path) -> None:
    put(tmp_path, "a_000001_000011.mp4", "a_000031_000041.mp4", "b.mp4")
    assert set(rows(read(tmp_path)).values()) == {(-1, "pretrain", "a"), (-1, "pretrain", "b")}


def test_clips_of_one_video_on_both_sides(tmp_path: Path) -> None:
    put(tmp_path, "train/x/a_000001_000011.mp4", "train/y/b.mp4", "val/x/a_000031_000041.mp4")
    with pytest.raises(DataError, match=r"1 groups lie in more than one split, e\.g\. a in test and train"):
        read(tmp_path, source="kinetics")


def test_the_video_of_a_clip() -> None:
    assert video_of("train/x/-_a_b-_000001_000011.mp4") == "-_a_b-"
    assert video_of("123456_123456.mp4") == "123456_123456"


def test_two_lines_of_one_file(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4", "b.mp4")
    write_list(tmp_path / "l.csv", "x,a,1,11,train", "x,a,21,31,train", "y,b,,,train")
    assert len(read(tmp_path)) == 2
    write_list(tmp_path / "l.csv", "x,a,1,11,train", "y,a,21,31,train", "y,b,,,train")
    with pytest.raises(
        DataError, match=r"l\.csv, line 3: a\.mp4 is y \(train\) here, but x \(train\) in .*line 2; drop"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("x,,1,2,train", r"l\.csv, line 2: no youtube_id; repair the line"),
        ("x,a,1,2,trian", r"line 2: unknown split 'trian'"),
        ("x,a,one,2,train", r"line 2: time_start and time_end must be seconds"),
        (
            "x,z,1,2,train",
            r"none of the 1 listed videos is there, e\.g\. z_000001_000002\.mp4; name the folder",
        ),
    ],
)
def test_broken_lists(tmp_path: Path, row: str, text: str) -> None:
    put(tmp_path, "a.mp4", "b.mp4")
    write_list(tmp_path / "l.csv", row)
    with pytest.raises(DataError, match=text):
        read(tmp_path, source="kinetics")


def test_other_mistakes(tmp_path: Path) -> None:
    put(tmp_path, "a.mp4")
    with pytest.raises(ConfigError, match=r"none\.csv: no such list below data\.root$"):
        read(tmp_path, source="kinetics", csv=CsvConfig(file="none.csv"))
    write_list(tmp_path / "l.csv", "1,2", header="label,id")
    with pytest.raises(DataError, match=r"l\.csv: no column 'youtube_id'; a list of Kinetics has label, "):
        read(tmp_path, source="kinetics", csv=CsvConfig(file="l.csv"))
    (tmp_path / "a.mp4").unlink()
    write_list(tmp_path / "l.csv", "x,a,1,2,train")
    with pytest.raises(DataError, match=r"no videos beside the list; found 1 file: 1 \.csv$"):
        read(tmp_path, source="kinetics")
    put(tmp_path, "p/a.mp4", "q/a.avi")
    with pytest.raises(DataError, match=r"two videos have the same name"):
        read(tmp_path, source="kinetics")


def test_the_real_clips(real_data: Path) -> None:
    made = read(real_data / "kinetics", source="kinetics")
    assert made.labels.tolist() == [-1, -1]
    assert made.table["group"].to_pylist() == ["R6llTwEh07w", "SOX5yA1l24A"]


def test_a_list_that_is_not_read_is_left_out_and_said(tmp_path: Path) -> None:
    put(tmp_path, *(f"{c}/{n}.mp4" for c in "pq" for n in range(4)))
    (tmp_path / "split.csv").write_text("file,label,split\n")
    assert read(tmp_path).notes == ("left out: 1 file of other kinds (1 .csv), e.g. split.csv",)


def test_names_of_cameras_are_no_trimmed_clips(tmp_path: Path) -> None:
    put(tmp_path, *(f"{c}/VID_24010{n}_12001{n}.mp4" for c in "pq" for n in range(4)))
    made = read(tmp_path)
    assert len(set(made.table["group"].to_pylist())) == 8
    assert video_of("x/abcdefghij0_000010_000020.mp4") == "abcdefghij0"
