"""What lies at a place is found, with the settings that read it, or said to be nothing."""

import re
from pathlib import Path

import numpy as np
import pytest

from pipelines.preparing.prepare import prepare
from pipelines.sources.look import Look, NothingReadableError, is_place, look
from pipelines.sources.look_sensor import SENSORS
from raytrain.config import DataConfig
from raytrain.config.flags import with_values
from raytrain.errors import DataError
from tests import places


def found(root: Path, **said: str) -> Look:
    return look(with_values(DataConfig(root=str(root)), said))


def test_images_in_class_folders_need_no_setting(tmp_path: Path) -> None:
    places.images(tmp_path)
    one = found(tmp_path)
    assert (one.source, one.values, one.kind, one.notes) == ("auto", {}, "images", ())
    assert one.manifest.classes == ("a", "b")


def test_videos_are_clips(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert (found(tmp_path).kind, found(tmp_path).values) == ("clips", {})


def test_folders_of_images_that_follow_each_other_are_clips(tmp_path: Path) -> None:
    places.frames(tmp_path)
    one = found(tmp_path)
    assert (one.source, one.values, one.kind) == ("frames", {"source": "frames"}, "clips")
    assert "where a folder is a class, --data.source folder reads it so" in one.notes[0]


@pytest.mark.parametrize("change", ["gap", "name", "short"])
def test_folders_of_other_images_are_classes(change: str, tmp_path: Path) -> None:
    places.frames(tmp_path)
    first = tmp_path / "clip0" / "frame_002.png"
    if change == "gap":
        first.unlink()
    elif change == "name":
        first.rename(first.with_name("other_002.png"))
    else:
        for path in sorted((tmp_path / "clip0").iterdir())[3:]:
            path.unlink()
    assert (found(tmp_path).kind, found(tmp_path).values) == ("images", {})


def test_numbered_images_that_are_not_alike_are_classes(tmp_path: Path) -> None:
    places.images(tmp_path)
    assert len(list((tmp_path / "a").iterdir())) > 4
    assert found(tmp_path).kind == "images"


def test_the_size_of_a_sensor_is_told_by_all_events(tmp_path: Path) -> None:
    places.recordings(tmp_path, width=40, height=30)
    places.recordings(tmp_path / "c", 1, width=41, height=30)
    one = found(tmp_path)
    assert one.values == {"events.sensor_width": 41, "events.sensor_height": 30}
    assert one.notes[0].startswith(
        "no file says the sensor's size; the events reach 41 x 30 px: taken as its"
    )
    assert (one.manifest.sensor_width, one.manifest.sensor_height) == (41, 30)


@pytest.mark.parametrize("sensor", SENSORS[1:4])
def test_a_sensor_that_events_nearly_fill_is_taken(sensor: tuple[int, int], tmp_path: Path) -> None:
    places.recordings(tmp_path, 4, width=sensor[0] - 3, height=sensor[1])
    one = found(tmp_path)
    assert tuple(one.values.values()) == sensor
    assert f"taken for a sensor of {sensor[0]} x {sensor[1]}" in one.notes[0]


def test_a_size_that_is_said_is_not_told(tmp_path: Path) -> None:
    places.recordings(tmp_path, 4)
    said = DataConfig(root=str(tmp_path))
    said = with_values(said, {"events.sensor_width": 64, "events.sensor_height": 48})
    assert (look(said).values, look(said).manifest.sensor_width) == ({}, 64)


LISTS = {
    "default names": ("path,label\nimages/{n}.png,{even}x", {}),
    "names of others": (
        "filename,diagnosis,patient,subset\nimages/{n}.png,{even}x,p{pair},part{half}",
        {"csv.path_column": "filename", "csv.label_column": "diagnosis", "csv.group_column": "patient"},
    ),
    "a split of another name": (
        "path,label,Subset\nimages/{n}.png,{even}x,train",
        {"csv.split_column": "Subset"},
    ),
    "columns of 0 and 1": (
        "id,file,crack,rust\n{n},images/{n}.png,{even},{half}",
        {"csv.path_column": "file", "csv.label_columns": "crack,rust"},
    ),
    "a column of few values": (
        "file,width,what\nimages/{n}.png,{n}.5,{even}x",
        {"csv.path_column": "file", "csv.label_column": "what"},
    ),
    "backslashes": ("path,label\n.\\images\\{n}.png,{even}x", {}),
    "no label": ("file,note\nimages/{n}.png,n{n}", {"csv.path_column": "file", "csv.label_column": ""}),
}


@pytest.mark.parametrize("name", LISTS)
def test_columns_of_a_list_are_told_by_values_and_names(name: str, tmp_path: Path) -> None:
    text, values = LISTS[name]
    places.listed(tmp_path, text)
    one = found(tmp_path)
    assert (one.source, one.values) == ("csv", {"source": "csv"} | values)
    assert len(one.manifest) == 12
    alone = found(tmp_path / "list.csv")
    assert (alone.source, alone.values) == ("csv", values)


def test_lines_that_add_a_label_each_are_read_so(tmp_path: Path) -> None:
    places.listed(tmp_path, "path,label\nimages/{n}.png,{even}x\nimages/{n}.png,more")
    assert found(tmp_path).values == {"source": "csv", "csv.repeated": "labels"}


def test_a_list_of_other_files_is_not_taken(tmp_path: Path) -> None:
    places.images(tmp_path)
    (tmp_path / "scores.csv").write_text("run,score\n1,.5\n2,.6\n")
    assert (found(tmp_path).source, found(tmp_path).values) == ("auto", {})


def test_what_cannot_be_read_with_labels_is_read_without_and_said(tmp_path: Path) -> None:
    places.images(tmp_path)
    places.save_image(tmp_path / "stray.png", 99)
    one = found(tmp_path)
    assert one.values == {"source": "flat"}
    assert re.match(r"not read as auto: .* 1 of 13 images lie outside a class folder", one.notes[0])
    assert one.notes[1] == "read without labels"


def test_of_two_kinds_the_one_with_more_files_is_read(tmp_path: Path) -> None:
    places.images(tmp_path)
    (tmp_path / "a" / "x.mp4").write_bytes(b"x")
    one = found(tmp_path)
    assert one.values == {"source": "folder"}
    assert "holds 12 images and 1 videos" in one.notes[0]


def test_a_known_layout_is_named(tmp_path: Path) -> None:
    for split in ("Train", "Test"):
        for digit in range(2):
            for number in range(3):
                path = tmp_path / split / str(digit) / f"{number}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(bytes(10))
    one = found(tmp_path)
    assert (one.source, one.values, one.kind) == ("nmnist", {}, "recordings of events")


def test_a_prepared_folder_is_read_with_what_it_was_made_with(tmp_path: Path) -> None:
    places.images(tmp_path / "data")
    out = str(tmp_path / "packed")
    prepare(DataConfig(root=str(tmp_path / "data"), canvas_px=96, fit="pad"), out, shards="uint8")
    assert found(tmp_path / "packed").values == {"canvas_px": 96, "fit": "pad"}


def test_a_source_that_is_said_is_taken(tmp_path: Path) -> None:
    places.images(tmp_path)
    one = found(tmp_path, source="flat")
    assert (one.source, one.values, one.manifest.classes) == ("flat", {}, ())


@pytest.mark.parametrize("name", ["note.txt", "film.raw", ""])
def test_a_place_without_samples_says_what_there_is_and_what_can_be_read(name: str, tmp_path: Path) -> None:
    if name:
        (tmp_path / name).write_text("x")
    with pytest.raises(NothingReadableError) as caught:
        found(tmp_path)
    said = str(caught.value)
    there = f"found 1 file: 1 {Path(name).suffix}" if name else "the folder is empty"
    assert f"nothing that raytrain reads; {there}" in said
    for word in (
        "images (.png",
        "videos and folders of frames (.avi",
        "recordings (.bin",
        ".csv",
        ".tar",
        ".zip",
    ):
        assert word in said
    assert ("metavision_file_to_hdf5" in said) is (name == "film.raw")
    assert "numpy.loadtxt" not in said


def test_a_missing_place_is_said_as_ever(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; check the path"):
        found(tmp_path / "none")
    assert not is_place(str(tmp_path / "none"))
    assert is_place(str(tmp_path))
    assert is_place("s3://bucket/data")


def test_a_file_that_is_none_of_these_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((2, 4)))
    with pytest.raises(DataError, match="is a file; name the folder"):
        found(tmp_path / "one.npy")
