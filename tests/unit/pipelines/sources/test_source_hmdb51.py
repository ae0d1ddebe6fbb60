from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.sources import open_manifest
from pipelines.sources.hmdb51 import film_of
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig, VideoConfig
from raytrain.errors import DataError

LISTS = "testTrainMulti_7030_splits"
CLASSES = ("sword", "sword_exercise")

UNUSED = "left out: {} files of videos that the layout or its lists do not use"


def clips(class_name: str) -> list[str]:
    return [
        f"Film_{film}_{class_name}_f_nm_np1_fr_goo_{number}.avi" for film in range(10) for number in range(3)
    ]


def put_clips(root: Path) -> None:
    for class_name in CLASSES:
        (root / class_name).mkdir(parents=True)
        for name in clips(class_name):
            (root / class_name / name).touch()


def put_lists(root: Path, number: int = 1) -> None:
    """Films 0..2 are tested on in the first class, 3..5 in the second; film 9 is unused."""
    (root / LISTS).mkdir(exist_ok=True)
    for place, class_name in enumerate(CLASSES):
        lines = []
        for name in clips(class_name):
            film = int(name.split("_")[1])
            digit = 0 if film == 9 else 2 if film in range(3 * place, 3 * place + 3) else 1
            lines.append(f"{name} {digit} \n")
        (root / LISTS / f"{class_name}_test_split{number}.txt").write_text("".join(lines))


def read(root: Path, *, split_list: int = 1, **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), video=VideoConfig(split_list=split_list), **settings))


def count(manifest: Manifest) -> Counter[str]:
    return Counter(manifest.table["split"].to_pylist())


@pytest.mark.parametrize("source", ["auto", "hmdb51"])
@pytest.mark.parametrize(
    ("folder", "lists", "root"),
    [("", "", ""), ("hmdb51_org", "", ""), ("clips", "", "clips"), ("c", "c", "c")],
)
def test_the_official_lists(tmp_path: Path, source: Any, folder: str, lists: str, root: str) -> None:
    put_clips(tmp_path / folder)
    put_lists(tmp_path / lists)
    made = read(tmp_path / root, source=source)
    assert (made.modality, made.classes) == ("clip", CLASSES)
    # The unused film is in no split.
    assert count(made) == {"train": 33, "select": 3, "test": 18}
    films = {(made.labels[row], made.table["group"][row].as_py()) for row in made.indices("test").tolist()}
    assert films == {(0, f"sword/Film_{film}") for film in range(3)} | {
        (1, f"sword_exercise/Film_{film}") for film in range(3, 6)
    }
    assert [note.partition(", e.g.")[0] for note in made.notes] == [UNUSED.format(6)]
    assert all((tmp_path / root / uri).is_file() for uri in made.table["uri"].to_pylist())


def test_without_lists_a_film_is_never_divided_even_between_classes(tmp_path: Path) -> None:
    put_clips(tmp_path)
    made = read(tmp_path)
    assert count(made) == {"train": 42, "select": 6, "test": 12}
    homes: dict[str, set[str]] = {}
    for group, split in zip(made.table["group"].to_pylist(), made.table["split"].to_pylist(), strict=True):
        homes.setdefault(group, set()).add(split)
    assert set(homes) == {f"Film_{film}" for film in range(10)}
    assert all(len(splits) == 1 for splits in homes.values())


def test_the_film_of_a_clip() -> None:
    name = "cartwheel/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6"
    assert film_of(name) == "hmdb51_Turnk_r_Pippi_Michel"
    assert film_of("run/how_to_run_fast_run_f_nm_np1_fr_goo_1") == "how_to_run_fast"
    assert film_of("run/other") == "run/other"


def test_a_film_that_the_official_list_divides_stays_so(tmp_path: Path) -> None:
    put_clips(tmp_path)
    put_lists(tmp_path)
    path = tmp_path / LISTS / "sword_test_split1.txt"
    path.write_text(
        path.read_text().replace(
            "Film_4_sword_f_nm_np1_fr_goo_0.avi 1", "Film_4_sword_f_nm_np1_fr_goo_0.avi 2"
        )
    )
    made = read(tmp_path)
    assert count(made)["test"] == 19
    assert made.notes[1:] == (
        "the official list has 1 films in training and in test, e.g. sword/Film_4; kept so",
    )


def test_missing_clips_and_lists(tmp_path: Path) -> None:
    put_clips(tmp_path)
    put_lists(tmp_path)
    with pytest.raises(
        DataError,
        match=r"splits: no list 2 of 2 classes, e\.g\. sword_test_split2\.txt \(data\.video\.split_list\);",
    ):
        read(tmp_path, split_list=2)
    (tmp_path / "sword/Film_0_sword_f_nm_np1_fr_goo_0.avi").unlink()
    (tmp_path / "sword/Film_77_sword_f_nm_np1_fr_goo_0.avi").touch()
    stray, missing = read(tmp_path).notes
    assert missing.endswith(
        "1 of 60 listed clips are missing, e.g. sword/Film_0_sword_f_nm_np1_fr_goo_0; left out"
    )
    assert stray == (f"{UNUSED.format(7)}, e.g. sword/Film_77_sword_f_nm_np1_fr_goo_0.avi")
    for name in clips("sword") + clips("sword_exercise"):
        (tmp_path / ("sword_exercise" if "exercise" in name else "sword") / name).unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"names 30 clips of 30 that are missing, e\.g\. sword/Film_0"):
        read(tmp_path)
    (tmp_path / "sword/Film_77_sword_f_nm_np1_fr_goo_0.avi").unlink()
    with pytest.raises(DataError, match="no videos in class folders"):
        read(tmp_path)


@pytest.mark.parametrize("line", ["Film_0_sword_f_nm_np1_fr_goo_0.avi 3", "1", "x.avi"])
def test_broken_lines(tmp_path: Path, line: str) -> None:
    put_clips(tmp_path)
    put_lists(tmp_path)
    (tmp_path / LISTS / "sword_test_split1.txt").write_text(line + "\n")
    with pytest.raises(
        DataError, match=r"sword_test_split1\.txt: .* is no line `<file> 0, 1 or 2`; download"
    ):
        read(tmp_path)


def test_the_real_clips(real_data: Path) -> None:
    made = read(real_data / "hmdb51", test_fraction=0.0, select_fraction=0.0)
    assert (made.modality, made.classes) == ("clip", ("cartwheel", "wave"))
    assert made.table["group"].to_pylist() == ["hmdb51_Turnk_r_Pippi_Michel", "RATRACE"]
