from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from pipelines.sources import open_manifest
from pipelines.sources.ucf101 import group_of
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig, VideoConfig
from raytrain.errors import DataError

CLASSES = ("Archery", "Basketball", "YoYo")
GROUPS, CLIPS = 10, 3


def names(class_name: str) -> list[str]:
    # One class is spelt otherwise in its files, as HandstandPushups is.
    stem = class_name.replace("YoYo", "Yoyo")
    return [f"v_{stem}_g{g:02d}_c{c:02d}.avi" for g in range(1, GROUPS + 1) for c in range(1, CLIPS + 1)]


def put_clips(folder: Path, classes: tuple[str, ...] = CLASSES) -> None:
    for class_name in classes:
        (folder / class_name).mkdir(parents=True)
        for name in names(class_name):
            (folder / class_name / name).write_bytes(b"clip")


def put_lists(folder: Path, numbers: tuple[int, ...] = (1,)) -> None:
    """List n tests on the groups n and n + 1 of every class."""
    folder.mkdir(parents=True, exist_ok=True)
    # Numbered against the alphabet, and not all of them.
    (folder / "classInd.txt").write_text("1 YoYo\r\n3 Archery\r\n")
    for number in numbers:
        lines: dict[str, list[str]] = {"train": [], "test": []}
        for label, class_name in ((1, "YoYo"), (2, "Basketball"), (3, "Archery")):
            for name in names(class_name):
                test = f"_g{number:02d}_" in name or f"_g{number + 1:02d}_" in name
                path = f"{class_name}/{name}"
                lines["test" if test else "train"].append(path if test else f"{path} {label}")
        for kind, found in lines.items():
            (folder / f"{kind}list{number:02d}.txt").write_text("\r\n".join(found) + "\r\n")


def read(root: Path, *, split_list: int = 1, **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), video=VideoConfig(split_list=split_list), **settings))


def homes(manifest: Manifest) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for group, split in zip(
        manifest.table["group"].to_pylist(), manifest.table["split"].to_pylist(), strict=True
    ):
        found[group].add(split)
    return found


@pytest.mark.parametrize("source", ["auto", "ucf101"])
@pytest.mark.parametrize(
    ("clips", "lists", "root"),
    [
        ("UCF-101", "ucfTrainTestlist", ""),
        ("UCF-101", "ucfTrainTestlist", "UCF-101"),
        ("UCF-101", "UCF-101/ucfTrainTestlist", "UCF-101"),
        ("", "", ""),
    ],
)
def test_every_place_of_the_lists(tmp_path: Path, clips: str, lists: str, root: str, source: Any) -> None:
    put_clips(tmp_path / clips)
    put_lists(tmp_path / lists)
    made = read(tmp_path / root, source=source)
    assert made.modality == "clip"
    # By their numbers; those without one come last.
    assert made.classes == ("YoYo", "Archery", "Basketball")
    assert Counter(made.table["split"].to_pylist()) == {"train": 66, "select": 6, "test": 18}
    test = {made.keys_of()[row] for row in made.indices("test")}
    assert test == {f"{c}/{n}" for c in CLASSES for n in names(c) if "_g01_" in n or "_g02_" in n}
    row = made.table.slice(made.keys_of().index("Archery/v_Archery_g07_c02.avi"), 1).to_pylist()[0]
    assert (row["label"], row["group"], row["bytes"]) == (1, "Archery/g07", 4)
    assert (tmp_path / root / row["uri"]).is_file()
    assert len(homes(made)) == len(CLASSES) * GROUPS
    assert all(len(found) == 1 for found in homes(made).values())
    assert made.notes == ()


def test_the_asked_list(tmp_path: Path) -> None:
    put_clips(tmp_path)
    put_lists(tmp_path, (1, 3))
    made = read(tmp_path, split_list=3)
    assert {made.table["group"][row].as_py()[-3:] for row in made.indices("test").tolist()} == {"g03", "g04"}
    with pytest.raises(
        DataError, match=r"trainlist02\.txt: missing, but data\.video\.split_list is 2; there is list 1, 3$"
    ):
        read(tmp_path, split_list=2)


def test_without_lists_groups_are_cut(tmp_path: Path) -> None:
    put_clips(tmp_path)
    made = read(tmp_path)
    assert made.classes == CLASSES
    assert Counter(made.table["split"].to_pylist()) == {"train": 66, "select": 6, "test": 18}
    assert set(homes(made)) == {f"{c}/g{g:02d}" for c in CLASSES for g in range(1, GROUPS + 1)}
    assert all(len(found) == 1 for found in homes(made).values())


def test_groups_are_of_a_class() -> None:
    assert group_of("A/v_A_g01_c02") == group_of("A/v_A_g01_c03") == "A/g01"
    assert group_of("B/v_B_g01_c02") == "B/g01"
    assert group_of("B/other") == "B/other"


def test_a_partial_copy_is_said(tmp_path: Path) -> None:
    put_clips(tmp_path, CLASSES[1:])
    put_lists(tmp_path)
    for name in names("YoYo")[:4]:
        (tmp_path / "YoYo" / name).unlink()
    (tmp_path / "YoYo/v_Yoyo_g99_c01.avi").touch()
    # Encoded anew: the same clip under another extension.
    clip = tmp_path / "YoYo/v_Yoyo_g09_c01.avi"
    clip.rename(clip.with_suffix(".mp4"))
    made = read(tmp_path)
    assert made.classes == ("YoYo", "Basketball")
    assert len(made) == 56
    assert "YoYo/v_Yoyo_g09_c01.mp4" in made.keys_of()
    assert [note.partition(": ")[2] for note in made.notes] == [
        "1 file of videos that the layout or its lists do not use, e.g. YoYo/v_Yoyo_g99_c01.avi",
        "1 listed classes have no clips here, e.g. Archery; left out",
        "4 of 60 listed clips are missing, e.g. YoYo/v_Yoyo_g01_c01; left out",
    ]


def test_mostly_missing_clips_are_refused(tmp_path: Path) -> None:
    put_clips(tmp_path)
    put_lists(tmp_path)
    for class_name in CLASSES:
        for name in names(class_name)[:16]:
            (tmp_path / class_name / name).unlink()
    with pytest.raises(
        DataError, match=r"names 48 clips of 90 that are missing, e\.g\. .*; restore them, or remove"
    ):
        read(tmp_path)


def test_lists_of_other_classes_are_refused(tmp_path: Path) -> None:
    put_clips(tmp_path / "a", ("Diving", "Rowing"))
    put_lists(tmp_path / "a")
    with pytest.raises(
        DataError, match=r"names 90 clips of 90 that are missing, e\.g\. Archery, Basketball, YoYo;"
    ):
        read(tmp_path / "a")
    put_lists(tmp_path / "b")
    with pytest.raises(
        DataError, match=r"no videos in class folders \(<class>/\*\.avi\); unpack the videos too$"
    ):
        read(tmp_path / "b")


@pytest.mark.parametrize(
    ("file", "line", "text"),
    [
        ("trainlist01.txt", "Archery/v_Archery_g11_c01.avi 7", r"numbers Archery 7, but it is 3 in classInd"),
        ("trainlist01.txt", "Basketball/v_Basketball_g11_c01.avi 9", r"numbers Basketball 9, but it is 2 "),
        ("trainlist01.txt", "v_Archery_g11_c01.avi 1", r"'v_Archery_g11_c01\.avi 1' is no line `<Class>/v_"),
        ("testlist01.txt", "Archery/v_Archery_g05_c01.avi", r"v_Archery_g05_c01 is in the training list too"),
        ("classInd.txt", "four Archery", r"classInd\.txt: 'four Archery' is no line `<number> <class>`"),
        ("testlist01.txt", "\xff", r"testlist01\.txt: no text; download the list again$"),
    ],
)
def test_broken_lists(tmp_path: Path, file: str, line: str, text: str) -> None:
    put_clips(tmp_path)
    put_lists(tmp_path)
    with (tmp_path / file).open("ab") as handle:
        handle.write(line.encode("latin-1") + b"\n")
    with pytest.raises(DataError, match=text):
        read(tmp_path)


def test_a_list_that_divides_a_group(tmp_path: Path) -> None:
    put_clips(tmp_path)
    put_lists(tmp_path)
    text = (tmp_path / "trainlist01.txt").read_text().splitlines()
    moved = next(line for line in text if "v_Archery_g05_c01" in line)
    (tmp_path / "trainlist01.txt").write_text("\n".join(line for line in text if line != moved))
    with (tmp_path / "testlist01.txt").open("a") as handle:
        handle.write(moved.split()[0] + "\n")
    with pytest.raises(
        DataError, match=r"1 groups lie in more than one split, e\.g\. Archery/g05 in test and train"
    ):
        read(tmp_path)


@pytest.mark.parametrize("folder", ["ucf101", "ucf101/UCF-101"])
def test_the_real_clips(real_data: Path, folder: str) -> None:
    made = read(real_data / folder)
    assert made.classes == ("ApplyEyeMakeup", "SoccerJuggling")
    assert made.table["split"].to_pylist() == ["test", "train"]
    assert made.table["bytes"].to_pylist() == [294566, 506880]


def test_clips_whose_names_differ_in_case_alone_are_the_listed_ones(tmp_path: Path) -> None:
    put_clips(tmp_path)
    put_lists(tmp_path)
    whole = len(read(tmp_path))
    for clip in (tmp_path / "YoYo").glob("*.avi"):
        clip.rename(clip.with_name(clip.name.replace("Yoyo", "YoYO")))
    made = read(tmp_path)
    assert len(made) == whole
    note = next(note for note in made.notes if "another case" in note)
    assert note.startswith("30 clips are listed in another case, e.g. YoYo/v_YoYO_g")
