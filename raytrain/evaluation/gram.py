"""From features files to what ridge regression needs: centred inner products, or the thin factor itself.

Each pathway is centred on its training mean and scaled to unit total variance over the training rows (one
number a pathway), so that none dominates the joined representation by its scale. Joining is then adding Gram
matrices.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from raytrain.errors import ConfigError
from raytrain.evaluation.factor import Factor, Floats, GramPair, Integers, factor_blocks, factor_gram
from raytrain.evaluation.features import Features, Mode
from raytrain.evaluation.moments import SharedMoments
from raytrain.evaluation.resolvent import Resolvent, resolvent_of_gram
from raytrain.evaluation.room import ADVICE, check_room

BLOCK_BYTES = 256 << 20
MAX_SIDE = 12_000
"""largest matrix that is decomposed: 1.1 GiB, and some minutes on one core"""
CACHED_GRAM_ROWS = 4_096
"""Gram matrices up to this many rows are kept for the joined representation, not computed twice"""


def train_test_gram(features: Features, train_rows: Integers, test_rows: Integers, mode: Mode) -> GramPair:
    """Return the inner products of one pathway's centred and scaled features.

    Reads blocks of columns, so that beyond the result it holds about 512 MiB whatever D. Works in float64:
    the smallest strengths lie a billion times below the largest eigenvalue.
    """
    num_train, num_test, width = len(train_rows), len(test_rows), features.width(mode)
    gram, cross = np.zeros((num_train, num_train)), np.zeros((num_test, num_train))
    step = max(1, BLOCK_BYTES // (8 * max(1, num_train + num_test)))
    for start in range(0, width, step):
        columns = slice(start, min(width, start + step))
        train = features.read(train_rows, mode, columns=columns).astype(np.float64)
        test = features.read(test_rows, mode, columns=columns).astype(np.float64)
        mean = train.mean(axis=0)
        train -= mean
        test -= mean
        gram += train @ train.T
        cross += test @ train.T
    factor = _unit_variance(float(np.trace(gram)), num_train)
    return GramPair(train=gram * factor, cross=cross * factor, num_features=width)


def join(grams: Sequence[GramPair]) -> GramPair:
    """Return the inner products of the concatenated features."""
    return GramPair(
        train=np.sum([gram.train for gram in grams], axis=0),
        cross=np.sum([gram.cross for gram in grams], axis=0),
        num_features=sum(gram.num_features for gram in grams),
    )


def _unit_variance(total: float, num_rows: int) -> float:
    """Return the factor that makes the total variance one; 0 for features that are constant."""
    return num_rows / total if total > 0 else 0.0


def factor_features(
    features: Sequence[Features], train_rows: Integers, test_rows: Integers, mode: Mode
) -> Factor:
    """Return the thin factor of the concatenated pathways from their D x D moments; for more rows than D."""
    widths = [one.width(mode) for one in features]
    step = max(1, BLOCK_BYTES // (8 * sum(widths)))
    means, factors = zip(*(_moments(one, train_rows, mode, step) for one in features), strict=True)
    mean = np.concatenate(means)
    roots = np.sqrt(np.repeat(factors, widths))

    def blocks(rows: Integers) -> Iterator[Floats]:
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            joined = np.concatenate([one.read(part, mode) for one in features], axis=1)
            yield (joined - mean) * roots

    return factor_blocks(lambda: blocks(train_rows), lambda: blocks(test_rows))


def _moments(features: Features, rows: Integers, mode: Mode, step: int) -> tuple[Floats, float]:
    """Return the mean [D] and the factor to unit total variance, in two passes (one would cancel)."""
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    total = sum(features.read(part, mode).sum(axis=0, dtype=np.float64) for part in parts)
    mean = np.asarray(total) / len(rows)
    variance = 0.0
    for part in parts:
        block = features.read(part, mode).astype(np.float64) - mean
        variance += float(np.einsum("nd,nd->", block, block))
    return mean, _unit_variance(variance, len(rows))


class Representations:
    """What single pathways and their joins are to a classifier, on fixed training and test rows.

    Takes the D x D route where D < n, else the n x n route; what pathways share is computed once.
    """

    def __init__(self, train_rows: Integers, test_rows: Integers, *, num_classes: int) -> None:
        self._rows, self._num_classes = (train_rows, test_rows), num_classes
        self._grams: dict[tuple[str, Mode], GramPair] = {}
        self._moments: dict[Mode, SharedMoments] = {}
        # One is kept: the next question is often about the same features, at another strength.
        self._last: tuple[tuple[tuple[str, ...], Mode], Resolvent] | None = None

    def resolvent(self, features: Sequence[Features], mode: Mode) -> Resolvent:
        """Return the resolvent of the concatenation, for ridge regression.

        Raises:
            ConfigError: too many samples and too many features at once.
        """
        key = (tuple(one.name for one in features), mode)
        if self._last is None or self._last[0] != key:
            self._last = (key, self._resolvent(features, mode))
        return self._last[1]

    def _resolvent(self, features: Sequence[Features], mode: Mode) -> Resolvent:
        if self._is_narrow(features, mode):
            if mode not in self._moments:
                self._moments[mode] = SharedMoments(*self._rows, mode)
            return self._moments[mode].resolvent(features)
        return resolvent_of_gram(join([self._gram(one, mode) for one in features]))

    def factor(self, features: Sequence[Features], mode: Mode) -> Factor:
        """Return the thin factor of the concatenation.

        Raises:
            ConfigError: too many samples and too many features at once.
        """
        if self._is_narrow(features, mode):
            return factor_features(features, *self._rows, mode)
        return factor_gram(join([self._gram(one, mode) for one in features]))

    def _is_narrow(self, features: Sequence[Features], mode: Mode) -> bool:
        """Return whether there are fewer features than training rows; ConfigError where there is too much."""
        width, num_rows = sum(one.width(mode) for one in features), len(self._rows[0])
        side, num_tested, columns = min(width, num_rows), len(self._rows[1]), self._num_classes
        names = "+".join(one.name for one in features)
        what = f"probe of {names}: {num_rows} training samples x {width} features"
        if side > MAX_SIDE:
            raise ConfigError(f"{what}; one of the two must be at most {MAX_SIDE}; {ADVICE}")
        parts = {
            "factor": 8.0 * side * (num_rows + num_tested),
            f"weights of {columns} classes": 24.0 * side * columns,
            f"scores of {num_tested} test samples": 24.0 * num_tested * columns,
        }
        check_room(what, parts)
        return width < num_rows

    def _gram(self, features: Features, mode: Mode) -> GramPair:
        known = self._grams.get((features.name, mode))
        if known is None:
            known = train_test_gram(features, *self._rows, mode)
            if len(self._rows[0]) <= CACHED_GRAM_ROWS:
                self._grams[features.name, mode] = known
        return known
