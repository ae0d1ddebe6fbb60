import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from raytrain.errors import DataError
from raytrain.evaluation import logistic as module
from raytrain.evaluation.factor import Factor, GramPair, factor_blocks, factor_gram
from raytrain.evaluation.labels import taught
from raytrain.evaluation.logistic import LogisticResult, fit_logistic, group_folds

NUM_CLASSES = 4


def planted(
    *, width: int = 6, num_groups: int = 40, signal: float = 0.8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [n, D], labels and groups of three near copies each."""
    random = np.random.default_rng(width)
    groups = np.repeat(np.arange(num_groups), 3)
    labels = (np.arange(num_groups) % NUM_CLASSES)[groups]
    features = random.standard_normal((num_groups, width))[groups] + 2
    features += signal * random.standard_normal((NUM_CLASSES, width))[labels]
    return features + 0.2 * random.standard_normal(features.shape), labels, groups


def factor_of(features: np.ndarray, test: np.ndarray) -> Factor:
    mean = features.mean(axis=0)
    rows, others = features - mean, test - mean
    return factor_gram(GramPair(train=rows @ rows.T, cross=others @ rows.T, num_features=features.shape[1]))


def sklearn_logits(features: np.ndarray, labels: np.ndarray, test: np.ndarray, strength: float) -> np.ndarray:
    """The same minimum by scikit-learn, whose C multiplies the sum of the losses."""
    mean = features.mean(axis=0)
    fitted = LogisticRegression(C=1 / (strength * len(labels)), tol=1e-10, max_iter=100_000)
    return np.asarray(fitted.fit(features - mean, labels).decision_function(test - mean))


@pytest.mark.parametrize("width", [6, 200])
@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_the_minimum_is_that_of_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, width: int, strength: float
) -> None:
    monkeypatch.setattr(module, "GRADIENT", 1e-9)
    features, labels, groups = planted(width=width)
    test = planted(width=width, num_groups=43)[0]
    result = fit_logistic(
        factor_of(features, test), labels, groups, num_classes=NUM_CLASSES, strengths=[strength]
    )
    expected = sklearn_logits(features, labels, test, result.strength)
    centred = result.scores - result.scores.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(centred, expected - expected.mean(axis=1, keepdims=True), atol=2e-4)
    np.testing.assert_array_equal(result.predictions, expected.argmax(axis=1))
    assert result.edge == ""


def test_the_usual_tolerance_is_near_the_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, groups = planted(width=200)
    factor = factor_of(features, features)

    def scores() -> np.ndarray:
        return fit_logistic(factor, labels, groups, num_classes=NUM_CLASSES, strengths=[1e-3]).scores

    usual = scores()
    monkeypatch.setattr(module, "GRADIENT", 1e-9)
    np.testing.assert_allclose(usual, scores(), atol=0.02)


def test_several_labels_are_a_logistic_regression_each() -> None:
    features, labels, groups = planted()
    test = planted(num_groups=43)[0]
    sets = np.stack([labels == 0, labels != 2, np.ones_like(labels), np.zeros_like(labels)], axis=1)
    result = fit_logistic(
        factor_of(features, test), sets.astype(np.uint8), groups, num_classes=4, strengths=[0.1]
    )
    for index in (0, 1):
        expected = sklearn_logits(features, sets[:, index], test, result.strength)
        np.testing.assert_allclose(result.scores[:, index], expected, atol=2e-3)
    assert result.predictions.dtype == np.uint8
    # a label that all training rows have, or none, is predicted so
    np.testing.assert_array_equal(result.predictions[:, 2:], np.tile([1, 0], (len(test), 1)))


def test_the_strength_is_the_best_of_the_folds_by_refits() -> None:
    features, labels, groups = planted(signal=0.5, num_groups=60)
    factor = factor_of(features, features)
    grid = np.array([1e-2, 1.0, 30.0])
    lesson = taught(labels, num_rows=len(labels), num_classes=NUM_CLASSES, name="test")
    folds = group_folds(lesson, groups, num_folds=5)
    accuracies = []
    for strength in grid * factor.scale / len(labels):
        predicted = np.empty(len(labels))
        for fold in range(5):
            out = folds == fold
            num = int((~out).sum())
            fitted = LogisticRegression(C=1 / (strength * num), tol=1e-9, max_iter=100_000)
            # the penalty is beside the mean loss of the rows that are fitted
            fitted.fit(features[~out] - features.mean(axis=0), labels[~out])
            predicted[out] = fitted.predict(features[out] - features.mean(axis=0))
        accuracies.append(np.mean(predicted == labels))
    result = fit_logistic(factor, labels, groups, num_classes=NUM_CLASSES, strengths=grid)
    best = max(range(3), key=lambda index: (accuracies[index], index))
    assert len(set(accuracies)) == 3
    assert result.fold_accuracy == pytest.approx(accuracies[best], abs=2 / len(labels))
    assert result.strength == pytest.approx(grid[best] * factor.scale / len(labels))


def test_folds_hold_whole_groups_and_some_of_every_class() -> None:
    groups = np.repeat(np.arange(30), 2)
    labels = (np.arange(30) // 15)[groups]
    lesson = taught(labels, num_rows=60, num_classes=2, name="test")
    folds = group_folds(lesson, groups, num_folds=5)
    assert all(np.unique(folds[groups == name]).size == 1 for name in range(30))
    for fold in range(5):
        assert np.bincount(labels[folds == fold]).tolist() == [6, 6]


def test_a_class_that_a_fold_has_not_seen_is_no_accident() -> None:
    features, labels, groups = planted(num_groups=9)  # class 0: groups 0, 4, 8; the others two
    result = fit_logistic(factor_of(features, features), labels, groups, num_classes=NUM_CLASSES)
    assert 0 <= result.fold_accuracy <= 1
    assert np.isfinite(result.scores).all()


def test_classes_without_training_rows_are_never_predicted() -> None:
    features, labels, groups = planted()
    result = fit_logistic(
        factor_of(features, features), labels * 5 + 1, groups, num_classes=50, strengths=[1]
    )
    assert set(result.predictions.tolist()) <= {1, 6, 11, 16}
    assert result.columns.tolist() == [1, 6, 11, 16]


def test_edges_are_reported() -> None:
    features, labels, groups = planted(signal=3)
    factor = factor_of(features, features)

    def edge(strengths: list[float]) -> str:
        return fit_logistic(factor, labels, groups, num_classes=NUM_CLASSES, strengths=strengths).edge

    assert edge([1e-2, 1e7]) == "lower"
    assert edge([1e-3, 1e-2]) == "upper"  # equal accuracy: the larger strength
    assert edge([1e-3, 1e-2, 1e7]) == ""


def test_no_convergence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ITERATIONS", 2)
    features, labels, groups = planted()
    with pytest.raises(
        DataError, match=r"logistic: no convergence at strength .* use probe.protocols = 'ridge'"
    ):
        fit_logistic(factor_of(features, features), labels, groups, num_classes=NUM_CLASSES)


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([0, 0, 0], [0, 1, 2], "logistic: training labels .* needs two classes or more"),
        ([0, 1, 2], [4, 4, 4], "logistic: all training samples are of one group"),
        ([0, 1, 2], [4, 5], r"logistic: 3 rows, but groups \(2,\)"),
    ],
)
def test_what_cannot_be_fitted(labels: list[int], groups: list[int], message: str) -> None:
    features = np.arange(6.0).reshape(3, 2)
    with pytest.raises(DataError, match=message):
        fit_logistic(factor_of(features, features), labels, groups, num_classes=3)


@pytest.mark.parametrize("several", [False, True])
def test_blocks_of_rows_change_nothing_and_hold_no_table(
    monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    """2000 rows x 100 classes are 1.5 MiB a table of float64."""
    random = np.random.default_rng(0)
    features, classes = random.standard_normal((2000, 4)), random.integers(0, 100, 2000)
    labels = (classes[:, None] == np.arange(100)).astype(np.uint8) if several else classes
    features -= features.mean(axis=0)
    factor = factor_blocks(lambda: iter([features]), lambda: iter([features[:20]]))

    def fit() -> LogisticResult:
        return fit_logistic(
            factor, labels, np.arange(2000) // 2, num_classes=100, strengths=[1e5, 1e6], num_folds=2
        )

    whole = fit()
    monkeypatch.setattr(module, "BLOCK_BYTES", 50_000)
    tracemalloc.start()
    parts = fit()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (1_400_000 if several else 800_000)  # label sets themselves are 200 kB a copy
    assert (parts.strength, parts.fold_accuracy) == (whole.strength, whole.fold_accuracy)
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-3)
