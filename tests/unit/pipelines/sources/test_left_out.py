"""A law of every source: what lies below the root is a sample, or counted under a reason that is said."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.sources import SOURCES, open_manifest
from pipelines.sources.left_out import left_out
from pipelines.storage.places import Storage
from raytrain.config.data import CsvConfig, DataConfig, EventsConfig
from raytrain.errors import RaytrainError
from tests.event_files import bin_file, npy_file, random_recording, xytp

ONE = random_recording(20)


def put(root: Path, *paths: str, data: bytes = b"") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def classes(suffix: str, top: str = "", count: int = 10) -> list[str]:
    return [f"{top}{c}/{n:02d}{suffix}" for c in ("ant", "bee") for n in range(count)]


def csv(root: Path) -> None:
    put(root, *classes(".png"))
    put(root, "list.csv", data="\n".join(["path,label", *(f"{p},{p[:3]}" for p in classes(".png"))]).encode())


def gtsrb(root: Path) -> None:
    for c in range(2):
        names = [f"{track:05d}_{n:05d}.ppm" for track in range(6) for n in range(2)]
        put(root, *(f"Final_Training/Images/{c:05d}/{name}" for name in names))
        rows = ["Filename;ClassId", *(f"{name};{c}" for name in names)]
        put(root, f"Final_Training/Images/{c:05d}/GT-{c:05d}.csv", data="\n".join(rows).encode())


def kaggle(root: Path) -> None:
    put(root, *(f"train/{c}/{c:05d}_{t:05d}_00000.png" for c in range(2) for t in range(9)))
    put(root, "test/00000.png", "meta/0.png", "Train.csv", "meta.csv")
    put(root, "Test.csv", data=b"ClassId,Path\n1,Test/00000.png\n")


def ucf101(root: Path) -> None:
    names = [f"{c}/v_{c}_g{g:02d}_c01" for c in ("Ant", "Bee") for g in range(1, 9)]
    put(root, *(f"UCF-101/{name}.avi" for name in names))
    for number in "12":
        for kind, part in (("train", names[3:]), ("test", names[:2])):
            chosen = [
                name for name in names if name in part and (kind == "test") == (name[-6:-4] in ("01", "02"))
            ]
            path = f"ucfTrainTestlist/{kind}list0{number}.txt"
            put(root, path, data="".join(f"{name}.avi\n" for name in chosen).encode())


def hmdb51(root: Path) -> None:
    for c in ("ant", "bee"):
        names = [f"F{n}_{c}_f_nm_np1_fr_goo_0.avi" for n in range(9)]
        put(root, *(f"{c}/{name}" for name in names))
        rows = "".join(f"{name} {n % 3}\n" for n, name in enumerate(names))
        put(root, f"testTrainMulti_7030_splits/{c}_test_split1.txt", data=rows.encode())


def kinetics(root: Path) -> None:
    rows = ["label,youtube_id,time_start,time_end,split"]
    for n in range(12):
        put(root, f"v/id{n}_000000_000010.mp4")
        rows += [f"{'ab'[n % 2]},id{n},0,10,{'val' if n > 9 else 'train'}"] * (n != 3)
    put(root, "kinetics400.csv", data="\n".join(rows).encode())


def frames(root: Path) -> None:
    put(root, *(f"{c}/{clip}.mp4/{n}.jpg" for c in ("ant", "bee") for clip in range(9) for n in range(2)))


def nmnist(root: Path) -> None:
    put(root, *(f"Train/{n % 10}/{n:05d}.bin" for n in range(30)), data=bin_file(ONE))


def ncars(root: Path) -> None:
    for c in ("cars", "background"):
        put(root, *(f"Prophesee_Dataset_n_cars/n-cars_train/{c}/{n}.dat" for n in range(9)))


def windows(root: Path) -> None:
    put(root, "a.bin", "b.bin", "c.bin", data=bin_file(ONE))
    rows = [f"{file}.bin,{'pq'[n % 2]},{10 * n},{10 * n + 9}\n" for file in "ab" for n in range(6)]
    put(root, "windows.csv", data=("file,label,start_us,end_us\n" + "".join(rows)).encode())


def gesture(root: Path) -> None:
    table = np.stack([ONE.x, ONE.y, ONE.p, ONE.t + 500], axis=1)
    for part, users in (("Train", range(1, 6)), ("Test", range(6, 8))):
        put(
            root,
            *(f"ibmGesture{part}/user{u:02d}_led/{n}.npy" for u in users for n in range(3)),
            data=npy_file(table),
        )


def stl10(root: Path) -> None:
    put(root, "train_X.bin", "test_X.bin", data=bytes(27648 * 4))
    put(root, "train_y.bin", "test_y.bin", data=bytes([1, 2, 1, 2]))


BASES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "folder": ("folder", lambda root: put(root, *classes(".png"))),
    "ready split": ("folder", lambda root: put(root, *classes(".png", "Train/"), *classes(".jpg", "Test/"))),
    "flat": ("flat", lambda root: put(root, *(f"{n}.tif" for n in range(9)))),
    "csv": ("csv", csv),
    "gtsrb": ("gtsrb", gtsrb),
    "kaggle": ("gtsrb", kaggle),
    "stl10": ("stl10", stl10),
    "ucf101": ("ucf101", ucf101),
    "hmdb51": ("hmdb51", hmdb51),
    "kinetics": ("kinetics", kinetics),
    "videos": ("videos", lambda root: put(root, *classes(".mp4"))),
    "frames": ("frames", frames),
    "nmnist": (
        "nmnist",
        lambda root: put(root, *(f"Train/{n % 10}/{n}.bin" for n in range(30)), data=bin_file(ONE)),
    ),
    "ncars": ("ncars", ncars),
    "dvsgesture": ("dvsgesture", gesture),
    "recordings": ("recordings", lambda root: put(root, *classes(".npy"), data=npy_file(xytp(ONE)))),
    "windows": ("recordings", windows),
}
WITH_LISTS = {"csv", "gtsrb", "kaggle", "stl10", "ucf101", "hmdb51", "kinetics", "windows"}
"""whose lists tell of the samples, and are not said to be left out"""
STRANGERS = (".png", ".mp4", ".npy", ".bin", ".txt", ".xmp", ".csv", ".json", ".heic", "")
ODD_PLACES = (".git/", "__MACOSX/", "@eaDir/", "docs/", "runs/first/", "")


def sprinkle(root: Path, rng: random.Random) -> None:
    """Add files of known and unknown kinds, beside samples and elsewhere."""
    folders = ["", *(f"{folder.relative_to(root)}/" for folder in sorted(root.rglob("*")) if folder.is_dir())]
    for number in range(rng.randrange(1, 8)):
        place = rng.choice(folders) if rng.random() < 0.5 else rng.choice(ODD_PLACES)
        put(root, f"{place}{rng.choice(['', '.', '~$'])}odd{number}{rng.choice(STRANGERS)}")
    if rng.random() < 0.3:
        put(root, "runs/first/config.toml", "runs/first/env.json", "runs/first/figures/a.png")


def counted(notes: tuple[str, ...]) -> int:
    """How many files the note of what is left out counts."""
    note = next((note for note in notes if "left out" in note), "")
    return sum(map(int, re.findall(r"(?:: |; )(\d+) files? (?:of|left|written)", note)))


@pytest.mark.parametrize("name", BASES)
def test_samples_and_counted_reasons_are_all_files(name: str, tmp_path: Path) -> None:
    source, make = BASES[name]
    assert SOURCES[source].read
    num_read = 0
    for seed in range(12):
        root = tmp_path / str(seed)
        make(root)
        if seed:
            sprinkle(root, random.Random(f"{name} {seed}"))
        config = DataConfig(
            root=str(root),
            source=source,
            csv=CsvConfig(file="list.csv" if name == "csv" else ""),
            events=EventsConfig(sensor_width=40, sensor_height=40),
        )
        if not seed:  # the data set as it is; with strangers in it, what is in doubt may be refused
            assert "other kinds" not in "".join(open_manifest(config).notes)
        try:
            manifest = open_manifest(config)
        except RaytrainError:
            continue
        num_read += 1
        files = list(Storage(str(root)).list_files())
        found = left_out(manifest, files)
        telling = len(files) - found.num_read - counted(manifest.notes)
        assert 0 <= telling <= sum(path.path.endswith((".csv", ".txt", ".bin")) for path in files)
        assert not telling or name in WITH_LISTS
    assert num_read > 4
