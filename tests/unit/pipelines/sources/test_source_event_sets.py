"""The published layouts of event data sets: detected, split, labelled, counted; their sensors."""

import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.decode.read_events import read_events
from pipelines.preparing.prepare import prepare
from pipelines.sources import open_manifest, open_storage
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig, EventsConfig
from raytrain.errors import ConfigError, DataError
from tests.event_files import (
    aedat2_file,
    aedat4_file,
    bin_file,
    dat_file,
    npy_file,
    random_recording,
    same,
    xytp,
)

ONE = random_recording()


def put(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def gesture(user: int, label: int) -> bytes:
    table = np.stack([ONE.x, ONE.y, ONE.p, ONE.t + user + label], axis=1)
    return npy_file(table)


def digits(split: str, count: int) -> dict[str, bytes]:
    return {f"{split}/{digit}/{n:05d}.bin": bin_file(ONE) for digit in range(10) for n in range(count)}


LAYOUTS: dict[str, tuple[str, dict[str, bytes], tuple[int, int]]] = {
    "nmnist": ("nmnist", digits("Train", 5) | digits("Test", 1) | digits("Valid", 2), (34, 34)),
    "nmnist below": (
        "nmnist",
        {f"NMNIST/{name}": data for name, data in (digits("Train", 2) | digits("Test", 1)).items()},
        (34, 34),
    ),
    "ncaltech101": (
        "ncaltech101",
        {f"Caltech101/{c}/image_{n:04d}.bin": bin_file(ONE) for c in ("ant", "bass") for n in range(10)},
        (240, 180),
    ),
    "ncaltech101 split": (
        "ncaltech101",
        {
            f"N-Caltech101/{split}/{c}/{c}_{n}.npy": npy_file(xytp(ONE, seconds=True))
            for split in ("training", "validation", "testing")
            for c in ("ant", "bass")
            for n in range(3)
        },
        (240, 180),
    ),
    "ncars": (
        "ncars",
        {
            f"n-cars_{split}/{c}/obj_{n:06d}_td.dat": dat_file(ONE)
            for split in ("train", "test")
            for c in ("cars", "background")
            for n in range(4)
        },
        (120, 100),
    ),
    "dvsgesture": (
        "dvsgesture",
        {
            f"ibmGesture{split}/user{user:02d}_{light}/{label}.npy": gesture(user, label)
            for split, users in (("Train", (1, 2, 3)), ("Test", (24, 25)))
            for user in users
            for light in ("lab", "led")
            for label in range(11)
        },
        (128, 128),
    ),
    "cifar10dvs": (
        "cifar10dvs",
        {
            f"CIFAR10DVS/{c}/{c}_{n}.aedat4": aedat4_file(ONE)
            for c in ("airplane", "bird", "truck")
            for n in range(5)
        },
        (128, 128),
    ),
    "cifar10dvs original": (
        "cifar10dvs",
        {f"{c}/{c}_{n}.aedat": aedat2_file(ONE) for c in ("airplane", "truck") for n in range(5)},
        (128, 128),
    ),
    "recordings": (
        "recordings",
        {f"{c}/{n}.aedat4": aedat4_file(ONE) for c in ("left", "right") for n in range(5)},
        (34, 30),
    ),
}


def read(root: Path, **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), **settings))


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("named", [True, False])
def test_a_layout_is_detected_and_read(tmp_path: Path, name: str, named: bool) -> None:
    source, files, sensor = LAYOUTS[name]
    put(tmp_path, files | {"README.txt": b"words"})
    config = DataConfig(root=str(tmp_path), source=source if named else "auto")  # type: ignore[arg-type]
    manifest = open_manifest(config)
    assert len(manifest) == len(files)
    assert (manifest.modality, manifest.sensor_width, manifest.sensor_height) == ("events", *sensor)
    for split in ("pretrain", "probe_train", "select", "test"):
        assert len(manifest.indices(split)), split
    storage = open_storage(manifest.root, config)
    found = read_events(manifest.row(len(manifest) - 1), storage, config)
    assert len(found) == len(ONE)
    assert found.width == sensor[0]
    if source != "dvsgesture":
        assert same(found, ONE)
    counts = manifest.num_events
    assert counts is not None
    known = files[next(iter(files))][:4] != b"#!AE"
    assert set(counts.tolist()) == ({len(ONE)} if known else {-1})


def test_nmnist_tests_on_test_and_valid(tmp_path: Path) -> None:
    put(tmp_path, LAYOUTS["nmnist"][1])
    manifest = read(tmp_path)
    keys = [manifest.keys_of()[row] for row in manifest.indices("test")]
    assert len(keys) == 30
    assert {key.partition("/")[0] for key in keys} == {"Test", "Valid"}
    assert all(manifest.labels[row] == int(key.split("/")[1]) for row, key in enumerate(manifest.keys_of()))


def test_the_split_of_gehrig_is_kept(tmp_path: Path) -> None:
    put(tmp_path, LAYOUTS["ncaltech101 split"][1])
    manifest = read(tmp_path)
    for split, folder in (("pretrain", "training"), ("select", "validation"), ("test", "testing")):
        rows = manifest.indices(split)
        assert len(rows) == 6
        assert all(manifest.keys_of()[row].startswith(folder) for row in rows)


def test_gestures_are_grouped_by_user_and_in_milliseconds(tmp_path: Path) -> None:
    put(tmp_path, LAYOUTS["dvsgesture"][1])
    manifest = read(tmp_path)
    row = manifest.keys_of().index("ibmGestureTrain/user02_led/7.npy")
    assert manifest.table["group"][row].as_py() == "user02"
    assert manifest.classes[manifest.labels[row]] == "arm_roll"
    config = DataConfig(root=str(tmp_path))
    found = read_events(manifest.row(row), open_storage(manifest.root, config), config)
    assert np.array_equal(found.t, 1000 * (ONE.t + 9))
    groups = manifest.table["group"].to_pylist()
    train = {groups[row] for row in manifest.indices("pretrain")}
    assert not train & {groups[row] for row in manifest.indices("test")}


def test_cars_come_after_background(tmp_path: Path) -> None:
    put(tmp_path, LAYOUTS["ncars"][1])
    manifest = read(tmp_path)
    assert manifest.classes == ("background", "cars")
    assert len(manifest.indices("test")) == 8


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nmnist", "no Train/<digit>"),
        ("ncaltech101", "neither Caltech101/<class>"),
        ("ncars", "no n-cars_train/cars"),
        ("dvsgesture", "no ibmGestureTrain"),
        ("cifar10dvs", "no folder of a class"),
        ("recordings", "no recordings"),
    ],
)
def test_another_folder_is_refused(tmp_path: Path, source: Any, words: str) -> None:
    put(tmp_path, {"a/b.txt": b"x"})
    with pytest.raises(DataError, match=words):
        read(tmp_path, source=source)


def test_the_right_folders_without_recordings(tmp_path: Path) -> None:
    put(tmp_path, {"Train/0/readme.txt": b"x", "Train/1/a.npy": gesture(0, 0)})
    with pytest.raises(DataError, match=r"no recordings \(\.bin\) of nmnist in their places"):
        read(tmp_path, source="nmnist")


def test_the_sensor_may_be_set(tmp_path: Path) -> None:
    put(tmp_path, LAYOUTS["nmnist"][1])
    manifest = read(tmp_path, events=EventsConfig(sensor_width=64, sensor_height=48))
    assert (manifest.sensor_width, manifest.sensor_height) == (64, 48)


def test_images_with_arrays_beside_them_stay_images(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(8):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20)).save(path)
        path.with_suffix(".npy").write_bytes(npy_file(np.zeros(3)))
    assert read(tmp_path).modality == "image"


WINDOWS = "file,label,split,start_us,end_us,events\n"


def windows(root: Path, lines: str, header: str = WINDOWS) -> None:
    put(
        root,
        {f"{name}.aedat": aedat2_file(random_recording(seed=n)) for n, name in enumerate("abcd")}
        | {"windows.csv": (header + lines).encode()},
    )


def every_file(split: str = "") -> str:
    cuts = ((0, 500), (500, 1000), (1000, 1600))
    return "".join(
        f"{name}.aedat,{label},{split},{start},{end},\n"
        for name, label in zip("abcd", ("p", "q", "p", "q"), strict=True)
        for start, end in cuts
    )


def test_windows_are_samples(tmp_path: Path) -> None:
    windows(tmp_path, every_file())
    config = DataConfig(root=str(tmp_path), select_fraction=0.0, test_fraction=0.5)
    manifest = open_manifest(config)
    assert len(manifest) == 12
    assert manifest.sensor_width == 128
    assert set(manifest.table["group"].to_pylist()) == {f"{name}.aedat" for name in "abcd"}
    storage = open_storage(manifest.root, config)
    parts = [read_events(manifest.row(row), storage, config) for row in range(3)]
    assert [
        same(part, ONE.between(500 * n, 500 * (n + 1) + 100 * (n == 2))) for n, part in enumerate(parts)
    ] == [True] * 3
    assert manifest.notes == ()


@pytest.mark.parametrize("kind", ["stored", "deflated", "tar"])
def test_recordings_and_windows_in_an_archive(tmp_path: Path, kind: str) -> None:
    for name, files in (("digits", LAYOUTS["nmnist"][1]), ("windows", {})):
        put(tmp_path / name, files)
    windows(tmp_path / "windows", every_file())
    for name in ("digits", "windows"):
        archive = tmp_path / f"{name}.{'tar' if kind == 'tar' else 'zip'}"
        paths = [path for path in sorted((tmp_path / name).rglob("*")) if path.is_file()]
        if kind == "tar":
            with tarfile.open(archive, "w") as tar:
                for path in paths:
                    tar.add(path, str(path.relative_to(tmp_path / name)))
        else:
            method = zipfile.ZIP_DEFLATED if kind == "deflated" else zipfile.ZIP_STORED
            with zipfile.ZipFile(archive, "w", method) as packed:
                for path in paths:
                    packed.write(path, path.relative_to(tmp_path / name))
        plain, inside = DataConfig(root=str(tmp_path / name)), DataConfig(root=str(archive))
        first, second = open_manifest(plain), open_manifest(inside)
        assert first.keys_of() == second.keys_of()
        for row in range(0, len(first), 5):
            expected = read_events(first.row(row), open_storage(first.root, plain), plain)
            assert same(read_events(second.row(row), open_storage(second.root, inside), inside), expected)


def test_a_recording_in_two_splits_is_said(tmp_path: Path) -> None:
    lines = every_file("train") + "".join(
        f"{n}.aedat,{c},test,1600,1700,5\n" for n, c in zip("ab", "pq", strict=True)
    )
    windows(tmp_path, lines)
    manifest = read(tmp_path)
    assert "windows of 2 recordings in several splits, e.g. a.aedat" in manifest.notes[0]
    groups = set(manifest.table["group"].to_pylist())
    assert groups == {"a.aedat/train", "a.aedat/test", "b.aedat/train", "b.aedat/test", "c.aedat", "d.aedat"}
    counts = manifest.num_events
    assert counts is not None
    assert sorted(set(counts.tolist())) == [-1, 5]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("z.aedat,p,train,0,5,\n", "line 2: no recording 'z.aedat'"),
        ("a.aedat,p,later,0,5,\n", "unknown split 'later'"),
        ("a.aedat,p,train,0,x,\n", "must be whole numbers"),
        ("a.aedat,p,train,5,5,\n", "before it starts"),
        ("", "names no window"),
    ],
)
def test_a_broken_list_of_windows(tmp_path: Path, line: str, words: str) -> None:
    windows(tmp_path, line)
    with pytest.raises(DataError, match=words):
        read(tmp_path)


def test_events_that_come_late_are_not_why_a_sensor_is_unknown(tmp_path: Path) -> None:
    put(tmp_path, {f"{c}/{n}.npy": b"" for c in "pq" for n in range(5)})
    for path in tmp_path.glob("*/*.npy"):
        np.save(path, np.array([[5, 6, 70_500, 1], [1, 2, 70_400, 0], [3, 4, 70_900, 1]]))
    with pytest.raises(ConfigError, match=r"not known from p/0\.npy \(it does not say\); set"):
        read(tmp_path)


SIZED = EventsConfig(sensor_width=34, sensor_height=30)


def test_how_numbers_are_read_is_said(tmp_path: Path) -> None:
    table = xytp(ONE, seconds=True)[:, [2, 0, 1, 3]]
    put(tmp_path, {f"{c}/{n}.npy": npy_file(table) for c in "pq" for n in range(5)})
    put(tmp_path, {"p/0.npy": npy_file(table[:0])})
    manifest = read(tmp_path, events=SIZED)
    span = f"300 events in {ONE.duration_us / 1e6:.4g} s"
    assert manifest.notes == (
        f"p/1.npy is read as columns t, x, y, p; stamps in seconds: {span} (by value; data.events.columns, "
        "data.events.time_unit)",
    )


def test_events_are_counted_whichever_way_an_array_lies(tmp_path: Path) -> None:
    by_rows = npy_file(np.ascontiguousarray(xytp(ONE).T))
    put(tmp_path, {f"{c}/{n}.npy": by_rows if n % 2 else npy_file(xytp(ONE)) for c in "pq" for n in range(5)})
    counts = read(tmp_path, events=SIZED).num_events
    assert counts is not None
    assert set(counts.tolist()) == {300}


def test_dvs128_gesture_as_published_names_the_list_that_it_needs(tmp_path: Path) -> None:
    put(tmp_path, {f"DvsGesture/user{n:02d}_led.aedat": aedat2_file(ONE) for n in range(4)})
    put(tmp_path, {f"DvsGesture/user{n:02d}_led_labels.csv": b"class,startTime_usec\n" for n in range(4)})
    with pytest.raises(DataError, match=r"4 lists of labels.*user00_led_labels\.csv.*write windows\.csv"):
        read(tmp_path, events=SIZED)
    flat = read(tmp_path / "DvsGesture", events=SIZED)
    assert "write windows.csv" in flat.notes[-1]


def test_recordings_of_another_format_say_how_to_convert_them(tmp_path: Path) -> None:
    put(tmp_path, {f"{c}/{n}.raw": b"% evt 3.0\n" for c in "pq" for n in range(5)})
    with pytest.raises(
        DataError, match=r"found 10 files: 10 \.raw; a raw stream of a Prophesee camera; make \.h5"
    ):
        read(tmp_path, source="recordings")


def test_a_sensor_of_unknown_size_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path, {f"{c}/{n}.bin": bin_file(ONE) for c in "pq" for n in range(5)})
    with pytest.raises(
        ConfigError, match=r"sensor's size is not known from p/0\.bin.*data\.events\.sensor_width"
    ):
        read(tmp_path)
    sized = read(tmp_path, events=EventsConfig(sensor_width=34, sensor_height=30))
    assert sized.num_events is not None
    assert set(sized.num_events.tolist()) == {300}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sensor_width": 5}, "set both or neither"),
        ({"sensor_width": -1, "sensor_height": 2}, "at least 0"),
        ({"sensor_width": 70_000, "sensor_height": 2}, "at most 65536"),
        ({"slice_ms": 1, "slice_events": 1}, "both set"),
    ],
)
def test_wrong_settings(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        EventsConfig(**values)


def test_real_sets(real_data: Path) -> None:
    digits = read(real_data / "nmnist")
    assert len(digits) == 700
    assert len(digits.indices("test")) == 200
    assert digits.sensor_width == 34
    objects = DataConfig(root=str(real_data / "dvs128_objects"))
    manifest = open_manifest(objects)
    assert len(manifest) == 625
    assert len(manifest.classes) == 7
    storage = open_storage(manifest.root, objects)
    assert manifest.num_events is not None
    for row in range(0, 625, 60):
        assert len(read_events(manifest.row(row), storage, objects)) == manifest.num_events[row]


def test_packed_recordings_are_not_taken_for_those_of_another_order(tmp_path: Path) -> None:
    put(tmp_path / "in", {f"{c}/{n}.npy": npy_file(xytp(ONE)) for c in "pq" for n in range(5)})

    def pack(**events: Any) -> bool:
        config = DataConfig(root=str(tmp_path / "in"), events=replace(SIZED, **events))
        return prepare(config, str(tmp_path / "out"), shards="encoded").already_done

    assert not pack()
    assert pack()
    with pytest.raises(ConfigError, match="already holds a manifest of other data or settings"):
        pack(columns="yxtp")
    with pytest.raises(ConfigError, match="already holds a manifest of other data or settings"):
        pack(time_unit="ms")


def test_a_list_of_windows_is_read_as_spreadsheets_write_it_or_refused(tmp_path: Path) -> None:
    put(tmp_path, {"a.bin": bin_file(ONE), "b.bin": bin_file(ONE)})
    rows = [
        f'"{file}.bin";"{label}";"{start}";"{start + 90}"'
        for start in (0, 100)
        for file, label in ("ap", "bq")
    ]
    put(tmp_path, {"windows.csv": "\n".join(['"File";"Label";"start_us";"end_us"', *rows]).encode()})
    made = read(tmp_path, events=SIZED)
    assert (len(made), made.classes) == (4, ("p", "q"))
    put(tmp_path, {"windows.csv": b"file,label,start,end\na.bin,p,0,9\n"})
    with pytest.raises(
        DataError, match=r"windows\.csv: no column start_us; it has file, label, start, end, and"
    ):
        read(tmp_path, events=SIZED)


def test_the_first_recording_that_says_its_sensor_tells_it(tmp_path: Path) -> None:
    put(tmp_path, {f"{c}/{n}.dat": dat_file(ONE, sized=True) for c in "pq" for n in range(5)})
    put(tmp_path, {"p/0.dat": b"% cut off within"})
    made = read(tmp_path)
    assert (made.sensor_width, made.sensor_height) == (304, 240)
