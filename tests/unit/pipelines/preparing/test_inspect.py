from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.preparing import inspect as inspect_module
from pipelines.preparing.inspect import inspect
from pipelines.storage.manifest import Manifest, table_from_columns
from pipelines.storage.places import opened
from raytrain.config.data import DataConfig, ShapesConfig
from tests.clip_files import cut_first, write_clip


def put(root: Path, path: str, *, seed: int, size: tuple[int, int] = (8, 8)) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(root / path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        put(tmp_path, f"train/{'pq'[number % 2]}/{number}.png", seed=number, size=(8 + number, 20 - number))
    put(tmp_path, "test/p/a.png", seed=10, size=(40, 30))
    put(tmp_path, "val/q/b.png", seed=11)
    return tmp_path


def test_counts_and_sizes(folder: Path) -> None:
    before = opened()
    told: list[tuple[int, int]] = []
    report = inspect(DataConfig(root=str(folder)), progress=lambda *done: told.append(done))
    assert opened() - before == 8
    assert told[-1] == (8, 8)
    assert report.num_samples == 8
    assert report.num_bytes == sum(path.stat().st_size for path in folder.rglob("*.png"))
    assert {name: (count.samples, count.groups, count.by_class) for name, count in report.splits.items()} == {
        "train": (6, 6, (3, 3)),
        "select": (1, 1, (0, 1)),
        "test": (1, 1, (1, 0)),
    }
    assert (report.smallest, report.median, report.largest) == ((8, 8), (10, 17), (40, 30))
    assert dict(report.sizes)[40, 30] == 1
    assert report.bad == ()
    assert report.duplicates == ()
    assert report.warnings == ("1 classes have no test samples, e.g. q",)
    text = "\n".join(report.lines())
    assert "train      6 samples, 6 groups, 3..3 a class" in text
    assert "sizes      smallest 8 x 8, median 10 x 17, largest 40 x 30" in text
    assert "WARNING    1 classes have no test samples, e.g. q" in text


def test_bad_files_with_their_reasons(folder: Path) -> None:
    (folder / "train/p/0.png").write_bytes(b"")
    report = inspect(DataConfig(root=str(folder)))
    assert [(entry.key, entry.reason) for entry in report.bad] == [("train/p/0.png", "empty file (0 bytes)")]
    assert "bad        1 (1 damaged)" in report.lines()
    assert "           train/p/0.png: empty file (0 bytes)" in report.lines()
    assert "1 bad samples are more than data.quarantine_budget 0.01 allows" in report.warnings


def test_equal_files_in_two_splits_are_a_leak(folder: Path) -> None:
    put(folder, "test/q/copy.png", seed=3, size=(11, 17))
    put(folder, "train/p/twin.png", seed=0, size=(8, 20))
    report = inspect(DataConfig(root=str(folder)))
    assert {(pair.keys, pair.splits, pair.leaks) for pair in report.duplicates} == {
        (("test/q/copy.png", "train/q/3.png"), ("test", "train"), True),
        (("train/p/0.png", "train/p/twin.png"), ("train",), False),
    }
    leak = "1 sets of equal files lie in more than one split, e.g. test/q/copy.png = train/q/3.png: a leak"
    assert report.warnings == (leak,)


def test_sets_of_equal_checksums_are_those_of_a_walk_over_all_pairs() -> None:
    random = np.random.default_rng(0)
    digests = [random.bytes(16).hex() for _ in range(40)] + ["00" * 16, "00" * 15 + "01"]
    rows = np.flatnonzero(random.random(200) < 0.8).tolist()  # the others are bad, and have none
    drawn = random.integers(0, len(digests), len(rows)).tolist()
    checksums, expected = inspect_module._Checksums(), dict[str, list[int]]()
    for row, number in zip(rows, drawn, strict=True):
        checksums.add(row, digests[number])
        expected.setdefault(digests[number], []).append(row)
    found = [rows.tolist() for rows in checksums.equal_rows()]
    assert found == [rows for rows in expected.values() if len(rows) > 1]
    assert len(found) > 30
    assert inspect_module._Checksums().equal_rows() == []


def test_three_lengths_are_by_frames_then_seconds() -> None:
    frames, seconds = np.array([9, 3, 9, 3, 5]), np.array([1.0, 2.0, 0.5, 1.5, 7.0])
    assert inspect_module._three_lengths(frames, seconds) == ((3, 1.5), (5, 7.0), (9, 1.0))
    assert inspect_module._three_lengths(frames[:0], seconds[:0]) == ()


@pytest.mark.parametrize(
    ("splits", "divided"),
    [
        (("train", "probe_train", "pretrain", "test"), []),
        (("train", "test", "test", "select"), ["a", "b"]),
        (("select", "test", "train", "pretrain"), ["a"]),
    ],
)
def test_groups_may_lie_in_several_splits_of_the_same_side(
    folder: Path, splits: tuple[str, ...], divided: list[str]
) -> None:
    keys = ["train/p/0.png", "train/p/2.png", "train/q/1.png", "test/p/a.png"]
    groups = ["a", "a", "b", "b"] if divided else ["a", "a", "a", "b"]
    table = table_from_columns(key=keys, uri=keys, label=[0, 0, 1, 0], split=list(splits), group=groups)
    manifest = Manifest(table=table, root=str(folder), classes=("p", "q"))
    expected = f"{len(divided)} groups lie in more than one split, e.g. a: a leak"
    assert list(inspect_module._group_leaks(manifest)) == ([expected] if divided else [])


def test_a_divided_group_is_a_leak(folder: Path) -> None:
    keys = ["train/p/0.png", "train/q/1.png", "test/p/a.png"]
    table = table_from_columns(
        key=keys, uri=keys, label=[0, 1, 0], split=["train", "pretrain", "test"], group=["x", "y", "x"]
    )
    Manifest(table=table, root=str(folder), classes=("p", "q")).save(f"{folder}/made/manifest.parquet")
    report = inspect(DataConfig(root=f"{folder}/made"))
    assert "1 groups lie in more than one split, e.g. x: a leak" in report.warnings


def test_generated_data() -> None:
    shapes = ShapesConfig(num_train=16, num_test=16, size_px=24)
    report = inspect(DataConfig(source="shapes", shapes=shapes))
    assert report.largest == (24, 24)
    assert report.warnings == ()
    assert report.duplicates == ()


def test_real_signs_have_no_leak(real_data: Path) -> None:
    report = inspect(DataConfig(root=str(real_data / "gtsrb")))
    assert report.num_samples == 2580
    assert report.splits["test"].by_class == (20,) * 43
    assert report.bad == ()
    assert not any(pair.leaks for pair in report.duplicates)
    assert report.smallest == (26, 26)


def test_frames_before_a_clips_first_key_frame_are_counted(tmp_path: Path) -> None:
    whole = write_clip(
        tmp_path / "whole.mp4", 30, options={"g": "12", "bf": "0", "x264-params": "scenecut=0"}
    )
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        cut_first(whole.read_bytes(), tmp_path / "set" / name / "late.mp4", 5)
        (tmp_path / "set" / name / "whole.mp4").write_bytes(whole.read_bytes())
    report = inspect(DataConfig(root=str(tmp_path / "set"), source="videos"))
    assert (
        "2 clips begin between two key frames, e.g. a/late.mp4: their first frames, 14 in all, cannot be "
        "decoded and are left out"
    ) in report.warnings
