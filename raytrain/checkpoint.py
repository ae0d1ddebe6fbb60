"""Atomic checkpoints: safetensors + JSON in a folder that is written aside, synced, checksummed and renamed.

A folder `step-00000120` either holds a whole checkpoint or does not exist; a damaged one is passed over on
loading.
"""

import functools
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines.order.plan import Cursor
from raytrain.errors import StorageError

TENSORS, META = "state.safetensors", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A pathway's whole state after a number of steps."""

    folder: Path
    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    @property
    def cursor(self) -> Cursor:
        """The next batch to train on."""
        return Cursor(*self.meta["cursor"])

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.meta["step"])


def save_checkpoint(
    root: Path, tensors: dict[str, Tensor], *, step: int, cursor: Cursor, meta: dict[str, Any], keep: int
) -> Path:
    """Write `root/step-<step>` and remove all but the newest `keep`; return its path.

    Raises:
        StorageError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    target = root / f"step-{step:08d}"
    aside = root / f".writing-{step:08d}-{os.getpid()}"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside / TENSORS)
        full = {
            **meta,
            "step": step,
            "cursor": [cursor.epoch, cursor.step],
            "sha256": _file_sha256(aside / TENSORS),
        }
        (aside / META).write_text(json.dumps(full, indent=1), encoding="utf-8")
        for path in (aside / TENSORS, aside / META, aside):
            _sync(path)
        if target.exists():  # an equal or damaged one, from before the pathway went back
            _remove(target)
        aside.rename(target)
        _sync(root)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise StorageError(
            f"{target}: checkpoint not written: {error}; the last good one is kept, free space and run again"
        ) from None
    _prune(root, keep, target)
    return target


def load_latest(root: Path) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, or None."""
    for folder in sorted(root.glob("step-*"), reverse=True):
        checkpoint = load_checkpoint(folder)
        if checkpoint is not None:
            return checkpoint
    return None


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the checkpoint of a folder, or None when it is damaged."""
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if _sha256(folder / TENSORS) != meta["sha256"]:
            return None
        return Checkpoint(folder, load_file(folder / TENSORS), meta)
    except (OSError, ValueError, KeyError, SafetensorError):
        return None


def latest_step(root: Path) -> tuple[Cursor, int] | None:
    """Return (cursor, steps done) of the newest checkpoint without loading its tensors."""
    for folder in sorted(root.glob("step-*"), reverse=True):
        try:
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
            if _sha256(folder / TENSORS) == meta["sha256"]:
                return Cursor(*meta["cursor"]), int(meta["step"])
        except (OSError, ValueError, KeyError):
            continue
    return None


def _prune(root: Path, keep: int, newest: Path) -> None:
    """Keep the newest so many; what is newer than the one just written was passed over as damaged."""
    found = sorted(root.glob("step-*"))
    good = [folder for folder in found if folder.name <= newest.name]
    for folder in [*good[:-keep], *found[len(good) :]]:
        _remove(folder)
    for pattern in (".writing-*", ".removing-*"):  # left by a kill
        for folder in root.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Remove a checkpoint; renamed first, so that a kill leaves no half of one under its name."""
    aside = folder.with_name(f".removing-{folder.name}-{os.getpid()}")
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _sha256(path: Path) -> str:
    """Return a file's digest, read once a process for as long as the file stays what it was."""
    found = path.stat()
    return _known_sha256(path.absolute(), found.st_mtime_ns, found.st_size, found.st_ino)


@functools.lru_cache(maxsize=1024)
def _known_sha256(path: Path, *stamp: int) -> str:
    return _file_sha256(path)


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
