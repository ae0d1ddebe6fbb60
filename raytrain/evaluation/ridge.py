"""A ridge classifier in closed form, its strength chosen by leaving out one training group at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.evaluation.factor import Factor, Floats, GramPair, Integers, factor_blocks, factor_gram
from raytrain.evaluation.labels import group_members, taught
from raytrain.evaluation.resolvent import Resolvent, resolvent_of_factor, resolvent_of_gram

__all__ = [
    "STRENGTHS",
    "Factor",
    "GramPair",
    "RidgeResult",
    "factor_blocks",
    "factor_gram",
    "fit_ridge",
    "group_order",
    "leave_group_out",
]

SCORE_BYTES = 256 << 20
"""scores of all strengths that are held at once"""
STRENGTHS = 10.0 ** np.arange(-6.0, 3.25, 0.5)
"""the grid, in units of the mean eigenvalue of the training features"""


@dataclass(frozen=True, kw_only=True)
class RidgeResult:
    """A fitted classifier: what it chose, and what it says of the test rows."""

    strength: float
    scale: float
    """the unit of the strengths"""
    logo_accuracy: float
    """accuracy on training rows, each predicted without its group; of all labels where there are several"""
    edge: str
    """lower or upper where the strength is the grid's first or last, else empty"""
    predictions: NDArray[np.integer]
    """classes i64[m], or label sets u8[m, L]"""
    scores: Floats
    """[m, number of classes seen in training], or [m, L]"""
    columns: Integers
    """the class (or label) of each column of scores"""


def fit_ridge(
    features: GramPair | Factor | Resolvent,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    num_classes: int,
    strengths: ArrayLike = STRENGTHS,
) -> RidgeResult:
    """Fit one-vs-rest ridge regression on targets of -1 and 1, with an intercept that is not penalised.

    Shapes: `labels` int[n] in 0 .. num_classes - 1, or u8[n, L] where a sample has several; `groups` int[n];
    `strengths` in units of the mean eigenvalue. The strength with the highest leave-one-group-out accuracy
    wins, the larger of equals. Only classes with training rows can be predicted; a label is predicted where
    its score is above 0, midway between the targets.

    Raises:
        DataError: labels or groups that do not fit, fewer than two classes or groups.
    """
    resolvent = _resolvent(features)
    lesson = taught(labels, num_rows=resolvent.num_rows, num_classes=num_classes, name="ridge")
    members = group_members(groups, num_rows=resolvent.num_rows, name="ridge")
    grid = np.sort(np.atleast_1d(np.asarray(strengths, dtype=np.float64))) * resolvent.scale
    accuracies = [
        lesson.right(scores) for scores in leave_group_out(resolvent, lesson.signs, members, strengths=grid)
    ]
    best = max(range(len(grid)), key=lambda index: (accuracies[index], index))
    mean = lesson.signs.mean(axis=0)
    weights = resolvent.coefficients(lesson.signs - mean, grid[best : best + 1])[0]
    scores = mean + resolvent.predict(weights)
    edge = "lower" if best == 0 else "upper" if best == len(grid) - 1 else ""
    return RidgeResult(
        strength=float(grid[best]),
        scale=resolvent.scale,
        logo_accuracy=accuracies[best],
        edge=edge if len(grid) > 1 else "",
        predictions=lesson.decide(scores),
        scores=scores,
        columns=lesson.columns,
    )


def _resolvent(features: GramPair | Factor | Resolvent) -> Resolvent:
    if isinstance(features, GramPair):
        return resolvent_of_gram(features)
    return resolvent_of_factor(features) if isinstance(features, Factor) else features


def group_order(members: Integers) -> Integers:
    """Return the order of rows in which groups are together, the smaller ones first."""
    order: Integers = np.lexsort((members, np.bincount(members)[members]))
    return order


def leave_group_out(
    features: GramPair | Factor | Resolvent, targets: Floats, members: Integers, *, strengths: ArrayLike
) -> Iterator[Floats]:
    """Yield, for each strength, what a refit without its group predicts for each training row: f64[n, C].

    With the hat matrix H of the whole fit and its residuals r, the residuals of group G under the refit
    without G are (I - H_GG)^-1 r_G: an identity for penalised least squares, not an approximation. H must be
    that of the model with its intercept, F (F'F + strength I)^-1 F' + 1/n: the features are centred on ALL
    training rows, so that without the 1/n each left-out row is minus the sum of the others: its target leaks.
    Source: leave-one-out of a linear smoother (Golub, Heath, Wahba 1979), by groups.
    """
    resolvent, grid = _resolvent(features), np.atleast_1d(np.asarray(strengths, dtype=np.float64))
    order = group_order(members)
    sorted_already = bool((np.diff(order) == 1).all())
    ordered = resolvent if sorted_already else resolvent.reordered(order)
    numbers = 3 * targets.size + resolvent.rows.shape[1] * targets.shape[1]
    numbers += resolvent.num_rows * len(resolvent.arrow.corner)
    step = max(1, SCORE_BYTES // (8 * numbers))
    for start in range(0, len(grid), step):
        predicted = _held_out(ordered, targets[order], members[order], grid[start : start + step])
        if not sorted_already:
            predicted[:, order] = predicted.copy()
        yield from predicted


def _held_out(resolvent: Resolvent, targets: Floats, members: Integers, strengths: Floats) -> Floats:
    """Return the left-out predictions of rows in `group_order`, [S, n, C]."""
    residuals = resolvent.residuals(targets - targets.mean(axis=0), strengths)
    border = resolvent.arrow.border_rows(resolvent.rows, strengths)
    starts = np.flatnonzero(np.r_[True, np.diff(members) != 0])
    sizes = np.diff(np.r_[starts, len(members)])
    for size in np.unique(sizes).tolist():
        chosen = np.flatnonzero(sizes == size)
        start, stop = int(starts[chosen[0]]), int(starts[chosen[-1]]) + size
        shape = (len(strengths), chosen.size, size, targets.shape[1])
        right = residuals[:, start:stop].reshape(shape)
        if resolvent.is_wide(size):
            solved = resolvent.wide_residuals(start, stop, size, strengths, right)
        else:
            left = resolvent.complements(start, stop, size, strengths, border)
            solved = np.asarray(right / left if size == 1 else np.linalg.solve(left, right), np.float64)
        residuals[:, start:stop] = solved.reshape(len(strengths), stop - start, -1)
    return targets - residuals
