import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.preparing.inspect import inspect
from pipelines.sources import open_manifest
from pipelines.storage.manifest import Manifest
from raytrain.config.data import CsvConfig, DataConfig, EventsConfig
from raytrain.errors import ConfigError, DataError, RaytrainError


def put(root: Path, text: str, *images: str, name: str = "list.csv") -> Path:
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / image, "PNG")
    (root / name).write_text(text)
    return root


def read(root: Path, *, csv: dict[str, str] | None = None, **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), source="csv", csv=CsvConfig(**(csv or {})), **settings))


def column(manifest: Manifest, name: str) -> dict[str, Any]:
    return dict(zip(manifest.keys_of(), manifest.table[name].to_pylist(), strict=True))


NAMES = [f"i/{number}.png" for number in range(20)]


def test_one_class_name_a_row(tmp_path: Path) -> None:
    lines = [f"{name},{'cat' if place % 2 else 'dog'}" for place, name in enumerate(NAMES)]
    put(tmp_path, "\n".join(["path,label", *lines]), *NAMES)
    made = read(tmp_path)
    assert made.classes == ("cat", "dog")
    assert column(made, "label")["i/3.png"] == 0
    assert column(made, "label")["i/4.png"] == 1
    assert Counter(made.table["split"].to_pylist()) == {"train": 14, "select": 2, "test": 4}
    assert made.label_matrix is None
    assert column(made, "bytes")["i/3.png"] == (tmp_path / "i/3.png").stat().st_size
    # The list itself may be the root, and auto knows it then.
    assert open_manifest(DataConfig(root=str(tmp_path / "list.csv"))).hash == made.hash


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_of_any_name_with_splits_and_groups(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ("file", "kind", "part", "track", "note"),
        ("a.png", "x", "train", "t1", "one"),
        ("./b.png", "y", "Train", "t1", "two"),
        ("c.png", "x", "val", "t2", ""),
        (f"{tmp_path}/d.png", "y", "test", "", ""),
        ("e.png", "", "", "t3", ""),
        ("f.png", "x", "", "", ""),
        ("g.png", "", "unlabeled", "", ""),
    ]
    text = "\ufeff" + "\r\n".join(delimiter.join(row) for row in rows) + "\r\n\r\n"
    put(tmp_path, text, *(f"{name}.png" for name in "abcdefg"))
    columns = {"path_column": "file", "label_column": "kind", "split_column": "part", "group_column": "track"}
    made = read(tmp_path, csv=columns)
    assert list(column(made, "split").values()) == [
        "train",
        "train",
        "select",
        "test",
        "pretrain",
        "train",
        "pretrain",
    ]
    assert list(column(made, "label").values()) == [0, 1, 0, 1, -1, 0, -1]
    groups = ["t1", "t1", "t2", "d.png", "t3", "f.png", "g.png"]
    assert list(column(made, "group").values()) == groups


def test_several_labels_in_one_column(tmp_path: Path) -> None:
    text = "path,label\na.png,rust;crack\nb.png,crack\nc.png,\nd.png, rust ; wet ;\n"
    put(tmp_path, text, "a.png", "b.png", "c.png", "d.png")
    made = read(tmp_path, select_fraction=0.0, test_fraction=0.0)
    assert made.classes == ("crack", "rust", "wet")
    assert made.label_matrix is not None
    assert made.label_matrix.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert made.labels.tolist() == [0, 0, -1, 0]
    assert made.indices("probe_train").tolist() == [0, 1, 3]
    assert made.indices("pretrain").tolist() == [0, 1, 2, 3]
    joined = read(tmp_path, csv={"label_separator": "+"}, select_fraction=0.0, test_fraction=0.0)
    assert joined.label_matrix is None
    assert joined.classes == ("crack", "rust ; wet ;", "rust;crack")


def test_one_column_a_label(tmp_path: Path) -> None:
    text = "path,wet,crack,extra\na.png,1,0,x\nb.png,0,0,x\nc.png,,,x\nd.png,1.0,1.0,x\n"
    put(tmp_path, text, "a.png", "b.png", "c.png", "d.png")
    made = read(tmp_path, csv={"label_columns": "crack, wet"}, select_fraction=0.0, test_fraction=0.0)
    assert made.classes == ("crack", "wet")
    assert made.label_sets.tolist() == [[0, 1], [0, 0], [0, 0], [1, 1]]
    assert made.labels.tolist() == [0, 0, -1, 0]
    report = inspect(
        DataConfig(
            root=str(tmp_path),
            source="csv",
            csv=CsvConfig(label_columns="crack,wet"),
            select_fraction=0.0,
            test_fraction=0.0,
        )
    )
    assert report.splits["train"].by_class == (1, 2)
    assert report.splits["train"].unlabelled == 0
    assert report.splits["pretrain"].unlabelled == 1
    assert "samples    4 of 2 labels, several a sample, 0.0 MiB" in report.lines()


def test_label_sets_are_spread_over_the_splits(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(40)]
    lines = [f"{name},{place % 2},{place // 2 % 2}" for place, name in enumerate(names)]
    put(tmp_path, "\n".join(["path,a,b", *lines]), *names)
    made = read(tmp_path, csv={"label_columns": "a,b"}, select_fraction=0.1, test_fraction=0.2)
    for split, count in (("test", 2), ("select", 1)):
        patterns = Counter(map(tuple, made.label_sets[made.indices(split)].tolist()))
        assert set(patterns) == {(0, 0), (0, 1), (1, 0), (1, 1)} or split == "select"
        assert min(patterns.values()) >= count - 1


def test_paths_alone_are_unlabelled(tmp_path: Path) -> None:
    put(tmp_path, "path\na.png\nb.png\n", "a.png", "b.png")
    made = read(tmp_path)
    assert made.table["split"].to_pylist() == ["pretrain", "pretrain"]
    assert made.classes == ()


def test_missing_files_are_counted_and_named(tmp_path: Path) -> None:
    put(tmp_path, "path,label\n" + "".join(f"{name}.png,x\n" for name in "abcdef"), "b.png", "f.png")
    text = (
        rf"^{tmp_path}/list\.csv: names 4 files of 6 that are missing, e\.g\. a\.png, c\.png, d\.png; "
        r"restore them or drop their lines$"
    )
    with pytest.raises(DataError, match=text):
        read(tmp_path)
    assert DataError.exit_code == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,label\na.png,x\na.png,y\n",
            r"list\.csv: names a\.png in the lines 2 and 3; drop one, or set data\.csv\.repeated = labels",
        ),
        (
            "path,label\n../a.png,x\n",
            r"list\.csv, line 2: \.\./a\.png lies outside data\.root .*; name a root",
        ),
        ("path,label\n/etc/a.png,x\n", r"line 2: /etc/a\.png lies outside data\.root"),
        ("path,label\n,x\n", r"line 2: no path; name the file or drop the line$"),
        ("path,label\na.png\n", r"line 2: 1 fields, but the header has 2; repair the line$"),
        ("path,label\na.png,x,y\n", r"line 2: 3 fields, but the header has 2; repair the line$"),
        ("path,label,split\na.png,x,tets\n", r"line 2: unknown split 'tets'; did you mean 'test'\?$"),
        ("path,label\n", r"list\.csv: holds no lines below its header; list the files in it$"),
        ("path,path\na.png,x\n", r"list\.csv: two columns have the same name; rename one: path, path$"),
        (
            f'path,label\na.png,"{"x" * 140_000}"\n',
            r"list\.csv, line 2: field larger than field limit .*; rep",
        ),
    ],
)
def test_broken_lists(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, text, "a.png")
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_lists_that_are_no_text(tmp_path: Path) -> None:
    put(tmp_path, "", "a.png")
    (tmp_path / "list.csv").write_bytes(b"path,label\na.png,caf\xe9\n")
    with pytest.raises(DataError, match=r"list\.csv: not UTF-8 text; save the list as UTF-8$"):
        read(tmp_path)


def test_a_group_on_both_sides_of_a_split(tmp_path: Path) -> None:
    text = "path,label,split,group\na.png,x,train,g\nb.png,y,test,g\nc.png,x,train,h\nd.png,y,select,g\n"
    put(tmp_path, text, "a.png", "b.png", "c.png", "d.png")
    message = (
        r"1 groups lie in more than one split, e\.g\. g in select and test and train; give each group one "
        r"split, or set data\.shared_groups = drop to leave 2 samples out$"
    )
    with pytest.raises(DataError, match=message):
        read(tmp_path)
    made = read(tmp_path, shared_groups="drop")
    assert column(made, "split") == {"b.png": "test", "c.png": "train"}


def test_values_that_are_no_labels(tmp_path: Path) -> None:
    put(tmp_path, "path,a,b\na.png,1,2\n", "a.png")
    with pytest.raises(DataError, match=r"line 2: b is '2'; it must be 0 or 1 \(all empty: unlabelled\)$"):
        read(tmp_path, csv={"label_columns": "a,b"})
    put(tmp_path, "path,a,b\na.png,1,\n")
    with pytest.raises(DataError, match=r"line 2: b is ''; it must be 0 or 1"):
        read(tmp_path, csv={"label_columns": "a,b"})


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ({}, r"no column 'path' \(data\.csv\.path_column\); known: file, kind$"),
        ({"path_column": "fiel"}, r"no column 'fiel' \(data\.csv\.path_column\); did you mean 'file'\?$"),
        ({"path_column": "file"}, r"no column 'label' \(data\.csv\.label_column\); known: file, kind$"),
        (
            {"path_column": "file", "label_columns": "kind,kin"},
            r"no column 'kin' \(data\.csv\.label_columns \(kin\)\); did you mean 'kind'\?$",
        ),
        ({"path_column": "file", "split_column": "fold"}, r"no column 'fold' \(data\.csv\.split_column\)"),
        (
            {"file": "lists.csv"},
            r"data\.csv\.file .*/lists\.csv: missing: No such file.*; name the list below",
        ),
    ],
)
def test_columns_that_are_not_there(tmp_path: Path, csv: dict[str, str], message: str) -> None:
    put(tmp_path, "file,kind\na.png,x\n", "a.png")
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, csv=csv)


def test_which_list(tmp_path: Path) -> None:
    put(tmp_path, "", "a.png", name="note.txt")
    with pytest.raises(ConfigError, match=r"no \.csv file; name the list by data\.csv\.file$"):
        read(tmp_path)
    put(tmp_path, "path\na.png", name="one.csv")
    put(tmp_path, "path\na.png", name="two.csv")
    with pytest.raises(ConfigError, match=r"2 \.csv files: one\.csv, two\.csv; name the list by data\.csv"):
        read(tmp_path)
    with pytest.raises(ConfigError, match=r"one\.csv: is a list, but data\.source is gtsrb; set it to csv$"):
        open_manifest(DataConfig(root=str(tmp_path / "one.csv"), source="gtsrb"))


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"^data\.csv\.delimiter is '::'; it must be one character$"):
        CsvConfig(delimiter="::")
    with pytest.raises(ConfigError, match=r"^data\.csv\.path_column is empty; name the column that holds"):
        CsvConfig(path_column="")
    with pytest.raises(ConfigError, match=r"^data\.csv\.label_separator is empty; name what stands between"):
        CsvConfig(label_separator="")
    with pytest.raises(ConfigError, match=r"^data\.csv\.label_columns is 'a,'; name two or more 0/1 columns"):
        CsvConfig(label_columns="a,")


@pytest.mark.parametrize("head", ["sep=;", "SEP=;;;", '"sep=;"'])
def test_the_first_line_of_a_spreadsheet_names_the_delimiter(tmp_path: Path, head: str) -> None:
    put(tmp_path, f"{head}\r\npath;label, in words\r\ni/1.png;a\r\ni/2.png;b\r\n", *NAMES[:3])
    made = read(tmp_path, csv={"label_column": "label, in words"})
    assert (made.keys_of(), made.classes) == (["i/1.png", "i/2.png"], ("a", "b"))


@pytest.mark.parametrize("name", ["LIST.CSV", "list.Csv", "list.tsv"])
def test_a_list_s_name_ends_in_any_case(tmp_path: Path, name: str) -> None:
    put(tmp_path, "path\tlabel\ni/1.png\ta\ni/2.png\tb\n", *NAMES[:3])
    (tmp_path / "list.csv").rename(tmp_path / name)
    assert open_manifest(DataConfig(root=str(tmp_path / name))).classes == ("a", "b")
    assert read(tmp_path).classes == ("a", "b")


def test_unicode_text_of_a_spreadsheet(tmp_path: Path) -> None:
    put(tmp_path, "", *NAMES[:3])
    (tmp_path / "list.csv").write_text("path\tlabel\ni/1.png\tä\ni/2.png\tb\n", encoding="utf-16")
    assert read(tmp_path).classes == ("b", "ä")


def test_columns_are_known_in_any_case(tmp_path: Path) -> None:
    put(tmp_path, "PATH,Label,split\ni/1.png,a,train\ni/2.png,b,train\ni/3.png,b,test\n", *NAMES[1:4])
    assert read(tmp_path).classes == ("a", "b")
    put(tmp_path, "PATH,Path,Label\ni/1.png,i/1.png,a\ni/2.png,i/2.png,b\n")
    with pytest.raises(ConfigError, match=r"no column 'path' \(data\.csv\.path_column\); did you mean"):
        read(tmp_path)


def test_a_line_for_each_label(tmp_path: Path) -> None:
    put(tmp_path, "path,label\ni/1.png,a\ni/2.png,b\n./i/1.png,b\ni/2.png,b\n", *NAMES[1:3])
    made = read(tmp_path, csv={"repeated": "labels"})
    assert made.keys_of() == ["i/1.png", "i/2.png"]
    assert made.label_matrix is not None
    assert made.label_matrix.tolist() == [[1, 1], [0, 1]]
    assert sorted(note.partition(": ")[2] for note in made.notes) == [
        "1 lines add a label to a file named before",
        "1 lines that say the same as another count once",
    ]


def test_lines_of_a_file_that_differ_in_more_than_the_label(tmp_path: Path) -> None:
    put(tmp_path, "path,label,split\ni/1.png,a,train\ni/1.png,b,test\n", *NAMES[:3])
    with pytest.raises(DataError, match=r"names i/1\.png in the lines 2 and 3; drop one$"):
        read(tmp_path, csv={"repeated": "labels"})


def test_a_list_of_recordings(tmp_path: Path) -> None:
    put(tmp_path, "path,label\na.npy,x\nb.npy,y\n")
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.array([[1, 2, 10, 1], [3, 4, 20, 0]], np.int64))
    made = read(tmp_path, events=EventsConfig(sensor_width=34, sensor_height=30))
    assert (made.modality, made.sensor_width, made.sensor_height) == ("events", 34, 30)
    assert made.table["num_events"].to_pylist() == [2, 2]


PIECES = [
    "path",
    "label",
    "split",
    "i/1.png",
    "./i/2.png",
    "i\\3.png",
    "a",
    "b;c",
    "",
    '"',
    "'",
    "é",
    "\0",
    " ",
]
PIECES += [
    "../x.png",
    "/etc/passwd",
    "s3://b/k.png",
    "i/gone.png",
    "train",
    "Val",
    "nobody",
    "sep=;",
    "\ufeff",
]


def strange_list(rng: random.Random) -> bytes:
    """A list whose cells, separators, quotes, line ends and encoding are any."""
    plain = rng.choice([0.5, 0.9, 1.0])
    rows = [
        ["path", "label", "split"][: rng.randrange(1, 4)] if rng.random() < plain else rng.sample(PIECES, 3)
    ]
    for number in range(rng.randrange(8)):
        usual = [f"i/{number % 5}.png", rng.choice("ab"), rng.choice(["train", "test", ""])][: len(rows[0])]
        rows.append(usual if rng.random() < plain else rng.sample(PIECES, rng.randrange(1, 5)))
    separator = rng.choice([",", ",", ";", "\t", "|", ", "])
    lines = [separator.join(f'"{cell}"' if rng.random() < 0.1 else cell for cell in row) for row in rows]
    text = rng.choice(["", "", "sep=;\n", "\ufeff"]) + rng.choice(["\n", "\r\n", "\r"]).join(lines)
    data = text.encode(rng.choice(["utf-8", "utf-8", "utf-16", "utf-16-be", "cp1252"]), "replace")
    return data[: len(data) - rng.randrange(3)] if rng.random() < 0.2 else data


def test_no_list_is_a_surprise(tmp_path: Path) -> None:
    """500 lists of any content are read, or refused by one line that names the list or a setting."""
    put(tmp_path, "", *NAMES[:4])
    rng, num_read, refusals = random.Random(0), 0, []
    for _ in range(500):
        (tmp_path / "list.csv").write_bytes(strange_list(rng))
        try:
            num_read += len(read(tmp_path)) > 0
        except RaytrainError as refused:
            refusals.append(str(refused))
    assert num_read + len(refusals) == 500
    assert num_read > 30
    assert [said for said in refusals if not re.search(r"list\.csv|data\.", said) or "\n" in said] == []


def test_classes_that_look_the_same_are_refused_and_others_in_case_said(tmp_path: Path) -> None:
    put(tmp_path, "path,label\ni/1.png,Cat\ni/2.png,cat\n", *NAMES[1:3])
    assert "the classes Cat and cat differ in case alone; each is a class" in read(tmp_path).notes
    put(tmp_path, "path,label\ni/1.png,caf\u00e9\ni/2.png,cafe\u0301\n")
    with pytest.raises(DataError, match=r"list\.csv: the classes .* look the same and are two; merge them"):
        read(tmp_path)
