from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.sources import open_manifest
from pipelines.sources.codebrim import CLASSES, image_of
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError

CROPS = {
    "train/background/image_0000001_crop_0000001.png": "100000",
    "train/defects/image_0000001_crop_0000001.png": "010000",
    "train/defects/image_0000002_crop_0000001.png": "011001",
    "train/defects/image_0000002_crop_0000001_-_1.png": "011001",
    "val/background/image_0000003_crop_0000001.png": "100000",
    "val/defects/image_0000004_crop_0000002.png": "000110",
    "test/background/image_0000005_crop_0000001.png": "100000",
    "test/defects/image_0000006_crop_0000001.png": "000010",
    "test/defects/image_0000006_crop_0000002.png": "001000",
}


def entries(root: Path, name: str, values: dict[str, str]) -> None:
    lines = ["<Annotation>"]
    for file, bits in values.items():
        labels = "".join(f"<{c}>{bit}</{c}>" for c, bit in zip(CLASSES, bits, strict=True))
        lines.append(f'  <Defect name="{file}">{labels}</Defect>')
    root.mkdir(parents=True, exist_ok=True)
    (root / f"{name}.xml").write_text("\n".join([*lines, "</Annotation>"]))


def put(root: Path, *, metadata: str = "metadata", crops: dict[str, str] = CROPS) -> Path:
    lists: dict[str, dict[str, str]] = {"background": {}, "defects": {}}
    for path, bits in crops.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2)).save(root / path)
        _, name, file = path.split("/")
        if "_-_" not in file:
            lists[name][file] = bits
    for name, values in lists.items():
        entries(root / metadata, name, values)
    return root


def read(root: Path, **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), **settings))


@pytest.mark.parametrize("folder", ["", "classification_dataset_balanced"])
@pytest.mark.parametrize("metadata", ["", "metadata"])
def test_the_official_layout(tmp_path: Path, folder: str, metadata: str) -> None:
    put(tmp_path / folder, metadata=metadata)
    made = read(tmp_path)
    assert made.classes == CLASSES
    assert Counter(made.table["split"].to_pylist()) == {"train": 4, "select": 2, "test": 3}
    assert made.label_matrix is not None
    found = {
        key: "".join(map(str, bits))
        for key, bits in zip(made.keys_of(), made.label_matrix.tolist(), strict=True)
    }
    assert found == CROPS
    assert set(made.labels.tolist()) == {0}
    groups = dict(zip(made.keys_of(), made.table["group"].to_pylist(), strict=True))
    # Crops of one image belong together, copies and background too.
    assert groups["train/background/image_0000001_crop_0000001.png"] == "image_0000001"
    assert groups["train/defects/image_0000001_crop_0000001.png"] == "image_0000001"
    assert groups["train/defects/image_0000002_crop_0000001_-_1.png"] == "image_0000002"


def test_names_of_images() -> None:
    assert image_of("test/defects/image_0000007_crop_0000012_-_3.png") == "image_0000007"
    assert image_of("other.png") == "other"


def test_an_image_on_both_sides_of_the_split(tmp_path: Path) -> None:
    crops = {**CROPS, "test/defects/image_0000002_crop_0000003.png": "010000"}
    put(tmp_path, crops=crops)
    with pytest.raises(DataError, match=r"1 groups lie in more than one split, e\.g\. image_0000002 in test"):
        read(tmp_path)
    made = read(tmp_path, shared_groups="drop")
    assert len(made) == len(crops) - 2
    assert made.label_matrix is not None
    assert made.label_matrix[
        made.keys_of().index("test/defects/image_0000002_crop_0000003.png")
    ].tolist() == [*(0, 1, 0, 0, 0, 0)]


def test_images_without_entry_and_entries_without_image(tmp_path: Path) -> None:
    put(tmp_path)
    stray = tmp_path / "val/defects/image_0000009_crop_0000001.png"
    Image.new("RGB", (3, 2)).save(stray)
    text = (
        r"1 of 10 images have no entry in the lists, e\.g\. val/defects/image_0000009_crop_0000001\.png; rem"
    )
    with pytest.raises(DataError, match=text):
        read(tmp_path)
    stray.unlink()
    (tmp_path / "test/defects/image_0000006_crop_0000001.png").unlink()
    text = (
        r"the lists name 1 files of 8 that are missing, e\.g\. defects/image_0000006_crop_0000001\.png; "
        r"restore them, or raise data\.quarantine_budget 0\.01$"
    )
    with pytest.raises(DataError, match=text):
        read(tmp_path)
    assert len(read(tmp_path, quarantine_budget=0.2)) == 8


def test_broken_lists(tmp_path: Path) -> None:
    put(tmp_path)
    path = tmp_path / "metadata/defects.xml"
    good = path.read_text()
    path.write_text(good[:-20])
    with pytest.raises(DataError, match=r"metadata/defects\.xml: no XML: .*; download it again$"):
        read(tmp_path)
    path.write_text(good.replace("<Crack>1</Crack>", "<Crack>yes</Crack>", 1))
    with pytest.raises(
        DataError,
        match=r"defects\.xml: the entry of 'image_0000001_crop_0000001\.png' needs 0 or 1 for each of",
    ):
        read(tmp_path)
    path.write_text("<Annotation></Annotation>")
    with pytest.raises(
        DataError, match=r'defects\.xml: no entries <Defect name="\.\.\.">; not a list of CODEB'
    ):
        read(tmp_path)
    path.write_text(good)
    (tmp_path / "metadata/background.xml").unlink()
    with pytest.raises(DataError, match=r"metadata/background\.xml: missing: No such file.*; restore it$"):
        read(tmp_path)


def test_lists_without_images(tmp_path: Path) -> None:
    entries(tmp_path / "metadata", "defects", {"a.png": "010000"})
    entries(tmp_path / "metadata", "background", {"b.png": "100000"})
    with pytest.raises(
        DataError, match=r"no images in train\|val\|test/background\|defects beside the lists"
    ):
        read(tmp_path)


def test_labels_by_csv(tmp_path: Path) -> None:
    lines = ["path,split," + ",".join(CLASSES)]
    for path, bits in CROPS.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2)).save(tmp_path / path)
        lines.append(",".join([path, path.split("/")[0], *bits]))
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    made = read(tmp_path, source="codebrim")
    assert made.hash == read(tmp_path / "labels.csv", source="codebrim").hash
    official = read(put(tmp_path / "official"))
    assert made.classes == official.classes
    order = [made.keys_of().index(key) for key in official.keys_of()]
    assert made.label_matrix is not None
    assert official.label_matrix is not None
    assert made.label_matrix[order].tolist() == official.label_matrix.tolist()
    for name in ("group", "split"):
        assert made.table[name].take(order).to_pylist() == official.table[name].to_pylist()


def test_another_layout(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(
        DataError, match=r"not CODEBRIM's layout; expected metadata/defects\.xml and metadata/"
    ):
        read(tmp_path, source="codebrim")
    (tmp_path / "labels.csv").write_text("path,Crack\n")
    (tmp_path / "more.csv").write_text("path,Crack\n")
    with pytest.raises(ConfigError, match=r"2 \.csv files"):
        read(tmp_path, source="codebrim")
