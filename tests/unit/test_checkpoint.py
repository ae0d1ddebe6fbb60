import errno
import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

import raytrain.checkpoint as checkpoint_module
from pipelines.order.plan import Cursor
from raytrain.checkpoint import latest_step, load_checkpoint, load_latest, save_checkpoint
from raytrain.errors import StorageError


def tensors(value: float) -> dict[str, Tensor]:
    return {"encoder.weight": torch.full((3, 2), value), "optimizer.step": torch.tensor(int(value))}


def save(root: Path, step: int, keep: int = 2) -> Path:
    return save_checkpoint(
        root, tensors(step), step=step, cursor=Cursor(1, step), meta={"seed": 0}, keep=keep
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path, 7)
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert (loaded.step, loaded.cursor, loaded.meta["seed"]) == (7, Cursor(1, 7), 0)
    for name, value in tensors(7).items():
        assert torch.equal(loaded.tensors[name], value)
        assert loaded.tensors[name].dtype == value.dtype
    assert latest_step(tmp_path) == (Cursor(1, 7), 7)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000030"]


@pytest.mark.parametrize("damage", ["cut tensors", "flip a bit", "cut json", "remove tensors", "empty json"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    state, meta = newest / "state.safetensors", newest / "state.json"
    if damage == "cut tensors":
        state.write_bytes(state.read_bytes()[:-5])
    elif damage == "flip a bit":
        data = bytearray(state.read_bytes())
        data[-1] ^= 1
        state.write_bytes(data)
    elif damage == "cut json":
        meta.write_text(meta.read_text()[:20])
    elif damage == "remove tensors":
        state.unlink()
    else:
        meta.write_text("")
    assert load_checkpoint(newest) is None
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded.step == 1
    assert latest_step(tmp_path) == (Cursor(1, 1), 1)


def test_a_damaged_newer_one_does_not_push_out_the_good(tmp_path: Path) -> None:
    save(tmp_path, 1, keep=1)
    newest = save(tmp_path, 9, keep=2)
    (newest / "state.safetensors").write_bytes(b"damaged")
    save(tmp_path, 5, keep=1)
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded.step == 5
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]


def test_no_checkpoint(tmp_path: Path) -> None:
    assert load_latest(tmp_path) is None
    assert latest_step(tmp_path / "missing") is None


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(
        StorageError, match=r"step-00000002: checkpoint not written.*No space.*last good one is kept"
    ):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert load_latest(tmp_path) is not None


def test_a_kill_while_writing_leaves_nothing_that_loads(tmp_path: Path) -> None:
    save(tmp_path, 1)
    half = tmp_path / ".writing-00000002-999"
    half.mkdir()
    (half / "state.json").write_text(json.dumps({"step": 2}))
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded.step == 1
    save(tmp_path, 3)
    assert not half.exists()


def test_a_step_is_written_again_after_going_back(tmp_path: Path) -> None:
    save(tmp_path, 2)
    (tmp_path / "step-00000002" / "state.safetensors").write_bytes(b"damaged")
    save(tmp_path, 2)
    assert load_latest(tmp_path) is not None


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose bytes were hashed, in order."""
    found: list[Path] = []
    original = checkpoint_module._file_sha256

    def counted(path: Path) -> str:
        found.append(path)
        return original(path)

    monkeypatch.setattr(checkpoint_module, "_file_sha256", counted)
    return found


def test_a_checkpoint_is_verified_once_a_process(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = save(tmp_path, 7)
    assert len(read) == 1  # what was written; the first reader still looks at what lies on the disk
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path, Path()):
        assert latest_step(root) == (Cursor(1, 7), 7)
        assert load_latest(root) is not None
        assert load_checkpoint(root / newest.name) is not None
    assert read[1:] == [newest / "state.safetensors"]


@pytest.mark.parametrize("change", ["time", "size", "another file"])
def test_a_changed_checkpoint_is_verified_again(tmp_path: Path, read: list[Path], change: str) -> None:
    state = save(tmp_path, 7) / "state.safetensors"
    assert latest_step(tmp_path) is not None
    known, data = state.stat(), state.read_bytes()
    damaged = data[:-1] if change == "size" else data[:-1] + bytes([data[-1] ^ 1])
    if change == "another file":
        aside = tmp_path / "aside"
        aside.write_bytes(damaged)
        aside.rename(state)
    else:
        state.write_bytes(damaged)
    later = 1 if change == "time" else 0
    os.utime(state, ns=(known.st_atime_ns, known.st_mtime_ns + later))
    assert latest_step(tmp_path) is None
    assert load_checkpoint(state.parent) is None
    assert len(read) == 3
