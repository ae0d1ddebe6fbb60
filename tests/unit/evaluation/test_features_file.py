import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from raytrain.errors import ConfigError, DataError, StorageError
from raytrain.evaluation import features as module
from raytrain.evaluation.features import FeatureWriter, open_features


def writer(folder: Path, **changes: object) -> FeatureWriter:
    settings = {"name": "lbp", "num_samples": 10, "cells": 4, "channels": 3, "max_gib": 1.0}
    return FeatureWriter(folder, **(settings | changes))  # type: ignore[arg-type]


def some_values(num_samples: int = 10) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((num_samples, 4, 3))
    return values.astype(np.float16).astype(np.float32)


def written(folder: Path, values: np.ndarray, **meta: object) -> Path:
    target = writer(folder, num_samples=len(values))
    target.write(0, values)
    return target.close(meta)


def test_blocks_in_any_order_and_twice(tmp_path: Path) -> None:
    values, target = some_values(), writer(tmp_path / "new")
    for start, stop in ((7, 10), (0, 4), (2, 8)):
        target.write(start, values[start:stop])
    path = target.close({"epoch": 3})
    np.testing.assert_array_equal(np.load(path), values.astype(np.float16))
    assert sorted(p.name for p in path.parent.iterdir()) == ["lbp.json", "lbp.npy"]
    described = json.loads((path.parent / "lbp.json").read_text())
    assert described == {"shape": [10, 4, 3], "dtype": "float16", "meta": {"epoch": 3}}


@pytest.mark.parametrize("block_bytes", [1, 40, 1 << 20])
def test_reads_rows_columns_and_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    values = some_values()
    written(tmp_path, values, epoch=3)
    file = open_features(tmp_path, "lbp")
    rows = [9, 0, 0, 4]
    assert (len(file), file.width("flat"), file.width("pooled"), file.meta) == (10, 12, 3, {"epoch": 3})
    flat, pooled = file.read(rows, "flat"), file.read(rows, "pooled")
    assert flat.dtype == pooled.dtype == np.float32
    np.testing.assert_array_equal(flat, values[rows].reshape(4, 12))
    np.testing.assert_allclose(pooled, values[rows].mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(file.read(rows, "flat", columns=slice(5, 9)), flat[:, 5:9])
    np.testing.assert_array_equal(file.read(rows, "pooled", columns=slice(1, 3)), pooled[:, 1:3])
    assert file.read([], "flat").shape == (0, 12)


def test_unwritten_samples_are_found(tmp_path: Path) -> None:
    target = writer(tmp_path)
    target.write(0, some_values()[:6])
    target.write(8, some_values()[8:])
    with pytest.raises(DataError, match="2 of 10 samples were never written, the first is 6"):
        target.close()
    with pytest.raises(DataError, match="no finished features 'lbp' here; run represent again"):
        open_features(tmp_path, "lbp")


def test_discard_keeps_the_finished_file(tmp_path: Path) -> None:
    written(tmp_path, some_values())
    target = writer(tmp_path)
    target.write(0, some_values())
    target.discard()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lbp.json", "lbp.npy"]
    with pytest.raises(DataError, match="closed already"):
        target.write(0, some_values())
    np.testing.assert_array_equal(
        open_features(tmp_path, "lbp").read([3], "flat")[0], some_values()[3].ravel()
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7e4, r"pathway lbp: value 7e\+04 exceeds float16 \(65504\) at sample 5"),
        (np.inf, r"value inf exceeds float16"),
        (np.nan, "value nan is not a number"),
    ],
)
def test_values_beyond_float16(tmp_path: Path, value: float, message: str) -> None:
    values, target = some_values(), writer(tmp_path)
    values[5, 1, 2] = value
    with pytest.raises(DataError, match=message):
        target.write(3, values[3:])


@pytest.mark.parametrize(("start", "count"), [(8, 3), (-1, 2)])
def test_blocks_that_do_not_fit(tmp_path: Path, start: int, count: int) -> None:
    with pytest.raises(DataError, match=r"block \(\d, 4, 3\) at sample -?\d does not fit \(10, 4, 3\)"):
        writer(tmp_path).write(start, some_values()[:count])


def test_size_is_refused_before_writing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"more than probe.max_features_gib = 0.001; raise it"):
        writer(tmp_path, num_samples=100_000, max_gib=0.001)
    assert list(tmp_path.iterdir()) == []


def test_size_counts_the_other_pathways(tmp_path: Path) -> None:
    limit = 1.5 * 2 * 4 * 3 * 10_000 / 2**30
    written(tmp_path, some_values(10_000))
    writer(tmp_path, num_samples=10_000, max_gib=limit).discard()  # replaces itself
    with pytest.raises(ConfigError, match="max_features_gib"):
        writer(tmp_path, name="lbp.control", num_samples=10_000, max_gib=limit)


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(StorageError, match="free some space"):
        writer(tmp_path)


def test_disk_filled_by_others_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", fail)
    with pytest.raises(StorageError, match=r"lbp.npy.part: cannot be written: No space left"):
        writer(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        writer(tmp_path / "taken")


def test_damaged_files(tmp_path: Path) -> None:
    path = written(tmp_path, some_values())
    (tmp_path / "lbp.json").write_text('{"shape": [9, 4, 3], "meta": {}}')
    with pytest.raises(DataError, match="described as float16"):
        open_features(tmp_path, "lbp")
    (tmp_path / "lbp.json").write_text("{")
    with pytest.raises(DataError, match="damaged features"):
        open_features(tmp_path, "lbp")
    written(tmp_path, some_values())
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError, match="damaged features"):
        open_features(tmp_path, "lbp")


def test_nothing_to_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds nothing"):
        writer(tmp_path, num_samples=0)
