import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.forms.quarantine import BadSample
from pipelines.sources import open_manifest
from pipelines.storage import archive_members
from pipelines.storage.archive import unpack_gzip
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError


def config(root: Path) -> DataConfig:
    return DataConfig(root=str(root))


def tar_of(path: Path, *infos: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def tar_entry(name: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        info.linkname = "a.png"
    return info


def zip_of(path: Path, *names: str, change: Callable[[zipfile.ZipInfo], Any] = lambda _: None) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            info = zipfile.ZipInfo(name)
            change(info)
            packed.writestr(info, b"x")
    return path


UNSAFE = ["/etc/passwd", "../a.png", "p/../../a.png", "C:/a.png", "..\\a.png", "p/.."]


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    zip_of(path, "a.png", name) if kind == "zip" else tar_of(path, tar_entry("a.png"), tar_entry(name))
    shown = repr(name).replace("\\", "\\\\").replace(".", r"\.")
    with pytest.raises(
        DataError, match=rf"x\.{kind}: the member {shown} leads out of the archive; pack it wit"
    ):
        open_manifest(config(path))
    assert DataError.exit_code == 3


def test_tars_joined_in_one_file_are_read_to_the_last(tmp_path: Path) -> None:
    parts = [tar_of(tmp_path / f"{name}.tar", *entries(name)) for name in "abc"]
    path = tmp_path / "set.tar"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    manifest = open_manifest(config(path))
    keys = manifest.table["key"].to_pylist()
    assert keys == [f"{name}/{i}.png" for name in "abc" for i in range(2)]
    places = manifest.table["offset"].to_pylist()
    data = path.read_bytes()
    assert [data[place - 512 : place - 505].decode() for place in places] == keys
    (note,) = manifest.notes
    assert note.endswith(
        "set.tar: 4 members lie behind the first end of the archive, e.g. b/0.png (several tars joined in "
        "one file); they are read too"
    )


def test_of_members_of_one_name_the_last_counts(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "set.tar", *entries("a"), *entries("b"), *entries("a"))
    manifest = open_manifest(config(path))
    assert manifest.table["key"].to_pylist() == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    assert manifest.table["offset"].to_pylist()[:2] == [512 + 1024 * place for place in (4, 5)]
    (note,) = manifest.notes
    assert note.endswith("set.tar: 2 members have the name of an earlier one, e.g. a/0.png; the last counts")


def entries(name: str) -> list[tarfile.TarInfo]:
    return [tar_entry(f"{name}/{i}.png", size=100) for i in range(2)]


def test_a_tar_that_ends_between_two_members_says_so(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "set.tar", *entries("a"), *entries("b"))
    path.write_bytes(path.read_bytes()[: 4 * 1024])
    (note,) = open_manifest(config(path)).notes
    assert note.endswith("set.tar: has no end mark, so that it may be cut off behind its member b/1.png")


def test_a_header_that_is_damaged_does_not_end_the_tar(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "set.tar", *entries("a"), *entries("b"))
    data = bytearray(path.read_bytes())
    data[2048:2078] = b"?" * 30
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"not a whole tar archive: no member begins at byte 2048, where the"):
        open_manifest(config(path))


def test_zips_joined_in_one_file_are_refused(tmp_path: Path) -> None:
    parts = [zip_of(tmp_path / f"{name}.zip", f"{name}/0.png") for name in "ab"]
    path = tmp_path / "set.zip"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(DataError, match=r"set\.zip: its first 113 bytes are another zip, whose members are"):
        open_manifest(config(path))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.FIFOTYPE, "no plain file"),
        (tarfile.CHRTYPE, "no plain file"),
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes, said: str) -> None:
    path = tar_of(tmp_path / "x.tar", tar_entry("a.png"), tar_entry("b.png", kind=kind))
    with pytest.raises(DataError, match=rf"x\.tar: the member 'b\.png' is {said}; pack plain files only"):
        open_manifest(config(path))


def test_members_of_a_zip_that_are_refused(tmp_path: Path) -> None:
    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    def packed_otherwise(info: zipfile.ZipInfo) -> None:
        info.compress_type = zipfile.ZIP_BZIP2

    path = zip_of(tmp_path / "x.zip", "a.png", change=link)
    with pytest.raises(DataError, match=r"the member 'a\.png' is a link; pack plain files only$"):
        open_manifest(config(path))
    zip_of(path, "a.png", change=packed_otherwise)
    with pytest.raises(DataError, match=r"packed by method 12; known: 0 \(store\), 8 \(deflate\); pack it"):
        open_manifest(config(path))
    zip_of(path, "a.png")
    data = bytearray(path.read_bytes())
    data[6] |= 1  # in the local header
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"the member 'a\.png' is encrypted; pack it without a password$"):
        open_manifest(config(path))
    zip_of(path, "a.png")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 24] = 9
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"'a\.png' is stored as 1 bytes but states 9; pack it again$"):
        open_manifest(config(path))


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_limits_of_names_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = tmp_path / f"x.{kind}"

    def write(*names: str) -> None:
        zip_of(path, *names) if kind == "zip" else tar_of(path, *map(tar_entry, names))

    if kind == "zip":
        write("a.png", "./a.png")
        with pytest.raises(
            DataError, match=r"x\.zip: holds two members called 'a\.png'; pack it again with on"
        ):
            open_manifest(config(path))
    write("p/" * 600 + "a.png")
    with pytest.raises(DataError, match=r"has a name of 1205 characters, more than 1000; rename it$"):
        open_manifest(config(path))
    monkeypatch.setattr(archive_members, "MAX_MEMBERS", 3)
    write("a.png", "b.png", "c.png")
    assert len(open_manifest(config(path))) == 3
    write("a.png", "b.png", "c.png", "d.png")
    with pytest.raises(
        DataError, match=rf"x\.{kind}: holds more than 3 members; pack it as several archives$"
    ):
        open_manifest(config(path))


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", tar_entry("caf\udce9.png"))
    with pytest.raises(
        DataError, match=r"x\.tar: the member name 'caf\\udce9\.png' is not UTF-8; rename it$"
    ):
        open_manifest(config(path))


def bomb(path: Path, size: int, *, count: int = 1) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(count):
            packed.writestr(f"{number}.bmp", bytes(size))
    return path


def test_decompression_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bomb(tmp_path / "x.zip", 2**21)
    text = (
        r"'0\.bmp': unpacks \d+ bytes to 2097152, more than 200 times; this looks like a decompression bomb;"
    )
    with pytest.raises(DataError, match=text):
        open_manifest(config(path))
    # Small members are harmless one by one; not thousands of them.
    bomb(path, 2**19, count=8)
    with pytest.raises(DataError, match=r"x\.zip: unpacks \d+ bytes to 4194304, more than 200 times"):
        open_manifest(config(path))
    with pytest.raises(BadSample, match=r"unpacks \d+ bytes to 2097152"):
        Storage(str(tmp_path)).read_bytes(f"{bomb(tmp_path / 'y.zip', 2**21).name}!/0.bmp")
    monkeypatch.setattr(archive_members, "MAX_LOADED_BYTES", 1000)
    noise = np.random.default_rng(0).bytes(2000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.png", noise)
    with pytest.raises(
        DataError, match=r"'a\.png' unpacks to 2000 bytes, more than 1000; unpack the archive"
    ):
        open_manifest(config(path))


def test_a_gzip_bomb_is_stopped_on_the_way(tmp_path: Path) -> None:
    path, target = tmp_path / "x.tgz", tmp_path / "x.tar"
    path.write_bytes(gzip.compress(bytes(2**27)))
    with pytest.raises(DataError, match=r"x\.tgz: unpacks \d+ bytes to \d+, more than 200 times; this looks"):
        unpack_gzip(path, target)
    assert target.stat().st_size < 2**26
