"""The D x D way to ridge regression, for fewer features than training rows: moments shared by all subsets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raytrain.evaluation.factor import Floats, Integers
from raytrain.evaluation.features import Features, Mode
from raytrain.evaluation.resolvent import Resolvent, resolvent_of_moments

BLOCK_BYTES = 64 << 20
KEPT_BYTES = 2 << 30
"""centred features that are kept for the next subset, not read again"""


@dataclass(frozen=True, kw_only=True)
class _Centring:
    """What a pathway's features are shifted and multiplied by: mean [D], one number for all."""

    mean: Floats
    root: float


class SharedMoments:
    """Moments F_p'F_q of pairs of pathways, computed once; a subset of pathways takes its blocks of them.

    Each pathway is centred on its training mean and scaled to unit total variance over the training rows.
    """

    def __init__(self, train_rows: Integers, test_rows: Integers, mode: Mode) -> None:
        self._train_rows, self._test_rows, self._mode = train_rows, test_rows, mode
        self._centrings: dict[str, _Centring] = {}
        self._blocks: dict[tuple[str, str], Floats] = {}
        self._kept: dict[tuple[str, bool], Floats] = {}

    def resolvent(self, features: Sequence[Features]) -> Resolvent:
        """Return the resolvent of the concatenated pathways."""
        columns = [self._rows(one, test=False) for one in features]
        moments = np.block([[self._block(one, other) for other in features] for one in features])
        widths = np.cumsum([one.width(self._mode) for one in features])[:-1]

        def test(weights: Floats) -> Floats:
            parts = np.split(weights, widths)
            products = [self._rows(one, test=True) @ part for one, part in zip(features, parts, strict=True)]
            return np.asarray(np.sum(products, axis=0), dtype=np.float64)

        joined = np.empty((len(self._train_rows), len(moments)), order="F")
        np.concatenate(columns, axis=1, out=joined)
        return resolvent_of_moments(moments, joined, test)

    def _block(self, one: Features, other: Features) -> Floats:
        key = (one.name, other.name)
        if key not in self._blocks:
            first = self._rows(one, test=False)
            product = first.T @ (first if one.name == other.name else self._rows(other, test=False))
            self._blocks[key], self._blocks[key[::-1]] = product, product.T
        return self._blocks[key]

    def _rows(self, features: Features, *, test: bool) -> Floats:
        """Return centred and scaled features, f64[n, D] in Fortran order."""
        key = (features.name, test)
        if key in self._kept:
            return self._kept[key]
        rows = self._test_rows if test else self._train_rows
        values = np.empty((len(rows), features.width(self._mode)), order="F")
        step = max(1, BLOCK_BYTES // (8 * max(1, values.shape[1])))
        for start in range(0, len(rows), step):
            values[start : start + step] = features.read(rows[start : start + step], self._mode)
        if features.name not in self._centrings:
            assert not test, "the training rows say how to centre"
            self._centrings[features.name] = _centring(values)
        centring = self._centrings[features.name]
        values -= centring.mean
        values *= centring.root
        if sum(kept.nbytes for kept in self._kept.values()) + values.nbytes <= KEPT_BYTES:
            self._kept[key] = values
        return values


def _centring(values: Floats) -> _Centring:
    mean = values.mean(axis=0)
    total = 0.0
    for start in range(0, len(values), 4096):
        block = values[start : start + 4096] - mean
        total += float(np.vdot(block, block))
    return _Centring(mean=mean, root=float(np.sqrt(len(values) / total)) if total > 0 else 0.0)
