from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.decode.read_image import read_sample
from pipelines.preparing.inspect import inspect
from pipelines.preparing.prepare import prepare
from pipelines.sources import open_manifest, open_storage
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig, SplitRootsConfig
from raytrain.errors import ConfigError, DataError


def put(root: Path, *paths: str, seed: int = 0) -> Path:
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng([seed, number]).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(root / path, "PNG")
    return root


def classes(*names: str, count: int = 10) -> list[str]:
    return [f"{name}/{number}.png" for name in names for number in range(count)]


def settings(root: Path | str, splits: dict[str, Any], **others: Any) -> DataConfig:
    named = SplitRootsConfig(**{name: str(path) for name, path in splits.items()})
    return DataConfig(root=str(root), splits=named, canvas_px=16, **others)


def read(root: Path | str, splits: dict[str, Any], **others: Any) -> Manifest:
    return open_manifest(settings(root, splits, **others))


def counts(manifest: Manifest) -> dict[str, int]:
    return dict(Counter(manifest.table["split"].to_pylist()))


def test_unlabelled_images_pretrain_and_a_labelled_folder_probes(tmp_path: Path) -> None:
    many = put(tmp_path / "many", *(f"{number}.png" for number in range(30)), seed=1)
    few = put(tmp_path / "few", *classes("cat", "dog"), seed=2)
    made = read(few, {"pretrain": many})
    assert counts(made) == {"pretrain": 30, "probe_train": 14, "select": 2, "test": 4}
    assert made.classes == ("cat", "dog")
    assert len(made.indices("pretrain")) == 30
    assert len(made.indices("probe_train")) == 14
    assert set(made.labels[made.indices("pretrain")].tolist()) == {-1}
    # The same samples, the same division, as the labelled folder alone has.
    alone = open_manifest(DataConfig(root=str(few)))
    for split in ("select", "test"):
        expected = {f"probe_train:{alone.keys_of()[row]}" for row in alone.indices(split)}
        assert {made.keys_of()[row] for row in made.indices(split)} == expected
    config = settings(few, {"pretrain": many})
    storage = open_storage(made.root, config)
    for row, key in enumerate(made.keys_of()):
        part, _, path = key.partition(":")
        file = (many if part == "pretrain" else few) / path
        found = read_sample(made.row(row), storage, config)
        assert np.array_equal(found, np.asarray(Image.open(file)).transpose(2, 0, 1)), key


def test_keys_and_groups_are_never_shared_by_chance(tmp_path: Path) -> None:
    one = put(tmp_path / "one", *classes("p", "q"), seed=1)
    other = put(tmp_path / "other", *classes("p", "q"), seed=2)
    made = read(one, {"test": other})
    assert counts(made) == {"train": 18, "select": 2, "test": 20}
    assert {key.partition(":")[0] for key in made.keys_of()} == {"pretrain", "test"}
    assert len(set(made.keys_of())) == len(made)
    groups = made.table["group"].to_pylist()
    assert len(set(groups)) == len(made)
    assert made.classes == ("p", "q")


def test_one_split_of_a_root_that_is_divided(tmp_path: Path) -> None:
    divided = put(
        tmp_path / "divided",
        *(f"{split}/{path}" for split in ("train", "val", "test") for path in classes("p", "q", count=3)),
    )
    plain = put(tmp_path / "plain", *classes("p", "q"), seed=3)
    made = read(plain, {"test": divided})
    assert counts(made) == {"train": 18, "select": 2, "test": 6}
    assert {made.keys_of()[row] for row in made.indices("test")} == {
        f"test:test/{path}" for path in classes("p", "q", count=3)
    }
    made = read(plain, {"pretrain": divided, "select": divided})
    assert counts(made) == {"pretrain": 6, "select": 6, "probe_train": 16, "test": 4}


def test_every_split_from_a_root_of_its_own(tmp_path: Path) -> None:
    roots = {
        name: put(tmp_path / name, *classes("p", "q", count=5), seed=seed)
        for seed, name in enumerate(("pretrain", "probe_train", "select", "test"))
    }
    made = read("", roots)
    assert counts(made) == dict.fromkeys(roots, 10)
    for name in roots:
        assert {made.keys_of()[row].partition(":")[0] for row in made.indices(name)} == {name}
    assert made.labels[made.indices("pretrain")].tolist() == [0] * 5 + [1] * 5
    alone = read("", {"pretrain": roots["pretrain"]})
    assert counts(alone) == {"pretrain": 10}
    both = {"pretrain": roots["pretrain"], "probe_train": roots["pretrain"]}
    assert counts(read("", both)) == {"train": 10}


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    one = put(tmp_path / "one", *classes("b", "c"), seed=1)
    other = put(tmp_path / "other", *classes("a", "c", count=2), seed=2)
    made = read(one, {"test": other})
    assert made.classes == ("b", "c", "a")
    test = made.indices("test")
    found = {made.keys_of()[row]: made.classes[made.labels[row]] for row in test}
    assert found == {f"test:{path}": path[0] for path in classes("a", "c", count=2)}
    # What is only pretrained on makes no classes.
    made = read(one, {"pretrain": other})
    assert made.classes == ("b", "c")
    labels = {made.keys_of()[row]: int(made.labels[row]) for row in made.indices("pretrain")}
    assert labels == {
        "pretrain:a/0.png": -1,
        "pretrain:a/1.png": -1,
        "pretrain:c/0.png": 1,
        "pretrain:c/1.png": 1,
    }
    strange = put(tmp_path / "strange", *classes("00001", "00002"), seed=3)
    text = (
        r"^data\.splits: the classes of .*/strange \(00001, 00002\) are not those of .*/one \(b, c\); "
        r"classes are matched by name, rename them$"
    )
    with pytest.raises(DataError, match=text):
        read(one, {"test": strange})


def lists(root: Path, text: str, count: int = 6) -> Path:
    put(root, *(f"{number}.png" for number in range(count)), seed=count)
    (root / "list.csv").write_text(text)
    return root / "list.csv"


def test_several_labels_are_joined_by_name(tmp_path: Path) -> None:
    bits = ["1;a", "a", "b", "a;b", "", "b"]
    one = lists(tmp_path / "one", "path,label\n" + "\n".join(f"{n}.png,{b}" for n, b in enumerate(bits)))
    other = lists(
        tmp_path / "other", "path,label\n" + "\n".join(f"{n}.png,{b}" for n, b in enumerate(["b;1", "a"])), 2
    )
    flat = put(tmp_path / "flat", "x.png", "y.png", seed=9)
    made = read(one, {"pretrain": flat, "test": other}, select_fraction=0.0)
    assert made.classes == ("1", "a", "b")
    assert made.label_matrix is not None
    found = dict(zip(made.keys_of(), made.label_matrix.tolist(), strict=True))
    assert found["probe_train:3.png"] == [0, 1, 1]
    assert found["test:0.png"] == [1, 0, 1]
    assert found["pretrain:x.png"] == [0, 0, 0]
    labels = dict(zip(made.keys_of(), made.labels.tolist(), strict=True))
    assert (labels["pretrain:x.png"], labels["test:0.png"]) == (-1, 0)
    assert "probe_train:4.png" not in labels  # unlabelled, and not asked for
    single = put(tmp_path / "single", *classes("a", "b"), seed=5)
    with pytest.raises(
        DataError, match=r"have one label a sample here, several there; name roots of one kin"
    ):
        read(one, {"test": single})
    # Only pretrained on: its labels are of no use, and no hindrance.
    made = read(one, {"pretrain": single})
    assert set(made.labels[made.indices("pretrain")].tolist()) == {-1}
    assert not made.label_sets[made.indices("pretrain")].any()
    made = read(single, {"pretrain": one})
    assert made.label_matrix is None
    assert set(made.labels[made.indices("pretrain")].tolist()) == {-1}


def test_a_file_in_two_roots_is_a_leak(tmp_path: Path) -> None:
    root = put(tmp_path / "all", *classes("p", "q"))
    text = (
        r"^data\.splits: .*/all/p/0\.png is in pretrain and in (probe_train|test); name roots without common"
    )
    with pytest.raises(DataError, match=text):
        read(tmp_path, {"probe_train": root, "test": root}, source="flat", test_fraction=0.9)
    flat = put(tmp_path / "flat", "deep/1.png", "deep/2.png")
    joined = read(flat, {"pretrain": flat / "deep", "probe_train": root, "test": root}, source="flat")
    assert counts(joined)["pretrain"] == 2


def test_a_root_that_lacks_its_split(tmp_path: Path) -> None:
    flat = put(tmp_path / "flat", "1.png", "2.png")
    root = put(tmp_path / "root", *classes("p", "q"))
    with pytest.raises(
        ConfigError, match=rf"^data\.splits\.test {flat}: holds no labels, which test needs; na"
    ):
        read(root, {"test": flat})
    divided = put(tmp_path / "divided", "train/p/1.png", "train/q/1.png", "test/p/1.png", seed=4)
    with pytest.raises(
        ConfigError, match=r"divided: holds no samples for select, only test, train; name anot"
    ):
        read(root, {"select": divided})
    with pytest.raises(DataError, match=r"/nowhere: no such folder; check the path"):
        read(root, {"select": tmp_path / "nowhere"})
    with pytest.raises(
        ConfigError, match=r"^data\.splits\.test is set but data\.source = shapes is generated"
    ):
        read("", {"test": root}, source="shapes")


@pytest.mark.parametrize("kind", ["none", "encoded", "uint8"])
def test_joined_data_can_be_prepared(tmp_path: Path, kind: Any) -> None:
    many = put(tmp_path / "many", *(f"{number}.png" for number in range(6)), seed=1)
    few = put(tmp_path / "few", *classes("cat", "dog"), seed=2)
    config = settings(few, {"pretrain": many})
    plain = open_manifest(config)
    prepare(config, str(tmp_path / "out"), shards=kind)
    out = DataConfig(root=str(tmp_path / "out"), canvas_px=16)
    made = open_manifest(out)
    assert made.root == str(tmp_path if kind == "none" else tmp_path / "out")
    assert made.keys_of() == plain.keys_of()
    assert counts(made) == counts(plain)
    storages = open_storage(made.root, out), open_storage(plain.root, config)
    for row in range(0, len(made), 5):
        found, expected = (
            read_sample(manifest.row(row), storage, config)
            for manifest, storage in zip((made, plain), storages, strict=True)
        )
        assert np.array_equal(found, expected)


def test_prepared_roots_are_joined(tmp_path: Path) -> None:
    many = put(tmp_path / "many", *(f"{number}.png" for number in range(6)), seed=1)
    few = put(tmp_path / "few", *classes("cat", "dog"), seed=2)
    plain = read(few, {"pretrain": many})
    prepare(DataConfig(root=str(many), canvas_px=16), str(tmp_path / "packed"), shards="uint8")
    config = settings(few, {"pretrain": tmp_path / "packed"})
    made = open_manifest(config)
    assert made.keys_of() == plain.keys_of()
    storage = open_storage(made.root, config)
    for row in range(len(made)):
        assert np.array_equal(
            read_sample(made.row(row), storage, config), read_sample(plain.row(row), storage, config)
        )
    with pytest.raises(
        ConfigError, match=r"packed was prepared as uint8 of 16 px, fit squash, but data\.canv"
    ):
        open_manifest(settings(few, {"pretrain": tmp_path / "packed"}, fit="pad"))


def test_inspect_names_all_roots(tmp_path: Path) -> None:
    many = put(tmp_path / "many", *(f"{number}.png" for number in range(6)), seed=1)
    few = put(tmp_path / "few", *classes("cat", "dog"), seed=2)
    report = inspect(settings(few, {"pretrain": many}))
    assert f"data       {few}, pretrain {many}" in report.lines()
    assert "probe_train 14 samples, 14 groups, 7..7 a class" in report.lines()
    assert report.warnings == ()
