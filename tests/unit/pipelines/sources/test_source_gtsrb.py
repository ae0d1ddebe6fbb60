from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.decode.read_image import read_sample
from pipelines.sources import open_manifest, open_storage
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError

HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"


def put_class(folder: Path, class_id: int, names: list[str]) -> None:
    home = folder / f"{class_id:05d}"
    home.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (3, 3)).save(home / name)
    lines = [HEADER, *(f"{name};3;3;0;0;2;2;{class_id}" for name in names)]
    (home / f"GT-{class_id:05d}.csv").write_text("\n".join(lines) + "\n")


def tracks(count: int) -> list[str]:
    return [f"{track:05d}_{frame:05d}.ppm" for track in range(count) for frame in range(3)]


def put_official(root: Path, *, with_classes: bool = True) -> Path:
    for class_id in (2, 7):
        put_class(root / "GTSRB/Final_Training/Images", class_id, tracks(10))
    images = root / "GTSRB/Final_Test/Images"
    images.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (3, 3)).save(images / f"{number:05d}.ppm")
    rows = [
        f"{number:05d}.ppm;3;3;0;0;2;2" + (f";{(2, 7)[number % 2]}" if with_classes else "")
        for number in range(4)
    ]
    header = HEADER if with_classes else HEADER.removesuffix(";ClassId")
    path = root / "GT-final_test.csv" if with_classes else images / "GT-final_test.test.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return root


def read(root: Path, **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), **settings))


def homes(manifest: Manifest) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for group, split in zip(
        manifest.table["group"].to_pylist(), manifest.table["split"].to_pylist(), strict=True
    ):
        found[group].add(split)
    return found


@pytest.mark.parametrize("folder", ["", "GTSRB"])
@pytest.mark.parametrize("source", ["auto", "gtsrb"])
def test_the_official_layout(tmp_path: Path, folder: str, source: Any) -> None:
    made = read(put_official(tmp_path) / folder, source=source)
    assert made.classes == ("00002", "00007")
    assert Counter(made.table["split"].to_pylist()) == {"train": 54, "select": 6, "test": 4}
    row = made.table.slice(made.keys_of().index("Final_Training/00007/00004_00001.ppm"), 1).to_pylist()[0]
    assert (row["label"], row["group"]) == (1, "Final_Training/00007/00004")
    assert row["uri"].endswith("Final_Training/Images/00007/00004_00001.ppm")
    test = made.indices("test")
    assert made.labels[test].tolist() == [0, 1, 0, 1]
    assert [made.keys_of()[row] for row in test] == [f"Final_Test/{number:05d}.ppm" for number in range(4)]
    assert len(set(made.group_ids[test].tolist())) == 4
    assert all(len(found) == 1 for found in homes(made).values())


def test_final_test_without_classes_has_no_labels(tmp_path: Path) -> None:
    made = read(put_official(tmp_path, with_classes=False))
    unlabelled = [key for key, label in zip(made.keys_of(), made.labels, strict=True) if label < 0]
    assert unlabelled == [f"Final_Test/{number:05d}.ppm" for number in range(4)]
    # So a share of the training tracks is the test split.
    assert len(made.indices("test")) == 12
    assert all(len(found) == 1 for found in homes(made).values())


def test_the_training_folder_alone_keeps_its_tracks_together(tmp_path: Path) -> None:
    for class_id in (0, 1):
        put_class(tmp_path, class_id, tracks(10))
    made = read(tmp_path)
    assert set(homes(made)) == {f"Training/{c:05d}/{t:05d}" for c in (0, 1) for t in range(10)}
    assert Counter(made.table["split"].to_pylist()) == {"train": 42, "select": 6, "test": 12}


def test_heldout_tracks_are_the_test_split(tmp_path: Path) -> None:
    for class_id in (0, 1):
        put_class(tmp_path / "Training", class_id, tracks(10))
        put_class(tmp_path / "Heldout_Tracks", class_id, tracks(2))
    made = read(tmp_path, select_fraction=0.0)
    test = {made.keys_of()[row] for row in made.indices("test")}
    assert test == {key for key in made.keys_of() if key.startswith("Heldout_Tracks/")}
    assert len(test) == 12
    assert len(made.indices("probe_train")) == 60


def put_kaggle(root: Path) -> None:
    lines = ["Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path"]
    names = [
        f"Train/{n}/{n:05d}_{track:05d}_{i:05d}.png" for n in (0, 12) for track in range(4) for i in range(3)
    ]
    tests = {f"Test/{number:05d}.png": (0, 12)[number % 2] for number in range(4)}
    for name in [*names, *tests, "Meta/0.png", "Meta/12.png"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 3)).save(root / name)
    lines += [f"3,3,0,0,2,2,{class_id},{name}" for name, class_id in tests.items()]
    (root / "Test.csv").write_text("\n".join(lines) + "\n")


def test_kaggle_s_copy_keeps_its_tracks_together_and_its_test_set(tmp_path: Path) -> None:
    put_kaggle(tmp_path)
    made = open_manifest(DataConfig(root=str(tmp_path), select_fraction=0.25))
    assert made.classes == ("00000", "00012")
    by_key = dict(
        zip(
            made.keys_of(),
            zip(made.table["split"].to_pylist(), made.labels.tolist(), strict=True),
            strict=True,
        )
    )
    tested = {key: label for key, (split, label) in by_key.items() if split == "test"}
    assert tested == {f"Test/{number:05d}.png": number % 2 for number in range(4)}
    homes = defaultdict(set)
    for key, group in zip(made.keys_of(), made.table["group"].to_pylist(), strict=True):
        homes[group].add(by_key[key][0])
    assert len(homes) == 8 + 4
    assert Counter(split for found in homes.values() for split in found) == {
        "train": 6,
        "select": 2,
        "test": 4,
    }


def test_a_name_without_its_track_is_refused(tmp_path: Path) -> None:
    put_kaggle(tmp_path)
    (tmp_path / "Train/12/00012_00000_00000.png").rename(tmp_path / "Train/12/copy.png")
    with pytest.raises(DataError, match=r"Train/12/copy\.png: its name is not 00012_track_frame"):
        open_manifest(DataConfig(root=str(tmp_path)))


def test_lists_that_name_missing_files(tmp_path: Path) -> None:
    put_official(tmp_path)
    for name in ("00003_00001.ppm", "00005_00000.ppm"):
        (tmp_path / "GTSRB/Final_Training/Images/00002" / name).unlink()
    text = r"00002/GT-00002\.csv: names 2 files of 30 that are missing, e\.g\. 00003_00001\.ppm; restore them"
    with pytest.raises(DataError, match=text):
        read(tmp_path)


def test_a_final_test_list_that_names_missing_files(tmp_path: Path) -> None:
    put_official(tmp_path)
    (tmp_path / "GTSRB/Final_Test/Images/00001.ppm").unlink()
    with pytest.raises(
        DataError, match=r"GT-final_test\.csv: names 1 files of 4 that are missing, e\.g\. 00001"
    ):
        read(tmp_path)


def test_broken_lists_are_named(tmp_path: Path) -> None:
    put_official(tmp_path)
    path = tmp_path / "GTSRB/Final_Training/Images/00002/GT-00002.csv"
    good = path.read_text()
    path.write_text(good.replace(";", ","))
    with pytest.raises(
        DataError, match=r"GT-00002\.csv: not a list of GTSRB; expected the columns Filename;"
    ):
        read(tmp_path)
    path.write_text(good.replace("00004_00001.ppm;3;3;0;0;2;2;2", "00004_00001.ppm;3;3;0;0;2;2;9"))
    with pytest.raises(
        DataError, match=r"GT-00002\.csv: says class 9 for 00004_00001\.ppm, in folder 00002; put"
    ):
        read(tmp_path)


def test_another_layout_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match=r"not GTSRB's layout; expected Final_Training/Images/00000"):
        read(tmp_path, source="gtsrb")
    (tmp_path / "Training/00000").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no images in the class folders of GTSRB's training set"):
        read(tmp_path, source="gtsrb")


def test_one_class_is_a_wrong_call(tmp_path: Path) -> None:
    put_class(tmp_path / "Training", 5, tracks(3))
    with pytest.raises(ConfigError, match=r"holds one class only \(00005\)"):
        read(tmp_path)


@pytest.mark.parametrize("folder", ["gtsrb", "gtsrb/GTSRB"])
@pytest.mark.slow
def test_the_real_extract(real_data: Path, folder: str) -> None:
    made = read(real_data / folder)
    assert made.classes == tuple(f"{number:05d}" for number in range(43))
    by_subset = Counter(key.partition("/")[0] for key in made.keys_of())
    assert by_subset == {"Training": 1720, "Heldout_Tracks": 430, "Final_Test": 430}
    assert len(made.indices("test")) == 860
    assert all(len(found) == 1 for found in homes(made).values())
    training = {group for group in homes(made) if group.startswith("Training/")}
    assert len(training) == 269
    selected = sum(homes(made)[group] == {"select"} for group in training)
    assert selected == 27
    assert len(read(real_data / folder, select_fraction=0.0).indices("pretrain")) == 1720
    config = DataConfig(root=str(real_data / folder))
    storage = open_storage(made.root, config)
    images = [read_sample(made.row(row), storage, config) for row in range(0, len(made), 100)]
    assert np.stack(images).shape == (26, 3, 64, 64)
