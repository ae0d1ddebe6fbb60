from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raytrain.errors import ConfigError
from raytrain.evaluation import gram as module
from raytrain.evaluation import room
from raytrain.evaluation.features import FeatureFile, FeatureWriter, Mode, open_features
from raytrain.evaluation.gram import Representations, factor_features, join, train_test_gram
from raytrain.evaluation.ridge import Factor, factor_gram

TRAIN, TEST = np.array([11, 0, 3, 4, 7, 8, 2]), np.array([1, 5, 6, 10])


def stored(folder: Path, name: str, *, cells: int, channels: int, scale: float = 1.0) -> FeatureFile:
    values = np.random.default_rng(len(name)).standard_normal((12, cells, channels)) * scale + 3 * scale
    writer = FeatureWriter(folder, name=name, num_samples=12, cells=cells, channels=channels, max_gib=1)
    writer.write(0, values)
    writer.close()
    return open_features(folder, name)


def plain(file: FeatureFile, mode: Mode) -> tuple[np.ndarray, np.ndarray]:
    """Centred training and test features of unit total variance."""
    values = file.array.astype(np.float64)
    values = values.mean(axis=1) if mode == "pooled" else values.reshape(len(values), -1)
    values = values - values[TRAIN].mean(axis=0)
    values /= np.sqrt((values[TRAIN] ** 2).sum() / len(TRAIN))
    return values[TRAIN], values[TEST]


def inner_products(factor: Factor) -> np.ndarray:
    return np.r_[factor.train, factor.test] @ factor.train.T


@pytest.mark.parametrize("mode", ["flat", "pooled"])
@pytest.mark.parametrize("block_bytes", [1, 300, 1 << 28])
def test_gram_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, block_bytes: int
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    file = stored(tmp_path, "rg", cells=4, channels=5, scale=20)
    pair, (train, test) = train_test_gram(file, TRAIN, TEST, mode), plain(file, mode)
    np.testing.assert_allclose(pair.train, train @ train.T, atol=1e-6)
    np.testing.assert_allclose(pair.cross, test @ train.T, atol=1e-6)
    assert pair.num_features == (20 if mode == "flat" else 5)
    assert np.trace(pair.train) / len(TRAIN) == pytest.approx(1)


def test_join_is_concatenation_with_equal_weights(tmp_path: Path) -> None:
    files = [
        stored(tmp_path, "a", cells=1, channels=3, scale=100),
        stored(tmp_path, "bb", cells=4, channels=5),
    ]
    pair = join([train_test_gram(file, TRAIN, TEST, "flat") for file in files])
    parts = [plain(file, "flat") for file in files]
    train, test = (np.concatenate([part[side] for part in parts], axis=1) for side in (0, 1))
    np.testing.assert_allclose(pair.train, train @ train.T, atol=1e-6)
    np.testing.assert_allclose(pair.cross, test @ train.T, atol=1e-6)
    assert pair.num_features == 23


@pytest.mark.parametrize("mode", ["flat", "pooled"])
def test_both_routes_give_the_same_geometry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 200)
    files = [stored(tmp_path, "a", cells=2, channels=3, scale=9), stored(tmp_path, "bb", cells=3, channels=2)]
    dual = factor_gram(join([train_test_gram(file, TRAIN, TEST, mode) for file in files]))
    primal = factor_features(files, TRAIN, TEST, mode)
    np.testing.assert_allclose(inner_products(primal), inner_products(dual), atol=1e-10)
    np.testing.assert_allclose(primal.eigenvalues, dual.eigenvalues, atol=1e-10)
    assert primal.scale == pytest.approx(dual.scale)


def test_route_follows_the_smaller_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    routes: list[str] = []
    monkeypatch.setattr(module, "factor_gram", lambda pair: routes.append("dual"))
    monkeypatch.setattr(module, "factor_features", lambda *given: routes.append("primal"))
    narrow, wide = stored(tmp_path, "a", cells=2, channels=3), stored(tmp_path, "bb", cells=3, channels=3)
    representations = Representations(TRAIN, TEST, num_classes=2)
    for files in ([narrow], [wide], [narrow, wide]):
        representations.factor(files, "flat")
    assert routes == ["primal", "dual", "dual"]


def test_gram_matrices_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(file: FeatureFile, *given: object) -> object:
        calls.append(file.name)
        return train_test_gram(file, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train_test_gram", counted)
    files = [stored(tmp_path, "a", cells=2, channels=9), stored(tmp_path, "bb", cells=3, channels=8)]
    representations = Representations(TRAIN, TEST, num_classes=2)
    joined = representations.factor(files, "flat")
    single = [representations.factor([file], "flat") for file in files]
    assert calls == ["a", "bb"]
    np.testing.assert_allclose(
        inner_products(joined), sum(inner_products(factor) for factor in single), atol=1e-10
    )


@pytest.mark.parametrize("name", ["a", "wide-one"])
def test_a_dead_pathway_adds_nothing(tmp_path: Path, name: str) -> None:
    channels = 3 if name == "a" else 30
    writer = FeatureWriter(tmp_path, name=name, num_samples=12, cells=1, channels=channels, max_gib=1)
    writer.write(0, np.full((12, 1, channels), 0.1))
    writer.close()
    dead, other = open_features(tmp_path, name), stored(tmp_path, "bb", cells=1, channels=3)
    alone = Representations(TRAIN, TEST, num_classes=2).factor([dead], "flat")
    assert alone.train.shape == (7, 0)
    joined = Representations(TRAIN, TEST, num_classes=2).factor([dead, other], "flat")
    single = Representations(TRAIN, TEST, num_classes=2).factor([other], "flat")
    np.testing.assert_allclose(inner_products(joined), inner_products(single), atol=1e-10)


def test_too_many_samples_and_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SIDE", 4)
    file = stored(tmp_path, "rg", cells=2, channels=5)
    text = (
        r"^probe of rg: 7 training samples x 10 features; one of the two must be at most 4; "
        r"set probe\.features = 'pooled' or lower encoder\.width$"
    )
    with pytest.raises(ConfigError, match=text):
        Representations(TRAIN, TEST, num_classes=2).factor([file], "flat")


@pytest.mark.parametrize("ask", [Representations.factor, Representations.resolvent])
def test_many_classes_are_counted_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[..., object]
) -> None:
    monkeypatch.setattr(room, "GIB", 1000)
    monkeypatch.setattr(room, "MAX_GIB", 10.0)
    file = stored(tmp_path, "rg", cells=2, channels=5)
    few = Representations(TRAIN, TEST, num_classes=2)
    ask(few, [file], "flat")
    monkeypatch.setattr(FeatureFile, "read", None)
    text = (
        r"^probe of rg: 7 training samples x 10 features: needs 22\.5 GiB \(factor 0\.616, weights of "
        r"83 classes 13\.9, scores of 4 test samples 7\.97\), more than the 10 GiB that a probe may "
        r"hold; set probe\.features = 'pooled' or lower encoder\.width$"
    )
    with pytest.raises(ConfigError, match=text):
        ask(Representations(TRAIN, TEST, num_classes=83), [file], "flat")
