import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.errors import DataError
from raytrain.evaluation import arrow, resolvent, ridge
from raytrain.evaluation.resolvent import Resolvent, resolvent_of_gram, resolvent_of_moments
from raytrain.evaluation.ridge import (
    Factor,
    GramPair,
    factor_blocks,
    factor_gram,
    fit_ridge,
    group_order,
)

NUM_CLASSES = 3


def near_copies(
    seed: int, *, width: int, num_groups: int = 9, noise: float = 0.05
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [n, D], labels and groups: 1 to 5 near copies a group, weak class signal, not centred."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), random.integers(1, 6, num_groups))
    labels = (np.arange(num_groups) % NUM_CLASSES)[groups]
    features = random.standard_normal((num_groups, width))[groups] + 5
    features += 0.7 * random.standard_normal((NUM_CLASSES, width))[labels]
    features += noise * random.standard_normal(features.shape)
    order = random.permutation(groups.size)
    return features[order], labels[order], groups[order] * 17 - 40


def dual(features: np.ndarray, test: np.ndarray) -> Factor:
    mean = features.mean(axis=0)
    rows, others = features - mean, test - mean
    gram = GramPair(train=rows @ rows.T, cross=others @ rows.T, num_features=features.shape[1])
    return factor_gram(gram)


def primal(features: np.ndarray, test: np.ndarray) -> Factor:
    mean = features.mean(axis=0)

    def blocks(rows: np.ndarray) -> list[np.ndarray]:
        return [rows[start : start + 4] - mean for start in range(0, len(rows), 4)]

    return factor_blocks(lambda: iter(blocks(features)), lambda: iter(blocks(test)))


def by_gram(features: np.ndarray, test: np.ndarray) -> Resolvent:
    mean = features.mean(axis=0)
    rows, others = features - mean, test - mean
    return resolvent_of_gram(
        GramPair(train=rows @ rows.T, cross=others @ rows.T, num_features=features.shape[1])
    )


def by_moments(features: np.ndarray, test: np.ndarray) -> Resolvent:
    mean = features.mean(axis=0)
    rows, others = features - mean, test - mean
    return resolvent_of_moments(rows.T @ rows, rows.copy(), lambda weights: others @ weights)


ROUTES = [dual, primal, by_gram, by_moments]


def refit(features: np.ndarray, targets: np.ndarray, test: np.ndarray, strength: float) -> np.ndarray:
    """Ridge by lstsq on stacked rows: an unpenalised intercept column, sqrt(strength) rows below."""
    width = features.shape[1]
    rows = np.c_[features, np.ones(len(features))]
    penalty = np.c_[np.sqrt(strength) * np.eye(width), np.zeros(width)]
    stacked = np.r_[targets, np.zeros((width, targets.shape[1]))]
    weights = np.linalg.lstsq(np.r_[rows, penalty], stacked, rcond=None)[0]
    return np.c_[test, np.ones(len(test))] @ weights


def refit_without(
    features: np.ndarray, targets: np.ndarray, groups: np.ndarray, strength: float
) -> np.ndarray:
    """Leave-one-group-out by really leaving out: each group predicted by a fit that has not seen it."""
    predicted = np.empty_like(targets)
    for name in np.unique(groups):
        out = groups == name
        predicted[out] = refit(features[~out], targets[~out], features[out], strength)
    return predicted


def one_vs_rest(labels: np.ndarray) -> np.ndarray:
    return np.where(labels[:, None] == np.unique(labels), 1.0, -1.0)


def leave_group_out(
    features: Any, targets: np.ndarray, members: np.ndarray, *, strengths: Any
) -> Iterator[np.ndarray]:
    """Yield the predictions of all rows, joined from the blocks, for each strength."""
    found = np.full((len(np.atleast_1d(strengths)), *targets.shape), np.nan)
    asked = ridge.Targets(of=lambda rows: targets[rows], mean=targets.mean(axis=0))
    for held_out in ridge.leave_group_out(features, asked, members, strengths=strengths):
        assert np.isnan(found[np.ix_(held_out.strengths, held_out.rows)]).all()  # each row once
        found[np.ix_(held_out.strengths, held_out.rows)] = held_out.scores
    yield from found


@pytest.fixture(params=[3, 96], ids=["small pieces", "pieces"])
def leaf(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the tridiagonal form into pieces so small that there is a border, or not at all."""
    monkeypatch.setattr(arrow, "LEAF", request.param)


@pytest.mark.usefixtures("leaf")
@pytest.mark.parametrize("width", [2, 6, 24, 150])
@pytest.mark.parametrize("route", ROUTES)
def test_held_out_scores_equal_the_brute_force_refit(width: int, route: object) -> None:
    features, labels, groups = near_copies(0, width=width)
    targets, members = one_vs_rest(labels), np.unique(groups, return_inverse=True)[1]
    factor = route(features, features)  # type: ignore[operator]
    strengths = factor.scale * np.array([1e-4, 1e-2, 1.0, 100.0])
    for strength, scores in zip(
        strengths, leave_group_out(factor, targets, members, strengths=strengths), strict=True
    ):
        np.testing.assert_allclose(scores, refit_without(features, targets, groups, strength), atol=1e-8)


def test_without_the_intercept_in_the_hat_matrix_targets_leak() -> None:
    """The shortcut on globally centred features reads random labels; the refit and ours do not."""
    random = np.random.default_rng(1)
    features, labels = random.standard_normal((90, 300)), np.repeat(np.arange(NUM_CLASSES), 30)
    targets, members, strength = one_vs_rest(labels), np.arange(90), 1e-3
    rows = features - features.mean(axis=0)
    hat = rows @ np.linalg.solve(rows.T @ rows + strength * np.eye(300), rows.T)
    residuals = targets - targets.mean(axis=0) - hat @ targets
    shortcut = targets - residuals / (1 - np.diag(hat))[:, None]
    ours = next(leave_group_out(dual(features, features), targets, members, strengths=[strength]))
    np.testing.assert_allclose(ours, refit_without(features, targets, members, strength), atol=1e-8)
    assert np.mean(shortcut.argmax(axis=1) == labels) > 0.95
    assert np.mean(ours.argmax(axis=1) == labels) < 0.5


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), width=st.integers(1, 40), exponent=st.floats(-3, 2))
def test_any_groups_equal_the_refit(seed: int, width: int, exponent: float) -> None:
    features, labels, groups = near_copies(seed, width=width, num_groups=6)
    targets, members = one_vs_rest(labels), np.unique(groups, return_inverse=True)[1]
    strength = 10.0**exponent
    scores = next(leave_group_out(dual(features, features), targets, members, strengths=[strength]))
    np.testing.assert_allclose(scores, refit_without(features, targets, groups, strength), atol=1e-7)


@pytest.mark.parametrize("block_bytes", [1, 4000])
def test_memory_bound_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    features, labels, groups = near_copies(3, width=8, num_groups=30)
    targets, members = one_vs_rest(labels), np.unique(groups, return_inverse=True)[1]
    whole = next(leave_group_out(dual(features, features), targets, members, strengths=[0.3]))
    monkeypatch.setattr(ridge, "SCORE_BYTES", block_bytes)
    monkeypatch.setattr(resolvent, "PRODUCT_BYTES", block_bytes)
    parts = next(leave_group_out(dual(features, features), targets, members, strengths=[0.3]))
    np.testing.assert_allclose(parts, whole, atol=1e-12)


@pytest.mark.usefixtures("leaf")
@pytest.mark.parametrize("width", [5, 60])
@pytest.mark.parametrize("route", ROUTES)
def test_predictions_equal_lstsq(width: int, route: object) -> None:
    features, labels, groups = near_copies(2, width=width)
    test = near_copies(12, width=width)[0]
    factor = route(features, test)  # type: ignore[operator]
    result = fit_ridge(factor, labels, groups, num_classes=NUM_CLASSES)
    expected = refit(features, one_vs_rest(labels), test, result.strength)
    np.testing.assert_allclose(result.scores, expected, atol=1e-8)
    np.testing.assert_array_equal(result.predictions, expected.argmax(axis=1))


@pytest.mark.parametrize("width", [5, 60])
def test_dual_and_primal_agree(width: int) -> None:
    features, labels, groups = near_copies(5, width=width)
    test = near_copies(6, width=width)[0]
    one, two = dual(features, test), primal(features, test)
    assert one.scale == pytest.approx(two.scale, rel=1e-12)
    first, second = (fit_ridge(factor, labels, groups, num_classes=NUM_CLASSES) for factor in (one, two))
    assert (first.strength, first.logo_accuracy) == pytest.approx((second.strength, second.logo_accuracy))
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-8)


def test_choice_is_the_best_of_the_grid_by_brute_force() -> None:
    features, labels, groups = near_copies(21, width=30, num_groups=24)
    factor = dual(features, features)
    grid = np.array([1e-3, 1e-1, 1.0, 10.0, 1e3])
    by_hand = [
        np.mean(
            refit_without(features, one_vs_rest(labels), groups, factor.scale * value).argmax(axis=1)
            == labels
        )
        for value in grid
    ]
    best = max(range(5), key=lambda index: (by_hand[index], grid[index]))
    result = fit_ridge(factor, labels, groups, num_classes=NUM_CLASSES, strengths=grid[::-1])
    assert len(set(by_hand)) > 2
    assert result.logo_accuracy == pytest.approx(by_hand[best])
    assert result.strength == pytest.approx(factor.scale * grid[best])


def test_the_larger_of_equals_wins_and_the_edge_is_reported() -> None:
    features = np.repeat(np.eye(2) * 10, 20, axis=0) + 0.01 * np.random.default_rng(0).standard_normal(
        (40, 2)
    )
    labels, groups = np.repeat([0, 1], 20), np.arange(40)
    factor = dual(features, features)
    result = fit_ridge(factor, labels, groups, num_classes=2, strengths=[1e-3, 1e-2, 1e-1])
    assert (result.logo_accuracy, result.edge) == (1.0, "upper")
    assert result.strength == pytest.approx(0.1 * factor.scale)
    assert fit_ridge(factor, labels, groups, num_classes=2, strengths=[1e-2, 1.0, 1e9]).edge == ""
    assert fit_ridge(factor, labels, groups, num_classes=2, strengths=[1.0, 1e8, 1e9]).edge == "lower"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), width=st.sampled_from([4, 40]))
def test_row_order_rotation_and_scale_do_not_matter(seed: int, width: int) -> None:
    features, labels, groups = near_copies(seed, width=width)
    test = near_copies(seed + 1, width=width)[0]
    random = np.random.default_rng(seed)
    order, rotation = (
        random.permutation(len(features)),
        np.linalg.qr(random.standard_normal((width, width)))[0],
    )
    plain = fit_ridge(dual(features, test), labels, groups, num_classes=NUM_CLASSES)
    turned = fit_ridge(
        dual(features[order] @ rotation * 3 + 7, test @ rotation * 3 + 7),
        labels[order],
        groups[order],
        num_classes=NUM_CLASSES,
    )
    assert turned.logo_accuracy == pytest.approx(plain.logo_accuracy)
    np.testing.assert_allclose(turned.scores, plain.scores, atol=1e-7)


def test_classes_without_training_rows_are_never_predicted() -> None:
    features, labels, groups = near_copies(0, width=10)
    result = fit_ridge(dual(features, features), labels * 4 + 1, groups, num_classes=20)
    assert set(result.predictions.tolist()) <= {1, 5, 9}
    assert result.scores.shape == (len(features), 3)


@pytest.mark.parametrize("route", ROUTES)
def test_constant_features_predict_the_most_frequent_class(route: object) -> None:
    labels, groups = np.array([0, 1, 1, 1, 2]), np.arange(5)
    factor = route(np.zeros((5, 7)), np.zeros((2, 7)))  # type: ignore[operator]
    result = fit_ridge(factor, labels, groups, num_classes=3)
    assert result.predictions.tolist() == [1, 1]
    assert result.logo_accuracy == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        ([0, 0, 0], [0, 1, 2], "needs two classes or more"),
        ([0, 1, 3], [0, 1, 2], r"all in 0\.\.2"),
        ([-1, 1, 0], [0, 1, 2], r"all in 0\.\.2"),
        ([0, 1, 2], [4, 4, 4], "all training samples are of one group"),
        ([0, 1], [0, 1, 2], r"3 rows, but labels \(2,\)"),
    ],
)
def test_what_cannot_be_fitted(labels: list[int], groups: list[int], message: str) -> None:
    features = np.arange(6.0).reshape(3, 2)
    with pytest.raises(DataError, match=message):
        fit_ridge(dual(features, features), labels, groups, num_classes=3)


def test_no_rows() -> None:
    with pytest.raises(DataError, match="no training rows"):
        factor_blocks(lambda: iter(()), lambda: iter(()))


@pytest.mark.parametrize("several", [False, True])
def test_no_table_of_rows_and_classes_is_made(monkeypatch: pytest.MonkeyPatch, several: bool) -> None:
    """4000 rows x 500 classes are 15 MiB a table, of which there were eight; a block of rows takes one."""
    monkeypatch.setattr(ridge, "SCORE_BYTES", 1 << 20)
    random = np.random.default_rng(0)
    features, classes = random.standard_normal((4000, 6)), random.integers(0, 500, 4000)
    labels = (classes[:, None] == np.arange(500)).astype(np.uint8) if several else classes
    resolved = resolvent.resolvent_of_factor(primal(features, features[:20]))
    tracemalloc.start()
    result = fit_ridge(resolved, labels, np.arange(4000) // 2, num_classes=500, strengths=[0.1, 1.0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 << 20
    monkeypatch.undo()
    whole = fit_ridge(resolved, labels, np.arange(4000) // 2, num_classes=500, strengths=[0.1, 1.0])
    assert (result.strength, result.logo_accuracy) == (whole.strength, whole.logo_accuracy)
    np.testing.assert_allclose(result.scores, whole.scores, atol=1e-10)


@pytest.mark.usefixtures("leaf")
@pytest.mark.parametrize("route", [primal, by_moments])
def test_groups_with_more_rows_than_features(route: object) -> None:
    random = np.random.default_rng(4)
    groups = np.repeat([0, 1, 2, 3], [30, 30, 12, 3])
    labels = np.arange(75) % NUM_CLASSES
    features = random.standard_normal((75, 10)) + labels[:, None] * np.linspace(-1, 1, 10)
    targets, strengths = one_vs_rest(labels), [1e-3, 1.0]
    found = leave_group_out(route(features, features), targets, groups, strengths=strengths)  # type: ignore[operator]
    for strength, scores in zip(strengths, found, strict=True):
        np.testing.assert_allclose(scores, refit_without(features, targets, groups, strength), atol=1e-8)


def test_the_smallest_strengths_lose_no_digits() -> None:
    """More features than rows: 1 - H is then a millionth, the difference of numbers near one."""
    features, labels, groups = near_copies(8, width=400, num_groups=12)
    targets, members = one_vs_rest(labels), np.unique(groups, return_inverse=True)[1]
    resolved = by_gram(features, features)
    strength = 1e-6 * resolved.scale
    ours = next(leave_group_out(resolved, targets, members, strengths=[strength]))
    np.testing.assert_allclose(ours, refit_without(features, targets, groups, strength), rtol=1e-6, atol=1e-6)


def test_rows_may_come_sorted_by_group() -> None:
    features, labels, groups = near_copies(3, width=40)
    test = near_copies(4, width=40)[0]
    order = group_order(np.unique(groups, return_inverse=True)[1])
    assert (np.diff(np.bincount(groups - groups.min())[groups[order] - groups.min()]) >= 0).all()
    plain = fit_ridge(by_gram(features, test), labels, groups, num_classes=NUM_CLASSES)
    ordered = fit_ridge(by_gram(features[order], test), labels[order], groups[order], num_classes=NUM_CLASSES)
    assert ordered.logo_accuracy == plain.logo_accuracy
    np.testing.assert_allclose(ordered.scores, plain.scores, atol=1e-9)


def test_several_labels_are_each_decided_by_themselves() -> None:
    features, labels, groups = near_copies(2, width=12, num_groups=30)
    test = near_copies(12, width=12, num_groups=30)[0]
    sets = np.stack([labels == 0, labels != 1, labels == 2], axis=1).astype(np.uint8)
    result = fit_ridge(by_moments(features, test), sets, groups, num_classes=3)
    expected = refit(features, 2.0 * sets - 1, test, result.strength)
    np.testing.assert_allclose(result.scores, expected, atol=1e-8)
    np.testing.assert_array_equal(result.predictions, expected > 0)
    assert result.predictions.dtype == np.uint8
    held_out = refit_without(features, 2.0 * sets - 1, groups, result.strength)
    assert result.logo_accuracy == pytest.approx(np.mean((held_out > 0) == sets))


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (np.zeros((3, 0)), r"label sets \(3, 0\) must hold 0 and 1"),
        (np.full((3, 2), 2), "must hold 0 and 1"),
        (np.zeros((2, 2)), r"3 rows, but labels \(2, 2\)"),
    ],
)
def test_label_sets_that_do_not_fit(sets: np.ndarray, message: str) -> None:
    features = np.arange(6.0).reshape(3, 2)
    with pytest.raises(DataError, match=message):
        fit_ridge(dual(features, features), sets, np.arange(3), num_classes=2)
