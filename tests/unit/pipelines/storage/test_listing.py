import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import sources
from pipelines.sources import open_manifest
from pipelines.storage import listing
from pipelines.storage.cache_folder import cache_folder
from pipelines.storage.listing import FileInfo, list_tree
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two class folders that changed long ago, in a world where lists of three files are kept."""
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "KEPT_FROM", 3)
    for name in ("a/1.png", "a/2.png", "b/c/3.png", "b/4.png"):
        write(tmp_path / "data" / name, b"1234")
    settle(tmp_path / "data")
    return tmp_path / "data"


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def settle(root: Path) -> None:
    """Let all folders have changed an hour ago; their times of state are of now, see `listed`."""
    then = time.time_ns() - 3600 * 10**9
    for folder, _, _ in os.walk(root, topdown=False):
        os.utime(folder, ns=(then, then))


@pytest.fixture(autouse=True)
def _later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every list be made ten seconds from now, so that nothing changed just before."""
    now = time.time_ns
    monkeypatch.setattr("time.time_ns", lambda: now() + 10 * 10**9)


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were listed."""
    found: list[str] = []
    plain = listing._sorted_entries

    def counted(folder: str) -> list["os.DirEntry[str]"]:
        found.append(folder)
        return plain(folder)

    monkeypatch.setattr(listing, "_sorted_entries", counted)
    return found


EXPECTED = [FileInfo(path, 4) for path in ("a/1.png", "a/2.png", "b/4.png", "b/c/3.png")]


def test_a_list_is_kept_and_taken_again(data: Path, walks: list[str]) -> None:
    assert list_tree(data) == EXPECTED
    assert len(walks) == 4
    assert list_tree(data) == EXPECTED
    assert len(walks) == 4
    assert list(Storage(str(data)).list_files()) == EXPECTED
    assert list_tree(data, "x/")[0] == FileInfo("x/a/1.png", 4)
    assert len(walks) == 4
    # Another folder is another list.
    assert list_tree(data / "b") == [FileInfo("4.png", 4), FileInfo("c/3.png", 4)]
    assert len(walks) == 6


def added(root: Path) -> None:
    write(root / "b/c/5.png", b"1")


def removed(root: Path) -> None:
    (root / "a/1.png").unlink()


def renamed(root: Path) -> None:
    (root / "a/1.png").rename(root / "a/0.png")


def replaced(root: Path) -> None:
    write(root / "a/aside", b"123456")
    (root / "a/aside").rename(root / "a/1.png")


def folder_added(root: Path) -> None:
    (root / "d").mkdir()


def folder_exchanged(root: Path) -> None:
    (root / "b/c").rename(root / "b/d")
    write(root / "b/c/3.png", b"1")


def times_set_back(root: Path) -> None:
    write(root / "a/5.png", b"1")
    settle(root)


CHANGES = [added, removed, renamed, replaced, folder_added, folder_exchanged, times_set_back]


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_changed_is_seen(data: Path, change: Callable[[Path], None]) -> None:
    list_tree(data)
    time.sleep(0.02)  # a clock of the file system ticks some hundred times a second
    change(data)
    assert list_tree(data) == list(listing._walk(str(data), "", {}, ()))


def test_links_to_folders_are_looked_at_where_they_lead(data: Path, tmp_path: Path, walks: list[str]) -> None:
    write(tmp_path / "other/9.png", b"1234")
    (data / "z").symlink_to(tmp_path / "other")
    assert list_tree(data)[-1] == FileInfo("z/9.png", 4)
    time.sleep(0.02)
    write(tmp_path / "other/8.png", b"1234")
    assert [file.path for file in list_tree(data)][-2:] == ["z/8.png", "z/9.png"]


def test_small_and_fresh_lists_are_not_kept(
    data: Path, monkeypatch: pytest.MonkeyPatch, walks: list[str]
) -> None:
    monkeypatch.setattr("time.time_ns", time.monotonic_ns)  # long before the folders' times
    list_tree(data)
    list_tree(data)
    assert len(walks) == 8
    monkeypatch.setattr("time.time_ns", lambda: 2**62)
    monkeypatch.setattr(listing, "KEPT_FROM", 5)
    list_tree(data)
    list_tree(data)
    assert len(walks) == 16


def test_nothing_is_kept_where_the_cache_is_off(
    data: Path, monkeypatch: pytest.MonkeyPatch, walks: list[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", "off")
    assert cache_folder() is None
    list_tree(data)
    list_tree(data)
    listing.forget(data)
    assert len(walks) == 8
    assert not (tmp_path / "cache").exists()
    monkeypatch.delenv("RAYTRAIN_CACHE")
    assert cache_folder() == Path.home() / ".cache/raytrain"


def test_damaged_lists_and_full_disks_cost_time_only(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_tree(data)
    (kept,) = (tmp_path / "cache/.lists").iterdir()
    kept.write_bytes(b"no list")
    assert list_tree(data) == EXPECTED
    assert kept.read_bytes() != b"no list"
    monkeypatch.setenv("RAYTRAIN_CACHE", str(data / "a/1.png"))  # no folder can be made there
    assert list_tree(data) == EXPECTED


def test_only_so_many_lists_are_kept(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_LISTS", 2)
    monkeypatch.setattr(listing, "KEPT_FROM", 1)
    for folder in (data, data / "a", data / "b"):
        list_tree(folder)
        time.sleep(0.02)
    kept = [listing._kept_path(folder) for folder in (data, data / "a", data / "b")]
    assert [path is not None and path.exists() for path in kept] == [False, True, True]
    assert len(list((tmp_path / "cache/.lists").iterdir())) == 2


def test_many_files_are_a_reason_to_prepare(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DataConfig(root=str(data))
    assert open_manifest(config).notes == ()
    monkeypatch.setattr(sources, "ADVISED_FROM", 4)
    assert open_manifest(config).notes == (
        f"{data}: 4 files are listed and looked at by every command; after one `raytrain prepare` a command "
        "starts ten times faster",
    )
