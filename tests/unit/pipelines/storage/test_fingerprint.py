import os
import pickle
import shutil
import time
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.sources import open_manifest
from pipelines.storage import listing
from pipelines.storage.fingerprint import MAX_SAMPLED, PIECE_BYTES, Fingerprint, sampled
from pipelines.storage.manifest import Manifest, table_from_columns
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig, SplitRootsConfig
from raytrain.errors import DataError, StorageError

THEN = 1_700_000_000_000_000_000


def write(path: Path, data: bytes, *, time_ns: int = THEN) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(THEN, time_ns))


def ppm_folder(root: Path, *, noise: bool, num: int = 24) -> Manifest:
    """A class folder of equally many PPM files of one size, all of one time."""
    for number in range(num):
        draw = np.random.default_rng(number)
        pixels = draw.integers(0, 256, 192, np.uint8) if noise else np.full(192, 128, np.uint8)
        write(root / "ab"[number % 2] / f"{number:02d}.ppm", b"P6 8 8 255\n" + pixels.tobytes())
    return again(root)


def again(root: Path) -> Manifest:
    """The manifest of a root, its files looked at."""
    made = open_manifest(DataConfig(root=str(root)))
    assert made.hash
    return made


def test_other_files_of_the_same_names_and_sizes_are_other_data(tmp_path: Path) -> None:
    grey, noise = ppm_folder(tmp_path / "grey", noise=False), ppm_folder(tmp_path / "noise", noise=True)
    assert grey.fingerprint.samples == noise.fingerprint.samples
    assert grey.fingerprint.files == noise.fingerprint.files
    assert grey.fingerprint.contents != noise.fingerprint.contents
    assert grey.hash != noise.hash
    shutil.copytree(tmp_path / "grey", tmp_path / "copy")  # with its times
    assert again(tmp_path / "copy").hash == grey.hash


def test_one_file_changed_in_place_is_seen_by_its_time(tmp_path: Path) -> None:
    before = ppm_folder(tmp_path, noise=True, num=300)
    rows = sampled(np.arange(300))
    row = next(number for number in range(300) if number not in rows)
    write(tmp_path / before.keys_of(np.array([row]))[0], b"P6 8 8 255\n" + bytes(192), time_ns=THEN + 1)
    after = again(tmp_path)
    assert after.fingerprint.contents == before.fingerprint.contents
    assert after.hash != before.hash
    words = after.fingerprint.what_differs(asdict(before.fingerprint))
    assert words.startswith("only the files' times of change differ, as after an edit in place or a copy")
    assert "(cp without -p, rsync without -t; `raytrain prepare` once, and data" in words


def test_what_differs_is_said(tmp_path: Path) -> None:
    now = Fingerprint(samples="a", files="b", contents="c")
    for former, words in (
        ({}, "a version of raytrain began it that told data apart by other means"),
        ({"samples": "x", "files": "b", "contents": "x"}, "other samples, sizes, labels, splits or groups"),
        ({"samples": "a", "files": "x", "contents": "x"}, "the files hold something else"),
    ):
        assert now.what_differs(former) == words
    assert len({now.hash, Fingerprint(samples="a").hash, Fingerprint(samples="a", files="bc").hash}) == 3


def listed(num: int, **changes: Any) -> Manifest:
    names = [f"{number}.bin" for number in range(num)]
    columns: dict[str, Any] = {
        "key": names,
        "uri": names,
        "label": [0] * num,
        "split": ["train"] * num,
        "group": names,
    }
    return Manifest(table=table_from_columns(**columns | changes), root="/no/where", classes=("a", "b"))


def test_checksums_say_all_and_no_file_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("looked at a file")

    monkeypatch.setattr(Storage, "read_bytes", refuse)
    monkeypatch.setattr(Storage, "sizes_and_times", refuse)
    checked = listed(3, checksum=["aa", "bb", "cc"]).fingerprint
    assert (checked.files, checked.contents) == ("", "")
    drawn = listed(2, uri=["shapes://0", "shapes://1"]).fingerprint  # made from their uris
    assert (drawn.files, drawn.contents) == ("", "")
    with pytest.raises(AssertionError, match="looked at a file"):
        _ = listed(3, checksum=["aa", "", "cc"]).hash


def test_the_hash_is_taken_when_asked_for_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ppm_folder(tmp_path, noise=False)
    made = open_manifest(DataConfig(root=str(tmp_path)))
    assert "fingerprint" not in made.__dict__
    first = made.hash
    monkeypatch.setattr(Storage, "sizes_and_times", None)
    assert made.hash == first
    assert pickle.loads(pickle.dumps(made)).hash == first


def test_samples_are_spread_and_few() -> None:
    rows = sampled(np.arange(1000, 11_000))
    assert len(rows) == MAX_SAMPLED
    assert (rows[0], rows[-1]) == (1000, 10_999)
    assert np.diff(rows).min() >= 158
    assert sampled(np.array([4, 9])).tolist() == [4, 9]


@pytest.mark.parametrize("place", [0, PIECE_BYTES - 1, PIECE_BYTES + 4999, -1])
def test_large_files_are_read_at_both_ends(tmp_path: Path, place: int) -> None:
    data = bytearray(np.random.default_rng(0).bytes(PIECE_BYTES + 5000))
    write(tmp_path / "a" / "1.png", bytes(data))
    write(tmp_path / "b" / "2.png", bytes(data))
    before = again(tmp_path).fingerprint
    data[place] ^= 1
    write(tmp_path / "b" / "2.png", bytes(data))
    assert again(tmp_path).fingerprint.contents != before.contents


def test_the_middle_of_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.png", "b/2.png"):
        write(tmp_path / name, bytes(10 * PIECE_BYTES))
    read: list[int] = []
    whole = Storage.read_bytes

    def counted(self: Storage, uri: str, **ranged: Any) -> bytes:
        data = whole(self, uri, **ranged)
        read.append(len(data))
        return data

    monkeypatch.setattr(Storage, "read_bytes", counted)
    assert again(tmp_path).hash
    assert read == [PIECE_BYTES] * 4


def test_records_of_one_file_are_told_apart(tmp_path: Path) -> None:
    def made(data: bytes) -> Fingerprint:
        write(tmp_path / "batch.bin", data)
        table = listed(
            4, uri=["batch.bin"] * 4, offset=[0, 3, 6, 9], bytes_=[3] * 4, payload=["u8:chw:3x1x1"] * 4
        ).table
        return Manifest(table=table, root=str(tmp_path), classes=("a", "b")).fingerprint

    first = made(b"abcdefghijkl")
    assert made(b"abcdefghijkl") == first
    changed = made(b"abcdefXhijkl")
    assert (changed.samples, changed.files) == (first.samples, first.files)
    assert changed.contents != first.contents


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_of_archives_are_looked_at(tmp_path: Path, method: int) -> None:
    def made(shade: int) -> Manifest:
        path = tmp_path / "data.zip"
        with zipfile.ZipFile(path, "w", method) as packed:
            for name in ("a/1.ppm", "b/2.ppm"):
                member = zipfile.ZipInfo(name)
                member.compress_type = method
                packed.writestr(member, b"P6 8 8 255\n" + bytes([shade]) * 192)
        os.utime(path, ns=(THEN, THEN))
        return again(path)

    grey, white = made(128), made(255)
    assert grey.fingerprint.samples == white.fingerprint.samples
    assert grey.fingerprint.contents != white.fingerprint.contents
    os.utime(tmp_path / "data.zip", ns=(THEN, THEN + 5))
    assert again(tmp_path / "data.zip").fingerprint.files != white.fingerprint.files


def test_folders_of_frames_are_looked_at(tmp_path: Path) -> None:
    for clip in ("x", "y"):
        for number in range(5):
            write(tmp_path / clip / f"{number}.ppm", b"P6 1 1 255\n" + bytes([number] * 3))
        os.utime(tmp_path / clip, ns=(THEN, THEN))
    config = DataConfig(root=str(tmp_path), source="frames")
    before = open_manifest(config).fingerprint
    assert open_manifest(config).fingerprint == before
    write(tmp_path / "y" / "2.ppm", b"P6 1 1 255\n" + bytes(3))
    after = open_manifest(config).fingerprint
    assert (after.samples, after.files) == (before.samples, before.files)
    assert after.contents != before.contents
    write(tmp_path / "y" / "new.ppm", b"P6 1 1 255\n" + bytes(3))
    assert open_manifest(config).fingerprint.files != before.files


def test_elsewhere_only_the_sampled_files_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "is_local", lambda self, uri: False)
    ppm_folder(tmp_path, noise=True, num=200)
    made = open_manifest(DataConfig(root=str(tmp_path)))
    asked: list[str] = []
    plain = Storage.sizes_and_times

    def counted(self: Storage, uris: list[str]) -> list[tuple[int, int]]:
        asked.extend(uris)
        return plain(self, uris)

    monkeypatch.setattr(Storage, "sizes_and_times", counted)
    assert made.hash
    assert set(asked) == set(made.keys_of(sampled(np.arange(200))))


def test_sizes_and_times_through_a_file_system(tmp_path: Path) -> None:
    write(tmp_path / "a", b"four")
    storage = Storage(str(tmp_path))
    assert storage.sizes_and_times(["a", "none"]) == [(4, THEN), (-1, 0)]
    assert Storage("").sizes_and_times([f"file://{tmp_path}/a", f"{tmp_path}/a"]) == [(4, THEN)] * 2
    assert storage.is_local("a")
    assert not storage.is_local("s3://bucket/a")
    assert not Storage("s3://bucket").is_local("a")


def test_what_is_missing_is_left_to_whoever_reads_it() -> None:
    made = listed(3)
    assert made.hash == listed(3).hash


def test_a_storage_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ppm_folder(tmp_path, noise=False)
    made = open_manifest(DataConfig(root=str(tmp_path)))

    def fail(self: Storage, uri: str, **_: Any) -> bytes:
        raise StorageError(f"{uri}: cannot be read after 4 attempts")

    monkeypatch.setattr(Storage, "read_bytes", fail)
    with pytest.raises(StorageError, match="cannot be read after 4 attempts"):
        _ = made.hash


def test_null_checksums_are_missing_ones() -> None:
    table = listed(2).table
    place = table.column_names.index("checksum")
    nulls = table.set_column(place, "checksum", pa.array([None, "aa"], pa.large_string()))
    made = Manifest(table=nulls, root="/no/where", classes=("a", "b"))
    assert made.fingerprint.files


def test_a_file_that_grew_below_a_kept_list_is_refused_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "KEPT_FROM", 3)
    later = time.time_ns() + 10 * 10**9  # a list of folders that have just changed is not kept
    monkeypatch.setattr("time.time_ns", lambda: later)
    root = tmp_path / "data"
    ppm_folder(root, noise=False, num=4)
    assert (tmp_path / "cache/.lists").exists()
    with (root / "a/02.ppm").open("ab") as file:
        file.write(b"56")
    with pytest.raises(
        DataError,
        match=r"data/a/02\.ppm: had 203 bytes when it was listed and has 205 now: changed in place; run the "
        r"same command again, which lists all anew",
    ):
        again(root)
    assert again(root).table["bytes"].to_pylist() == [203, 205, 203, 203]
    # Of joined roots, whose manifest has none, too.
    with (root / "a/02.ppm").open("ab") as file:
        file.write(b"7")
    joined = DataConfig(splits=SplitRootsConfig(pretrain=str(root), test=str(tmp_path / "other")))
    ppm_folder(tmp_path / "other", noise=True, num=4)
    with pytest.raises(DataError, match=r"data/a/02\.ppm: had 205 bytes when it was listed and has 206 now"):
        _ = open_manifest(joined).hash
    assert open_manifest(joined).hash
