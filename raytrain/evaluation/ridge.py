"""A ridge classifier in closed form, its strength chosen by leaving out one training group at a time."""

from collections.abc import Callable, Iterator
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
    "HeldOut",
    "RidgeResult",
    "Targets",
    "factor_blocks",
    "factor_gram",
    "fit_ridge",
    "group_order",
    "leave_group_out",
]

SCORE_BYTES = 256 << 20
"""targets and scores that are held at once"""
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
    targets = Targets(of=lesson.signs, mean=2 * lesson.shares - 1)
    right = np.zeros(len(grid), np.int64)
    for held_out in leave_group_out(resolvent, targets, members, strengths=grid):
        for index, scores in zip(held_out.strengths, held_out.scores, strict=True):
            right[index] += lesson.right(scores, held_out.rows)
    best = max(range(len(grid)), key=lambda index: (right[index], index))
    weights = resolvent.arrow.solve(_products(resolvent, targets), grid[best : best + 1])[0]
    scores = targets.mean + resolvent.predict(weights)
    edge = "lower" if best == 0 else "upper" if best == len(grid) - 1 else ""
    return RidgeResult(
        strength=float(grid[best]),
        scale=resolvent.scale,
        logo_accuracy=int(right[best]) / lesson.decisions(len(lesson)),
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


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is regressed on, made of some rows at a time: `of(rows)` f64[b, C]; `mean` f64[C] is of all."""

    of: Callable[[Integers], Floats]
    mean: Floats

    def centred(self, rows: Integers) -> Floats:
        """Return the targets of some rows minus the mean of all."""
        return self.of(rows) - self.mean


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Predictions f64[S, b, C] of b rows, each without its group, at the S strengths of these numbers."""

    strengths: range
    rows: Integers
    scores: Floats


def leave_group_out(
    features: GramPair | Factor | Resolvent, targets: Targets, members: Integers, *, strengths: ArrayLike
) -> Iterator[HeldOut]:
    """Yield what a refit without its group predicts for each training row, in blocks of strengths and groups.

    With the hat matrix H of the whole fit and its residuals r, the residuals of group G under the refit
    without G are (I - H_GG)^-1 r_G: an identity for penalised least squares, not an approximation. H must be
    that of the model with its intercept, F (F'F + strength I)^-1 F' + 1/n: the features are centred on ALL
    training rows, so that without the 1/n each left-out row is minus the sum of the others: its target leaks.
    Source: leave-one-out of a linear smoother (Golub, Heath, Wahba 1979), by groups.

    A block takes about SCORE_BYTES, however many rows and classes there are, or what one group takes.
    """
    resolvent, grid = _resolvent(features), np.atleast_1d(np.asarray(strengths, dtype=np.float64))
    order = group_order(members)
    ordered = resolvent if (np.diff(order) == 1).all() else resolvent.reordered(order)
    sorted_members = members[order]
    products = _products(ordered, targets, order)
    largest = min(int(np.bincount(members).max()), resolvent.rows.shape[1] + 1)
    a_row = 5 * len(targets.mean) + len(resolvent.arrow.corner) + 2 * largest
    step = max(1, SCORE_BYTES // (8 * (resolvent.num_rows * a_row + products.size)))
    height = max(1, SCORE_BYTES // (8 * a_row))
    for first in range(0, len(grid), step):
        part = grid[first : first + step]
        solved = resolvent.arrow.solve(products, part)
        for rows in _whole_groups(sorted_members, height):
            centred = targets.centred(order[rows])
            residuals = _held_out(ordered, rows, centred, solved, sorted_members[rows], part)
            yield HeldOut(
                strengths=range(first, first + len(part)),
                rows=order[rows],
                scores=centred + targets.mean - residuals,
            )


def _products(resolvent: Resolvent, targets: Targets, order: Integers | None = None) -> Floats:
    """Return Z' targets, [k, C]; row i of Z is row `order[i]` of the targets."""
    rows = np.arange(resolvent.num_rows) if order is None else order
    step = max(1, SCORE_BYTES // (16 * len(targets.mean)))
    products = np.zeros((resolvent.rows.shape[1], len(targets.mean)))
    for start in range(0, len(rows), step):
        products += resolvent.rows[start : start + step].T @ targets.centred(rows[start : start + step])
    return products


def _whole_groups(members: Integers, height: int) -> Iterator[slice]:
    """Yield blocks of at most so many rows, or of one group; `members` has groups together."""
    stops = np.append(np.flatnonzero(np.diff(members)) + 1, len(members))
    start = 0
    while start < len(members):
        fitting = int(np.searchsorted(stops, start + height, side="right"))
        following = int(np.searchsorted(stops, start, side="right"))
        stop = int(stops[max(fitting - 1, following)])
        yield slice(start, stop)
        start = stop


def _held_out(
    resolvent: Resolvent,
    rows: slice,
    targets: Floats,
    solved: Floats,
    members: Integers,
    strengths: Floats,
) -> Floats:
    """Return the left-out residuals of a block of whole groups, [S, b, C], for its centred targets."""
    residuals = resolvent.residuals(rows, targets, solved, strengths)
    border = resolvent.arrow.border_rows(resolvent.rows[rows], strengths)
    starts = np.flatnonzero(np.r_[True, np.diff(members) != 0])
    sizes = np.diff(np.r_[starts, len(members)])
    for size in np.unique(sizes).tolist():
        chosen = np.flatnonzero(sizes == size)
        start, stop = int(starts[chosen[0]]), int(starts[chosen[-1]]) + size
        shape = (len(strengths), chosen.size, size, targets.shape[1])
        right = residuals[:, start:stop].reshape(shape)
        place = (rows.start + start, rows.start + stop)
        if resolvent.is_wide(size):
            answered = resolvent.wide_residuals(*place, size, strengths, right)
        else:
            left = resolvent.complements(*place, size, strengths, border[:, start:stop])
            answered = np.asarray(right / left if size == 1 else np.linalg.solve(left, right), np.float64)
        residuals[:, start:stop] = answered.reshape(len(strengths), stop - start, -1)
    return residuals
