import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.errors import DataError
from raytrain.metrics import accuracy, group_bootstrap, resample_counts, top_k_hits


def clustered(seed: int, num_groups: int = 40, size: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose group means vary: uniform(0, 1) a group, so the truth is one half."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), random.integers(1, size + 1, num_groups))
    chance = random.uniform(size=num_groups)[groups]
    return (random.uniform(size=groups.size) < chance).astype(float), groups


def test_accuracy_is_the_share_of_equals() -> None:
    assert accuracy([1, 2, 3, 0], [1, 2, 0, 0]) == 0.75


@pytest.mark.parametrize(("predictions", "labels"), [([], []), ([1], [1, 2])])
def test_accuracy_needs_pairs(predictions: list[int], labels: list[int]) -> None:
    with pytest.raises(DataError, match="accuracy of"):
        accuracy(predictions, labels)


def test_bootstrap_equals_plain_resampling() -> None:
    correct = np.array([[1, 0, 1, 1, 0, 1, 1], [0, 0, 1, 0, 0, 1, 0]], dtype=float)
    groups = np.array([7, 7, -2, 5, 5, 5, 7])
    intervals = group_bootstrap(correct, groups, num_resamples=300, seed=3)
    plain = []
    for counts in np.concatenate(list(resample_counts(3, num_resamples=300, seed=3))):
        drawn = [
            row
            for name, times in zip(sorted(set(groups.tolist())), counts, strict=True)
            for _ in range(int(times))
            for row in np.flatnonzero(groups == name)
        ]
        plain.append(correct[:, drawn].mean(axis=1))
    np.testing.assert_allclose(intervals.resampled, plain, atol=1e-12)
    np.testing.assert_allclose(intervals.estimates, correct.mean(axis=1))
    first = intervals.row(0)
    assert (first.low, first.high) == pytest.approx(tuple(np.quantile([p[0] for p in plain], [0.025, 0.975])))
    paired = intervals.difference(0, 1)
    assert paired.estimate == pytest.approx(3 / 7)
    assert paired.low == pytest.approx(np.quantile([p[0] - p[1] for p in plain], 0.025))


def test_draws_have_the_law_of_resampling() -> None:
    counts = np.concatenate(list(resample_counts(3, num_resamples=30_000, seed=0)))
    assert (counts.sum(axis=1) == 3).all()
    all_equal = np.mean((counts == 1).all(axis=1))  # 3!/3^3
    assert all_equal == pytest.approx(6 / 27, abs=0.01)
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.02)


def test_chunks_do_not_change_the_draws() -> None:
    whole = np.concatenate(list(resample_counts(9, num_resamples=50, seed=1)))
    parts = list(resample_counts(9, num_resamples=50, seed=1, chunk_bytes=16 * 9 * 7))
    assert len(parts) == 8
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_intervals_cover_the_truth() -> None:
    hits = 0
    for seed in range(200):
        correct, groups = clustered(seed)
        interval = group_bootstrap(correct, groups, num_resamples=400, seed=seed).row(0)
        hits += interval.low <= 0.5 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_groups_of_near_copies_widen_the_interval() -> None:
    correct = np.repeat(np.random.default_rng(0).uniform(size=30) < 0.6, 20)
    groups = np.repeat(np.arange(30), 20)
    grouped = group_bootstrap(correct, groups, num_resamples=500, seed=0).row(0)
    single = group_bootstrap(correct, np.arange(600), num_resamples=500, seed=0).row(0)
    ratio = (grouped.high - grouped.low) / (single.high - single.low)
    assert ratio == pytest.approx(np.sqrt(20), rel=0.25)


def test_paired_difference_is_narrower_than_unpaired() -> None:
    correct, groups = clustered(1)
    other = correct.copy()
    other[:5] = 1 - other[:5]
    intervals = group_bootstrap([correct, other], groups, num_resamples=500, seed=0)
    paired, alone = intervals.difference(1, 0), intervals.row(0)
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_contrast_of_gains() -> None:
    random = np.random.default_rng(4)
    correct, groups = random.uniform(size=(4, 60)) < 0.5, np.arange(60) // 3
    intervals = group_bootstrap(correct, groups, num_resamples=200, seed=0)
    value = intervals.contrast([1, -1, -1, 1])
    mean = correct.mean(axis=1)
    assert value.estimate == pytest.approx(mean[0] - mean[1] - (mean[2] - mean[3]))
    drawn = intervals.resampled
    expected = np.quantile((drawn[:, 0] - drawn[:, 1]) - (drawn[:, 2] - drawn[:, 3]), [0.025, 0.975])
    assert [value.low, value.high] == pytest.approx(expected.tolist())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_of_samples_and_names_of_groups_do_not_matter(seed: int) -> None:
    correct, groups = clustered(seed, num_groups=6)
    order = np.random.default_rng(seed).permutation(groups.size)
    one = group_bootstrap(correct, groups, num_resamples=100, seed=seed)
    two = group_bootstrap(correct[order], groups[order] * 3 + 11, num_resamples=100, seed=seed)
    np.testing.assert_allclose(one.resampled, two.resampled, atol=1e-12)


def test_seed_decides() -> None:
    correct, groups = clustered(2)
    draws = [group_bootstrap(correct, groups, num_resamples=50, seed=seed).resampled for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_one_group_is_refused() -> None:
    with pytest.raises(DataError, match="an interval needs at least two groups"):
        group_bootstrap([1, 0], [5, 5], num_resamples=100, seed=0)


def test_shapes_must_fit() -> None:
    with pytest.raises(DataError, match="n must be the same"):
        group_bootstrap([[1, 0, 1]], [5, 5], num_resamples=100, seed=0)


def test_top_k_hits() -> None:
    scores = np.array([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5], [0.3, 0.3, 0.3], [0.3, 0.3, 0.3]])
    columns = np.array([2, 5, 7])
    assert top_k_hits(scores, columns, [5, 7, 2, 5], k=1).tolist() == [True, False, True, False]
    assert top_k_hits(scores, columns, [7, 2, 5, 7], k=2).tolist() == [True, False, True, False]
    assert top_k_hits(scores, columns, [3, 2, 9, 7], k=3).tolist() == [False, True, False, True]


def test_a_class_at_minus_infinity_is_not_among_the_best() -> None:
    scores = np.array([[0.5, -np.inf, -np.inf]])
    assert top_k_hits(scores, [0, 1, 2], [0], k=2).tolist() == [True]
    assert top_k_hits(scores, [0, 1, 2], [1], k=3).tolist() == [False]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 6))
def test_top_k_hits_equal_sorting(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    scores, labels = random.integers(0, 4, (20, 6)).astype(float), random.integers(0, 6, 20)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = (best == labels[:, None]).any(axis=1)
    np.testing.assert_array_equal(top_k_hits(scores, np.arange(6), labels, k=k), expected)


def test_top_k_hits_need_scores_that_fit() -> None:
    with pytest.raises(DataError, match=r"top-5: scores \(2, 3\), classes \(2,\), labels \(2,\)"):
        top_k_hits(np.zeros((2, 3)), [0, 1], [0, 1], k=5)
