import errno
import os
import pickle
import resource
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyarrow import fs

from pipelines.forms.quarantine import BadSample
from pipelines.storage import places as storage_module
from pipelines.storage import ranges as ranges_module
from pipelines.storage.listing import FileInfo
from pipelines.storage.places import Storage
from pipelines.storage.ranges import Range
from raytrain.errors import DataError, StorageError


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "_FIRST_PAUSE_S", 0.001)


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())


def test_reads_whole_files_and_ranges(tmp_path: Path) -> None:
    write(tmp_path, "a/b.bin")
    for storage in (Storage(str(tmp_path)), Storage(f"file://{tmp_path}")):
        assert storage.read_bytes("a/b.bin") == b"a/b.bin"
        assert storage.read_bytes("a/b.bin", offset=2, length=3) == b"b.b"
        assert storage.read_bytes("a/b.bin", offset=5, length=30) == b"in"
    assert Storage("/elsewhere").read_bytes(str(tmp_path / "a/b.bin")) == b"a/b.bin"


def test_short_reads_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a/bcdefg")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, offset: pread(file, min(size, 3), offset))
    storage = Storage(str(tmp_path))
    assert storage.read_bytes("a/bcdefg") == b"a/bcdefg"
    assert storage.read_bytes("a/bcdefg", offset=1, length=5) == b"/bcde"
    assert storage.read_bytes("a/bcdefg", offset=50) == b""


def test_reads_through_any_pyarrow_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())

    def from_uri(uri: str) -> tuple[fs.FileSystem, str]:
        return bucket, uri.removeprefix("s3://")

    names = {name: getattr(fs, name) for name in ("FileType", "FileSelector", "LocalFileSystem")}
    fake = SimpleNamespace(FileSystem=SimpleNamespace(from_uri=from_uri), **names)
    monkeypatch.setattr(storage_module, "fs", fake)
    storage = Storage("s3://bucket/set")
    bucket.create_dir("bucket/set/b")
    storage.write_atomic("b/two", b"22")
    storage.write_atomic("b.txt", b"1")
    storage.write_atomic("a", b"0123")
    assert list(storage.list_files()) == [FileInfo("a", 4), FileInfo("b/two", 2), FileInfo("b.txt", 1)]
    assert list(storage.list_files("b")) == [FileInfo("b/two", 2)]
    assert storage.read_bytes("a", offset=1, length=2) == b"12"
    assert storage.read_ranges([Range("a", 1, 2), Range("a", 3, 9)]) == [b"12", b"3"]
    assert storage.exists("a")
    assert not storage.exists("c")
    with pytest.raises(BadSample, match=r"^missing: "):
        storage.read_bytes("c")
    with pytest.raises(DataError, match="cannot be listed: "):
        list(storage.list_files("c"))
    storage.remove_folder("b")
    assert [file.path for file in storage.list_files()] == ["a", "b.txt"]


def test_many_ranges_are_read_at_one_hand_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 400
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(content[::-1])
    storage = Storage(str(tmp_path))
    places = [("a", 70_000, 10), ("b", 5, 20), ("a", 3, 4), ("a", 5, 100), ("a", len(content) - 3, 50)]
    ranges = [Range(*place) for place in [*places, ("a", 2 * len(content), 5), ("b", 0, 0), ("a", 3, 4)]]
    handed, calls = 0, 0
    within, pread = storage._within_limit, os.pread

    def count_hand_overs(work: Any) -> Any:
        nonlocal handed
        handed += 1
        return within(work)

    def count_reads(file: int, size: int, offset: int) -> bytes:
        nonlocal calls
        calls += 1
        return pread(file, size, offset)

    monkeypatch.setattr(storage, "_within_limit", count_hand_overs)
    monkeypatch.setattr(os, "pread", count_reads)
    whole = {"a": content, "b": content[::-1]}
    expected = [whole[wanted.uri][wanted.offset : wanted.offset + wanted.length] for wanted in ranges]
    assert storage.read_ranges(ranges) == expected
    assert handed == 1
    assert calls == 5  # of a: the neighbours at 3 and 5 in one piece, 70,000, the end, beyond it; of b: both
    assert storage.read_ranges([]) == []


def test_long_neighbours_are_not_joined_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges_module, "_JOINED_BYTES", 100)
    (tmp_path / "a").write_bytes(bytes(range(250)))
    asked: list[int] = []
    pread = os.pread
    monkeypatch.setattr(
        os, "pread", lambda file, size, offset: asked.append(size) or pread(file, size, offset)
    )
    ranges = [Range("a", start, 40) for start in range(0, 240, 40)]
    assert b"".join(Storage(str(tmp_path)).read_ranges(ranges)) == bytes(range(240))  # type: ignore[arg-type]
    assert asked == [80, 80, 80]


def test_a_range_that_cannot_be_read_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as zipped:
        zipped.writestr("c", b"zipped")
    storage = Storage(str(tmp_path), read_retries=2)
    ranges = [Range("a", 1, 2), Range("gone", 0, 5), Range("b.zip!/c", 0, 6), Range("a", 4, 2)]
    first, gone, zipped_bytes, last = storage.read_ranges(ranges)
    assert (first, zipped_bytes, last) == (b"12", b"zipped", b"45")
    assert isinstance(gone, BadSample)
    assert gone.reason == "missing: No such file or directory"

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(storage_module, "read_joined", fail)
    assert storage.read_ranges(ranges[::3]) == [b"12", b"45"]
    monkeypatch.setattr(storage_module, "read_range", fail)
    with pytest.raises(StorageError, match=r"^a: cannot be read after 3 attempts: Input/output error"):
        storage.read_ranges(ranges[::3])


def test_ranges_that_hang_are_read_again_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    never = threading.Event()
    monkeypatch.setattr(storage_module, "read_joined", lambda *_: never.wait())
    storage = Storage(str(tmp_path), read_timeout_s=0.5)
    assert storage.read_ranges([Range("a", 1, 2)]) == [b"12"]
    never.set()


def test_missing_and_forbidden_files_are_bad_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a/b")
    storage = Storage(str(tmp_path))
    with pytest.raises(BadSample, match=r"^missing: No such file or directory$"):
        storage.read_bytes("nowhere")
    with pytest.raises(BadSample, match=r"^missing: Is a directory$"):
        storage.read_bytes("a")
    with pytest.raises(BadSample, match=r"^missing: Not a directory$"):
        storage.read_bytes("a/b/c")

    def forbid(*_: object) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(storage_module, "read_range", forbid)
    with pytest.raises(BadSample, match=r"^missing: Permission denied$"):
        storage.read_bytes("a/b")


@pytest.mark.parametrize(("retries", "failures", "succeeds"), [(2, 2, True), (2, 3, False), (0, 1, False)])
def test_other_failures_are_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retries: int, failures: int, succeeds: bool
) -> None:
    calls = 0

    def flaky(*_: object) -> bytes:
        nonlocal calls
        calls += 1
        if calls <= failures:
            raise OSError(errno.EIO, "Input/output error")
        return b"at last"

    monkeypatch.setattr(storage_module, "read_range", flaky)
    storage = Storage(str(tmp_path), read_retries=retries)
    if succeeds:
        assert storage.read_bytes("x") == b"at last"
    else:
        with pytest.raises(
            StorageError, match=rf"^x: cannot be read after {retries + 1} attempts: Input/output"
        ):
            storage.read_bytes("x")
    assert calls == min(failures + 1, retries + 1)


def test_a_read_that_hangs_times_out_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    original = storage_module.read_range
    monkeypatch.setattr(storage_module, "read_range", lambda *_: never.wait() and b"")
    storage = Storage(str(tmp_path), read_timeout_s=0.02, read_retries=1)
    with pytest.raises(
        StorageError, match=r"slow: .* 2 attempts: no answer within 0\.02 s; .*data\.read_timeout_s"
    ):
        storage.read_bytes("slow")
    never.set()
    monkeypatch.setattr(storage_module, "read_range", original)
    write(tmp_path, "fast")
    patient = pickle.loads(pickle.dumps(storage))
    patient.read_timeout_s = 30
    assert patient.read_bytes("fast") == b"fast"
    storage.read_timeout_s = 30
    assert storage.read_bytes("fast") == b"fast"


def test_lists_in_the_order_of_names_and_follows_links(tmp_path: Path) -> None:
    write(tmp_path / "data", "b/2.png", "b/1.png", "a.png", "b.png")
    write(tmp_path, "other/z/3.png")
    (tmp_path / "data/c").symlink_to(tmp_path / "other")
    (tmp_path / "data/d.png").symlink_to(tmp_path / "nowhere")
    storage = Storage(str(tmp_path / "data"))
    found = [(file.path, file.size) for file in storage.list_files()]
    expected = [("a.png", 5), ("b/1.png", 7), ("b/2.png", 7), ("b.png", 5), ("c/z/3.png", 13), ("d.png", -1)]
    assert found == expected
    assert [file.path for file in storage.list_files("b")] == ["b/1.png", "b/2.png"]
    assert [file.path for file in storage.list_files("", recursive=False)] == ["a.png", "b.png", "d.png"]


def test_link_loops_are_named(tmp_path: Path) -> None:
    write(tmp_path, "class/sub/1.png")
    (tmp_path / "class/sub/up").symlink_to(tmp_path / "class")
    with pytest.raises(
        DataError, match=r"class/sub/up: a symbolic link that leads back to .*/class; remove it"
    ):
        list(Storage(str(tmp_path)).list_files())
    (tmp_path / "class/sub/up").unlink()
    (tmp_path / "class/x").symlink_to(tmp_path / "class/x")
    with pytest.raises(DataError, match="class/x: a symbolic link that loops; remove it"):
        list(Storage(str(tmp_path)).list_files())


def test_two_links_to_one_folder_are_no_loop(tmp_path: Path) -> None:
    write(tmp_path, "data/a/1.png")
    (tmp_path / "data/b").symlink_to(tmp_path / "data/a")
    assert [file.path for file in Storage(str(tmp_path / "data")).list_files()] == ["a/1.png", "b/1.png"]


def test_unlistable_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        list(Storage(str(tmp_path / "nowhere")).list_files())
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: cannot be listed: Not a directory"):
        list(Storage(str(tmp_path / "file")).list_files())


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).touch()
    with pytest.raises(DataError, match=r"the file name 'caf\\udce9\.png' is not UTF-8; rename it"):
        list(Storage(str(tmp_path)).list_files())


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write_atomic("deep/file", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StorageError, match="deep/file: cannot be written: File too large; free space"):
            storage.write_atomic("deep/file", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]
    assert (tmp_path / "deep/file").read_bytes() == b"old"
    assert StorageError.exit_code == 6


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/x: cannot be written: (Not a directory|File exists)"):
        Storage(str(tmp_path)).write_atomic("file/x", b"")


def test_unknown_schemes_are_refused() -> None:
    with pytest.raises(DataError, match="nope://x: not a place that data can be read from"):
        Storage("nope://x").read_bytes("")
