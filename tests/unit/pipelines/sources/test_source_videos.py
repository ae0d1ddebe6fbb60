from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.forms.media import VIDEOS
from pipelines.sources import open_manifest
from pipelines.sources.media import first_medium
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import CsvConfig, DataConfig
from raytrain.errors import DataError


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())


def read(root: Path, **settings: Any) -> Manifest:
    return open_manifest(DataConfig(root=str(root), **settings))


def splits(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.keys_of(), manifest.table["split"].to_pylist(), strict=True))


@pytest.mark.parametrize("source", ["auto", "videos"])
def test_class_folders_of_videos(tmp_path: Path, source: Any) -> None:
    put(tmp_path, *(f"{name}/{number}.mp4" for name in ("run", "sit") for number in range(20)))
    put(tmp_path, "run/.1.mp4", "run/notes.txt", "__MACOSX/run/1.mp4", "run/deep/x.MOV")
    made = read(tmp_path, source=source)
    assert (made.modality, made.classes, len(made)) == ("clip", ("run", "sit"), 41)
    assert Counter(splits(made).values()) == {"train": 30, "select": 3, "test": 8}
    assert made.table["group"].to_pylist() == made.keys_of() == made.table["uri"].to_pylist()
    assert made.table["bytes"].to_pylist() == [(tmp_path / key).stat().st_size for key in made.keys_of()]


@pytest.mark.parametrize("ending", VIDEOS.extensions)
def test_every_extension(tmp_path: Path, ending: str) -> None:
    put(tmp_path, f"p/1{ending.upper()}", f"q/2{ending}")
    assert read(tmp_path).modality == "clip"


def test_a_ready_split_and_flat_files(tmp_path: Path) -> None:
    put(tmp_path / "a", "train/p/1.avi", "train/q/2.avi", "val/p/3.avi")
    assert splits(read(tmp_path / "a")) == {
        "train/p/1.avi": "train",
        "train/q/2.avi": "train",
        "val/p/3.avi": "test",
    }
    put(tmp_path / "b", "1.webm", "2.mkv")
    made = read(tmp_path / "b")
    assert set(splits(made).values()) == {"pretrain"}
    assert made.labels.tolist() == [-1, -1]


def test_images_and_videos_together_need_a_name(tmp_path: Path) -> None:
    put(tmp_path, "p/1.mp4", "p/1.jpg", "q/2.mp4")
    with pytest.raises(
        DataError,
        match=r"holds 1 images and 2 videos, e\.g\. p/1\.jpg and p/1\.mp4; name .* = folder or videos$",
    ):
        read(tmp_path)
    assert len(read(tmp_path, source="videos")) == 2
    put(tmp_path, "a/0.mp4")
    with pytest.raises(DataError, match=r"holds 3 videos and 1 images"):
        read(tmp_path)


def test_no_videos_and_strays(tmp_path: Path) -> None:
    put(tmp_path, "p/1.txt")
    with pytest.raises(DataError, match=r"no videos \(\.avi, .*\); found 1 file: 1 \.txt$"):
        read(tmp_path, source="videos")
    put(tmp_path, "p/1.avi", "2.avi")
    with pytest.raises(
        DataError, match=r"1 of 2 videos lie outside a class folder, e\.g\. 2\.avi; put every video into"
    ):
        read(tmp_path, source="videos")


def test_the_first_medium_is_found_without_a_full_listing(tmp_path: Path) -> None:
    put(tmp_path, "a/notes.txt", "b/c/2.avi", "b/c/1.AVI", "z.txt", ".hidden/0.png", "d/0.png")

    class Counting(Storage):
        listed: list[str]

        def list_files(self, folder: str = "", recursive: bool = True) -> Any:
            assert not recursive
            self.listed.append(folder)
            return super().list_files(folder, recursive)

    storage = Counting(str(tmp_path))
    storage.listed = []
    assert first_medium(storage) == "b/c/1.AVI"
    assert storage.listed == ["", "a", "b", "b/c"]
    assert Storage(str(tmp_path)).list_folders() == [".hidden", "a", "b", "d"]
    assert Storage(str(tmp_path)).list_folders("b") == ["b/c"]
    assert first_medium(Storage(str(tmp_path / "a"))) == ""


def test_remote_folders_are_listed_alike(tmp_path: Path) -> None:
    import fsspec
    from pyarrow import fs

    memory = fsspec.filesystem("memory")
    for path in ("/videos-test/b/1.avi", "/videos-test/a/c/2.avi", "/videos-test/3.txt"):
        memory.pipe(path, b"x")
    system = fs.PyFileSystem(fs.FSSpecHandler(memory))

    class Remote(Storage):
        def _locate(self, uri: str) -> Any:
            return system, f"/videos-test/{uri}".rstrip("/")

    storage = Remote("memory://videos-test")
    assert storage.list_folders() == ["a", "b"]
    assert storage.list_folders("a") == ["a/c"]
    assert first_medium(storage) == "a/c/2.avi"
    memory.rm("/videos-test", recursive=True)


def test_an_archive_of_videos(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        for name in ("top/p/1.avi", "top/p/2.avi", "top/q/3.avi", "top/q/4.avi"):
            archive.writestr(name, name)
    made = read(tmp_path / "v.zip")
    assert (made.modality, made.classes) == ("clip", ("p", "q"))


def test_a_list_of_videos(tmp_path: Path) -> None:
    put(tmp_path, "1.avi", "2.mp4", "3.png")
    (tmp_path / "list.csv").write_text("path,label,group\n1.avi,a,x\n2.mp4,b,y\n")
    made = read(tmp_path, source="csv", test_fraction=0.0, select_fraction=0.0)
    assert made.modality == "clip"
    assert made.table["group"].to_pylist() == ["x", "y"]
    (tmp_path / "list.csv").write_text("path,label\n3.png,a\n1.avi,b\n2.mp4,b\n")
    with pytest.raises(
        DataError, match=r"names 2 videos among 3 files, e\.g\. 1\.avi beside 3\.png; list files of one kind"
    ):
        read(tmp_path, source="csv", csv=CsvConfig(file="list.csv"))


def test_real_videos(real_data: Path) -> None:
    made = read(real_data / "kinetics")
    assert (made.modality, len(made)) == ("clip", 2)
    assert set(splits(made).values()) == {"pretrain"}
