"""Figures of merit, and their intervals by resampling whole groups."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.forms.randomness import generator
from raytrain.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Name = TypeVar("Name", bound=Hashable)

CHUNK_BYTES = 64 << 20
CONFIDENCE = 0.95


def accuracy(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of equal entries of predictions [n] and labels [n].

    Raises:
        DataError: there is nothing to compare.
    """
    predicted, expected = np.asarray(predictions), np.asarray(labels)
    if predicted.shape != expected.shape or predicted.size == 0:
        raise DataError(f"accuracy of {predicted.shape} predictions against {expected.shape} labels")
    return float(np.mean(predicted == expected))


def top_k_hits(scores: ArrayLike, columns: ArrayLike, labels: ArrayLike, *, k: int) -> NDArray[np.bool_]:
    """Return whether each label is among the k classes of the highest scores, bool[n].

    Shapes: `scores` f[n, K], column j is class `columns[j]` (-inf: not considered), `labels` int[n]. Of equal
    scores the smaller class counts as the higher. A class without a column is never among them.

    Raises:
        DataError: shapes that do not fit.
    """
    values, classes, expected = np.asarray(scores), np.asarray(columns), np.asarray(labels)
    if values.shape != (expected.size, classes.size) or expected.ndim != 1:
        raise DataError(f"top-{k}: scores {values.shape}, classes {classes.shape}, labels {expected.shape}")
    own = expected[:, None] == classes
    score = np.where(own, values, -np.inf).max(axis=1, initial=-np.inf)[:, None]
    before = (values > score) | ((values == score) & (classes < expected[:, None]))
    hits: NDArray[np.bool_] = np.isfinite(score[:, 0]) & (before.sum(axis=1) < k)
    return hits


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float

    @property
    def bounds(self) -> list[float]:
        """Return [low, high], as the JSON files hold it."""
        return [self.low, self.high]


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Estimates [M] and their resampled values [R, M]; the resamples are shared by all rows."""

    estimates: Floats
    resampled: Floats

    def row(self, index: int) -> Interval:
        """Return the interval of one row."""
        return self.contrast(np.eye(len(self.estimates))[index])

    def difference(self, first: int, second: int) -> Interval:
        """Return the paired interval of row `first` minus row `second`."""
        rows = np.eye(len(self.estimates))
        return self.contrast(rows[first] - rows[second])

    def contrast(self, weights: ArrayLike) -> Interval:
        """Return the paired interval of sum_m weights[m] * row m, e.g. (a - b) - (c - d)."""
        factors = np.asarray(weights, dtype=np.float64)
        tails = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
        # Row by row and only those that count: other rows must not change the rounding.
        chosen = np.flatnonzero(factors)
        resampled, estimate = np.zeros(len(self.resampled)), 0.0
        for place in chosen.tolist():
            resampled += factors[place] * self.resampled[:, place]
            estimate += float(factors[place] * self.estimates[place])
        low, high = np.quantile(resampled, tails)
        return Interval(estimate=estimate, low=float(low), high=float(high))


class Paired(Generic[Name]):
    """Scores of the same test samples by name: one bootstrap for all, so that every difference is paired."""

    def __init__(
        self, scores: Mapping[Name, NDArray[Any]], groups: ArrayLike, *, num_resamples: int, seed: int
    ) -> None:
        """Shapes and errors: as `group_bootstrap`; each score f[n]."""
        self._places = {name: place for place, name in enumerate(scores)}
        self._intervals = group_bootstrap(
            np.stack(list(scores.values())), groups, num_resamples=num_resamples, seed=seed
        )

    def __contains__(self, name: Name) -> bool:
        return name in self._places

    def sum(self, plus: Sequence[Name], minus: Sequence[Name] = ()) -> Interval:
        """Return the paired interval of the means of those in `plus` minus those in `minus`."""
        weights = np.zeros(len(self._places))
        for names, sign in ((plus, 1.0), (minus, -1.0)):
            for name in names:
                weights[self._places[name]] += sign
        return self._intervals.contrast(weights)


def group_bootstrap(correct: ArrayLike, groups: ArrayLike, *, num_resamples: int, seed: int) -> Intervals:
    """Resample the groups of n samples with replacement, the same draw for all M rows.

    Shapes: `correct` [M, n] (right or wrong, or any score), `groups` int[n]. A row's value is its sum over
    the drawn groups divided by their number of samples (ratio estimator). Samples of one group (frames of one
    track) are near copies: resampling them one by one would give intervals that are far too narrow.
    Percentile intervals know no more than the sample: a row without any error gets [1, 1].

    Raises:
        DataError: shapes that do not fit, or fewer than two groups (nothing to resample).
    """
    values = np.atleast_2d(np.asarray(correct, dtype=np.float64))
    labels = np.asarray(groups)
    if values.ndim != 2 or labels.shape != values.shape[1:] or labels.size == 0:
        raise DataError(f"bootstrap of scores {values.shape} with groups {labels.shape}; n must be the same")
    members = np.unique(labels, return_inverse=True)[1]
    sizes = np.bincount(members).astype(np.float64)
    if sizes.size < 2:
        raise DataError("bootstrap: all samples are of one group; an interval needs at least two groups")
    sums = np.stack([np.bincount(members, weights=row) for row in values])
    parts = [
        (counts @ sums.T) / (counts @ sizes)[:, None]
        for counts in resample_counts(sizes.size, num_resamples=num_resamples, seed=seed)
    ]
    return Intervals(estimates=values.mean(axis=1), resampled=np.concatenate(parts))


def resample_counts(
    num_groups: int, *, num_resamples: int, seed: int, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Floats]:
    """Yield how often each group is drawn, f64[chunk, num_groups]; the chunking does not change the draws."""
    random = generator(seed, "group bootstrap")
    shares = np.full(num_groups, 1 / num_groups)
    chunk = max(1, chunk_bytes // (16 * num_groups))
    for start in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - start)
        yield random.multinomial(num_groups, shares, size=size).astype(np.float64)
