import multiprocessing
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import fs

from pipelines.decode.read_image import read_sample
from pipelines.forms.quarantine import BadSample
from pipelines.preparing.inspect import inspect
from pipelines.preparing.prepare import prepare
from pipelines.sources import open_manifest, open_storage
from pipelines.storage import places as storage_module
from pipelines.storage.archive import ArchiveStorage
from pipelines.storage.listing import FileInfo
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError, StorageError

KINDS = [".tar", ".zip", "-stored.zip"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A ready split of 12 noisy images in two classes."""
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 7, 3), np.uint8)
        path = (
            tmp_path / "set" / ("test" if number % 4 == 0 else "train") / "pq"[number % 2] / f"{number}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    (tmp_path / "set/notes.txt").write_text("nothing")
    return tmp_path / "set"


def pack(folder: Path, kind: str, *, top: str = "set/") -> Path:
    """Pack a folder, in another order than that of names."""
    path = folder.with_name(f"packed{kind}")
    files = sorted((file for file in folder.rglob("*") if file.is_file()), reverse=True)
    names = [f"{top}{file.relative_to(folder)}" for file in files]
    if kind.endswith(".zip"):
        method = zipfile.ZIP_STORED if kind == "-stored.zip" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", method) as packed:
            for file, name in zip(files, names, strict=True):
                packed.write(file, name)
    else:
        with tarfile.open(path, "w:gz" if kind in (".tgz", ".tar.gz") else "w") as tar:
            for file, name in zip(files, names, strict=True):
                tar.add(file, name)
    return path


def config(root: Path, **settings: Any) -> DataConfig:
    return DataConfig(root=str(root), canvas_px=16, **settings)


def samples(root: Path) -> dict[str, np.ndarray]:
    settings = config(root)
    manifest = open_manifest(settings)
    storage = open_storage(manifest.root, settings)
    return {
        key: read_sample(manifest.row(row), storage, settings) for row, key in enumerate(manifest.keys_of())
    }


@pytest.mark.parametrize("top", ["", "set/", "./"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_holds_what_its_folder_holds(folder: Path, kind: str, top: str) -> None:
    path = pack(folder, kind, top=top)
    made, plain = open_manifest(config(path)), open_manifest(config(folder))
    # The data are the same; without checksums the files' times count too, and an archive has its own.
    assert made.fingerprint.samples == plain.fingerprint.samples
    assert made.fingerprint.contents == plain.fingerprint.contents
    assert made.keys_of() == plain.keys_of()
    found, expected = samples(path), samples(folder)
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_members_of_a_tar_are_ranges_of_it(folder: Path) -> None:
    path = pack(folder, ".tar")
    made = open_manifest(config(path))
    assert set(made.table["uri"].to_pylist()) == {path.name}
    assert made.root == str(path.parent)
    content = path.read_bytes()
    for key, offset, size in zip(
        made.keys_of(), made.table["offset"].to_pylist(), made.table["bytes"].to_pylist(), strict=True
    ):
        assert content[offset : offset + size] == (folder / key).read_bytes()


def read_all(manifest: Manifest, settings: DataConfig, answers: Any) -> None:
    storage = Storage(manifest.root)
    total = sum(
        int(read_sample(manifest.row(row), storage, settings).astype(np.int64).sum())
        for row in range(len(manifest))
    )
    answers.put((os.getpid(), total))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_several_processes_read_one_archive(folder: Path, kind: str, method: str) -> None:
    path = pack(folder, kind)
    settings = config(path)
    manifest = open_manifest(settings)
    expected = sum(int(image.astype(np.int64).sum()) for image in samples(path).values())
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    workers = [
        context.Process(target=read_all, args=(pickle.loads(pickle.dumps(manifest)), settings, answers))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = [answers.get() for _ in workers]
    for worker in workers:
        worker.join()
    assert [total for _, total in found] == [expected, expected]
    assert len({process for process, _ in found}) == 2


def test_each_process_opens_a_zip_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(folder, ".zip")
    opened: list[Path] = []
    original = storage_module._open

    def note(target: Any) -> Any:
        opened.append(target)
        return original(target)

    monkeypatch.setattr(storage_module, "_open", note)
    storage = Storage(str(path.parent))
    for _ in range(3):
        assert storage.read_bytes("packed.zip!/set/notes.txt") == b"nothing"
    assert opened == [path]
    # A forked process must not share its parent's place in the file.
    monkeypatch.setattr("pipelines.storage.archive_members.os.getpid", lambda: -1)
    assert Storage(str(path.parent)).read_bytes("packed.zip!/set/notes.txt") == b"nothing"
    assert opened == [path, path]


@pytest.mark.parametrize("kind", [".tar", ".zip"])
def test_files_of_an_archive(folder: Path, kind: str) -> None:
    storage = ArchiveStorage(str(pack(folder, kind)))
    plain = Storage(str(folder))
    assert list(storage.list_files()) == list(plain.list_files())
    assert list(storage.list_files("train")) == list(plain.list_files("train"))
    assert list(storage.list_files("", recursive=False)) == [FileInfo("notes.txt", 7)]
    for place in ("", "train", "train/p", "notes.txt", "tra", "notes", "train/p/x.png"):
        assert storage.exists(place) == plain.exists(place), place
    assert storage.read_bytes("notes.txt", offset=3, length=2) == b"hi"
    assert storage.read_bytes("notes.txt", offset=5, length=20) == b"ng"
    assert pickle.loads(pickle.dumps(storage)).read_bytes("notes.txt") == b"nothing"
    with pytest.raises(BadSample, match=rf"^missing: no member 'no' in .*packed{kind}$"):
        storage.read_bytes("no")
    with pytest.raises(StorageError, match=r"x cannot be written into an archive; name a folder$"):
        storage.write_atomic("x", b"")
    with pytest.raises(DataError, match=r"the member 'in\.zip' is an archive in an archive; unpack it$"):
        storage.open_input("in.zip")


def test_a_damaged_member_is_a_bad_sample(folder: Path) -> None:
    path = pack(folder, ".zip")
    made = open_manifest(config(path))
    storage = Storage(made.root)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as packed:
        info = packed.getinfo("set/train/q/1.png")
    data[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 0xFF
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    with pytest.raises(BadSample, match=r"^damaged in the archive: "):
        read_sample(made.row(made.keys_of().index("train/q/1.png")), storage, config(path))
    assert read_sample(made.row(made.keys_of().index("train/q/3.png")), storage, config(path)).any()
    with pytest.raises(BadSample, match=r"^missing: no member 'gone' in "):
        storage.read_bytes("packed.zip!/gone")
    path.write_bytes(b"PK")
    with pytest.raises(BadSample, match=r"^damaged in the archive: File is not a zip file"):
        storage.read_bytes("packed.zip!/set/train/q/3.png")
    path.unlink()
    with pytest.raises(BadSample, match=r"^missing: No such file or directory$"):
        storage.read_bytes("packed.zip!/set/train/q/3.png")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", ["none", "encoded", "uint8"])
def test_archives_can_be_prepared(folder: Path, tmp_path: Path, kind: str, shards: Any) -> None:
    expected = samples(folder)
    path = pack(folder, kind)
    assert prepare(config(path), str(tmp_path / "out"), shards=shards).num_samples == 12
    if shards != "none":
        path.unlink()
    found = samples(tmp_path / "out")
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_raw_records_in_archives(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 96, 96), np.uint8)
    home = tmp_path / "stl10_binary"
    home.mkdir()
    (home / "train_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
    (home / "train_y.bin").write_bytes(bytes(n % 10 + 1 for n in range(20)))
    for kind in (".tar", "-stored.zip"):
        path = pack(home, kind, top="stl10_binary/")
        settings = DataConfig(root=str(path), canvas_px=96)
        made = open_manifest(settings)
        storage = Storage(made.root)
        for number in (0, 7, 19):
            row = made.keys_of().index(f"train_X/{number:06d}")
            assert np.array_equal(read_sample(made.row(row), storage, settings), images[number])
    text = r"train_X\.bin is compressed, so that single images cannot be read from it; unpack the archive and"
    with pytest.raises(DataError, match=text):
        open_manifest(DataConfig(root=str(pack(home, ".zip"))))
    # The official download is compressed as a whole: prepared once, it is read by ranges.
    packed = pack(home, ".tar.gz", top="stl10_binary/")
    settings = DataConfig(root=str(packed), canvas_px=96)
    prepare(settings, str(tmp_path / "out"), shards="encoded")
    prepared = open_manifest(DataConfig(root=str(tmp_path / "out")))
    assert prepared.table["bytes"].to_pylist() == [27648] * 20
    row = prepared.keys_of().index("train_X/000007")
    assert np.array_equal(read_sample(prepared.row(row), Storage(prepared.root), settings), images[7])


@pytest.mark.parametrize("kind", [".tgz", ".tar.gz"])
def test_a_gzipped_tar_is_prepared_first(folder: Path, tmp_path: Path, kind: str) -> None:
    path = pack(folder, kind)
    text = (
        rf"^data\.root {path}: is compressed as a whole, so that single images cannot be read from it; run "
        rf"`raytrain prepare --data\.root {path} --shards encoded --out DIR` once and use data\.root DIR$"
    )
    with pytest.raises(ConfigError, match=text):
        open_manifest(config(path))
    with pytest.raises(ConfigError, match=text):
        inspect(config(path))
    with pytest.raises(ConfigError, match=r"so that its samples must be packed; add --shards encoded$"):
        prepare(config(path), str(tmp_path / "out"))
    out = tmp_path / "deep/out"
    first = prepare(config(path), str(out), shards="encoded")
    assert (first.num_samples, first.already_done) == (12, False)
    assert prepare(config(path), str(out), shards="encoded").already_done
    assert [file.name for file in out.parent.iterdir()] == ["out"]
    expected, found = samples(folder), samples(out)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_gzipped_tars_that_cannot_be_unpacked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.root .*/no\.tgz: no such file; check the path$"):
        prepare(config(tmp_path / "no.tgz"), str(tmp_path / "out"), shards="encoded")
    with pytest.raises(
        ConfigError, match=r"^data\.root s3://b/no\.tgz: copy the archive to a local disk firs"
    ):
        prepare(DataConfig(root="s3://b/no.tgz"), str(tmp_path / "out"), shards="encoded")
    path = pack(folder, ".tgz")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(
        DataError, match=r"packed\.tgz: not a whole gzip file: .*; copy or download it again$"
    ):
        prepare(config(path), str(tmp_path / "out"), shards="encoded")
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"packed\.tgz: not a whole gzip file: Not a gzipped file"):
        prepare(config(path), str(tmp_path / "out"), shards="encoded")
    assert not list(tmp_path.glob(".unpacked-*"))


def test_a_full_disk_while_unpacking(folder: Path, tmp_path: Path) -> None:
    import resource

    (folder / "big.bin").write_bytes(np.random.default_rng(0).bytes(200_000))
    path = pack(folder, ".tgz")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"packed\.tar: cannot be written: File too large; free space"):
            prepare(config(path), str(tmp_path / "out"), shards="encoded")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archives_that_are_none(tmp_path: Path, folder: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    path.write_bytes(b"something else, long enough to be a header" * 100)
    with pytest.raises(
        DataError, match=rf"x\.{kind}: not a whole {kind} archive: .*; copy or download it again$"
    ):
        open_manifest(config(path))
    whole = pack(folder, f".{kind}").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"x\.{kind}: not a whole {kind} archive: "):
        open_manifest(config(path))


def test_files_that_are_no_root(tmp_path: Path) -> None:
    path = tmp_path / "x.rar"
    path.write_bytes(b"Rar!")
    with pytest.raises(
        DataError,
        match=r"x\.rar: is a file; name the folder that holds the data set, a \.tar or \.zip of it, or a",
    ):
        open_manifest(config(path))


def test_a_flat_archive(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in folder.rglob("*.png"):
        file.rename(flat / file.name)
    made = open_manifest(config(pack(flat, ".zip", top="photos/")))
    assert len(made.indices("pretrain")) == 12
    assert set(made.labels.tolist()) == {-1}


@pytest.mark.parametrize("kind", KINDS)
def test_archives_in_a_bucket(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = pack(folder, kind)
    bucket = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())

    def from_uri(uri: str) -> tuple[fs.FileSystem, str]:
        return bucket, uri.removeprefix("s3://bucket/")

    names = {name: getattr(fs, name) for name in ("FileType", "FileSelector", "LocalFileSystem")}
    fake = SimpleNamespace(FileSystem=SimpleNamespace(from_uri=from_uri), **names)
    monkeypatch.setattr(storage_module, "fs", fake)
    settings = DataConfig(root=f"s3://bucket/{path.name}", canvas_px=16)
    made = open_manifest(settings)
    assert made.fingerprint.contents == open_manifest(config(folder)).fingerprint.contents
    storage = open_storage(made.root, settings)
    expected = samples(folder)
    for row, key in enumerate(made.keys_of()):
        assert np.array_equal(read_sample(made.row(row), storage, settings), expected[key])


def test_a_folder_called_like_an_archive_is_a_folder(folder: Path, tmp_path: Path) -> None:
    expected = samples(folder)
    folder.rename(tmp_path / "set.zip")
    found = samples(tmp_path / "set.zip")
    assert all(np.array_equal(found[key], expected[key]) for key in expected)
