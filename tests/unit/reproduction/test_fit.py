"""Fits of a table: kept by what they are made of, made again where anything of that changed."""

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

from raytrain.config import CacheConfig
from raytrain.evaluation.features import FeatureWriter
from raytrain.reproduction import fit as module
from raytrain.reproduction.fit import FitRequest, fit
from raytrain.reproduction.kept_fits import KeptFits
from raytrain.training.cache import EncoderCache

NUM, CELLS, CHANNELS = 40, 2, 3
NAMES = ("base", "lbp")


def write_features(folder: Path, *, seed: int) -> None:
    for place, name in enumerate(NAMES):
        values = np.random.default_rng([seed, place]).normal(size=(NUM, CELLS, CHANNELS))
        writer = FeatureWriter(
            folder, name=name, num_samples=NUM, cells=CELLS, channels=CHANNELS, max_gib=1.0
        )
        writer.write(0, values)
        writer.close()


@pytest.fixture
def fit_request(tmp_path: Path) -> FitRequest:
    write_features(tmp_path / "features", seed=0)
    return FitRequest(
        objective="clapp",
        folders=(str(tmp_path / "features"),),
        seed=0,
        names=NAMES,
        joins={"base": ("base",), "both": NAMES},
        mode="flat",
        labels=np.arange(NUM) % 3,
        groups=np.arange(NUM),
        train=np.arange(24),
        test=np.arange(24, NUM),
    )


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptFits:
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))
    found = KeptFits.open(CacheConfig())
    assert found is not None
    return found


def test_a_fit_is_made_once(fit_request: FitRequest, kept: KeptFits, monkeypatch: pytest.MonkeyPatch) -> None:
    found, known = module._fit_or_known(fit_request, kept)
    assert not known
    expected = fit(fit_request)
    monkeypatch.setattr(module, "fit", lambda fit_request: pytest.fail("fitted again"))
    again, known = module._fit_or_known(fit_request, kept)
    assert known
    for predictions in (found, again):
        assert list(predictions) == ["base", "both"]
        for name, values in predictions.items():
            np.testing.assert_array_equal(values, expected[name])


def test_whatever_decides_the_predictions_is_part_of_the_key(fit_request: FitRequest, tmp_path: Path) -> None:
    others = [
        dataclasses.replace(fit_request, mode="pooled"),
        dataclasses.replace(fit_request, joins={"both": NAMES}),
        dataclasses.replace(fit_request, labels=fit_request.labels[::-1].copy()),
        dataclasses.replace(fit_request, groups=fit_request.groups // 2),
        dataclasses.replace(fit_request, train=fit_request.train[1:]),
        dataclasses.replace(fit_request, test=fit_request.test[1:]),
    ]
    keys = [one.key() for one in (fit_request, *others)]
    write_features(tmp_path / "features", seed=1)
    keys.append(fit_request.key())
    assert len(set(keys)) == len(others) + 2
    write_features(tmp_path / "features", seed=0)
    assert dataclasses.replace(fit_request, objective="supervised", seed=5).key() == keys[0]


def test_a_damaged_one_is_made_again_and_without_a_folder_none_is_kept(
    fit_request: FitRequest, kept: KeptFits, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = module._fit_or_known(fit_request, kept)
    for damage in ("{", "[]", '{"base": "x"}'):
        (kept.folder / f"{fit_request.key()}.json").write_text(damage)
        again, known = module._fit_or_known(fit_request, kept)
        assert not known
        np.testing.assert_array_equal(again["both"], expected["both"])
    blocked = KeptFits(folder=kept.folder / "entry.json" / "fits")
    assert not module._fit_or_known(fit_request, blocked)[1]
    assert not module._fit_or_known(fit_request, None)[1]
    monkeypatch.setenv("RAYTRAIN_CACHE", "off")
    assert KeptFits.open(CacheConfig()) is None


def test_the_cache_lists_and_bounds_them(fit_request: FitRequest, kept: KeptFits) -> None:
    module._fit_or_known(fit_request, kept)
    cache = EncoderCache(kept.folder.parent, max_gib=0)
    assert [entry["name"] for entry in cache.listing()] == ["fits of tables"]
    newer = kept.folder.parent / ("0" * 24)
    newer.mkdir()
    os.utime(newer, (later := time.time() + 60, later))
    cache.trim()
    assert not kept.folder.exists()


def test_processes_share_the_cores_out() -> None:
    with threadpoolctl.threadpool_limits():
        module._limit_threads(1)
        libraries = [one for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
        assert libraries
        assert {one["num_threads"] for one in libraries} == {1}
