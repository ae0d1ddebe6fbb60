"""A ridge classifier in closed form, its strength chosen by leaving out one training group at a time.

Everything starts from a thin factor of the centred training features F [n, D] = U S V': the scores F V [n, k]
and the eigenvalues S^2 [k]. It comes from the n x n Gram matrix or from the D x D moments; k = min(n, D).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK_BYTES = 64 << 20
STRENGTHS = 10.0 ** np.arange(-6.0, 3.25, 0.5)
"""the grid, in units of the mean eigenvalue of the training features"""


@dataclass(frozen=True, kw_only=True)
class GramPair:
    """Inner products of D centred features: `train` [n, n], and test with train, `cross` [m, n]."""

    train: Floats
    cross: Floats
    num_features: int


@dataclass(frozen=True, kw_only=True)
class Factor:
    """Features in the basis of their principal axes: `train` [n, k], `test` [m, k], `eigenvalues` [k] > 0.

    `scale` is the mean eigenvalue over min(n - 1, D), the unit of the strengths.
    """

    train: Floats
    test: Floats
    eigenvalues: Floats
    scale: float


@dataclass(frozen=True, kw_only=True)
class RidgeResult:
    """A fitted classifier: what it chose, and what it says of the test rows."""

    strength: float
    logo_accuracy: float
    """accuracy on training rows, each predicted without its group"""
    edge: str
    """lower or upper where the strength is the grid's first or last, else empty"""
    predictions: Integers
    scores: Floats
    """[m, number of classes seen in training]"""


def factor_gram(gram: GramPair) -> Factor:
    """Return the thin factor of features known by their inner products only."""
    eigenvalues, vectors = np.linalg.eigh(gram.train)
    kept = _significant(eigenvalues)
    roots = np.sqrt(eigenvalues[kept])
    vectors = vectors[:, kept]
    return Factor(
        train=vectors * roots,
        test=gram.cross @ (vectors / roots),
        eigenvalues=eigenvalues[kept],
        scale=_scale(float(np.trace(gram.train)), min(len(gram.train) - 1, gram.num_features)),
    )


def factor_blocks(
    train_blocks: Callable[[], Iterator[Floats]], test_blocks: Callable[[], Iterator[Floats]]
) -> Factor:
    """Return the thin factor of features read in blocks of rows, already centred on the training mean.

    Reads the training rows twice; holds D x D and (n + m) x D numbers.
    """
    moments: Floats | None = None
    num_rows = 0
    for block in train_blocks():
        product = block.T @ block
        moments = product if moments is None else moments + product
        num_rows += len(block)
    if moments is None:
        raise DataError("ridge: no training rows")
    eigenvalues, vectors = np.linalg.eigh(moments)
    kept = _significant(eigenvalues)
    axes = vectors[:, kept]
    test = [block @ axes for block in test_blocks()]
    return Factor(
        train=np.concatenate([block @ axes for block in train_blocks()]),
        test=np.concatenate(test) if test else np.zeros((0, axes.shape[1])),
        eigenvalues=eigenvalues[kept],
        scale=_scale(float(np.trace(moments)), min(num_rows - 1, len(moments))),
    )


def _significant(eigenvalues: Floats) -> NDArray[np.bool_]:
    """Leave out what rounding makes of zero; centring alone makes one eigenvalue zero."""
    largest = max(float(eigenvalues[-1]), 0.0)
    return eigenvalues > largest * len(eigenvalues) * np.finfo(np.float64).eps


def _scale(total: float, rank: int) -> float:
    """Return the unit of the strengths; any will do where the features are constant."""
    return total / rank if total > 0 and rank > 0 else 1.0


def fit_ridge(
    features: GramPair | Factor,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    num_classes: int,
    strengths: ArrayLike = STRENGTHS,
) -> RidgeResult:
    """Fit one-vs-rest ridge regression on targets of -1 and 1, with an intercept that is not penalised.

    Shapes: `labels` int[n] in 0 .. num_classes - 1, `groups` int[n]; `strengths` in units of the mean
    eigenvalue. The strength with the highest leave-one-group-out accuracy wins, the larger of equals. Only
    classes with training rows can be predicted.

    Raises:
        DataError: labels or groups that do not fit, fewer than two classes or groups.
    """
    factor = factor_gram(features) if isinstance(features, GramPair) else features
    classes, members = _check(len(factor.train), labels, groups, num_classes)
    targets = np.where(np.asarray(labels)[:, None] == classes, 1.0, -1.0)
    truth = np.searchsorted(classes, np.asarray(labels))
    grid = np.sort(np.asarray(strengths, dtype=np.float64)) * factor.scale
    accuracies = [
        float(np.mean(scores.argmax(axis=1) == truth))
        for scores in leave_group_out(factor, targets, members, strengths=grid)
    ]
    best = max(range(len(grid)), key=lambda index: (accuracies[index], index))
    mean = targets.mean(axis=0)
    weights = (factor.train.T @ (targets - mean)) / (factor.eigenvalues + grid[best])[:, None]
    scores = mean + factor.test @ weights
    edge = "lower" if best == 0 else "upper" if best == len(grid) - 1 else ""
    return RidgeResult(
        strength=float(grid[best]),
        logo_accuracy=accuracies[best],
        edge=edge if len(grid) > 1 else "",
        predictions=classes[scores.argmax(axis=1)],
        scores=scores,
    )


def _check(
    num_rows: int, labels: ArrayLike, groups: ArrayLike, num_classes: int
) -> tuple[Integers, Integers]:
    """Return the classes seen and the number of each row's group."""
    classes = np.unique(np.asarray(labels, dtype=np.int64))
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    if np.shape(labels) != (num_rows,) or np.shape(groups) != (num_rows,):
        raise DataError(
            f"ridge: {num_rows} rows, but labels {np.shape(labels)} and groups {np.shape(groups)}"
        )
    if classes.size < 2 or classes[0] < 0 or classes[-1] >= num_classes:
        raise DataError(
            f"ridge: training labels {classes[:5].tolist()}; "
            f"needs two classes or more, all in 0..{num_classes - 1}"
        )
    if names.size < 2:
        raise DataError(
            "ridge: all training samples are of one group; at least two are needed to leave one out"
        )
    return classes, members.astype(np.int64)


def leave_group_out(
    factor: Factor, targets: Floats, members: Integers, *, strengths: ArrayLike
) -> Iterator[Floats]:
    """Yield, for each strength, what a refit without its group predicts for each training row: f64[n, C].

    With the hat matrix H of the whole fit and its residuals r, the residuals of group G under the refit
    without G are (I - H_GG)^-1 r_G: an identity for penalised least squares, not an approximation. H must be
    that of the model with its intercept, F (F'F + strength I)^-1 F' + 1/n: the features are centred on ALL
    training rows, so that without the 1/n each left-out row is minus the sum of the others: its target leaks.
    Source: leave-one-out of a linear smoother (Golub, Heath, Wahba 1979), by groups.
    """
    order = np.lexsort((members, np.bincount(members)[members]))
    rows, ordered = factor.train[order], targets[order]
    mean = targets.mean(axis=0)
    projected = rows.T @ (ordered - mean)
    batches = list(_equal_groups(members[order], rows.shape[1]))
    for strength in np.atleast_1d(np.asarray(strengths, dtype=np.float64)):
        inverse = 1.0 / (factor.eigenvalues + strength)
        residuals = ordered - mean - rows @ (inverse[:, None] * projected)
        for start, stop, size in batches:
            count = (stop - start) // size
            block = rows[start:stop].reshape(count, size, rows.shape[1])
            held_out = residuals[start:stop].reshape(count, size, -1)
            solved = _held_out_residuals(block, inverse, held_out, intercept=1 / len(rows))
            residuals[start:stop] = solved.reshape(stop - start, -1)
        predicted = np.empty_like(residuals)
        predicted[order] = ordered - residuals
        yield predicted


def _equal_groups(members: Integers, width: int) -> Iterator[tuple[int, int, int]]:
    """Yield (start, stop, group size) of runs of equally large groups, each within the memory bound."""
    starts = np.flatnonzero(np.r_[True, np.diff(members) != 0])
    sizes = np.diff(np.r_[starts, len(members)])
    for size in np.unique(sizes):
        start = int(starts[np.argmax(sizes == size)])
        count = int(np.sum(sizes == size))
        step = max(1, BLOCK_BYTES // (8 * int(size) * max(width, int(size), 1)))
        for first in range(0, count, step):
            last = min(count, first + step)
            yield start + first * int(size), start + last * int(size), int(size)


def _held_out_residuals(block: Floats, inverse: Floats, residuals: Floats, *, intercept: float) -> Floats:
    """Solve (I - H_GG) x = r_G for groups of one size: block [b, g, k], residuals [b, g, C]."""
    size, width = block.shape[1:]
    if size <= width + 1:
        hat = (block * inverse) @ block.transpose(0, 2, 1) + intercept
        return np.asarray(np.linalg.solve(np.eye(size) - hat, residuals), dtype=np.float64)
    # Groups larger than the features are wide: H_GG = A A' with A [g, k + 1], so solve in k + 1 dimensions.
    column = np.full((len(block), size, 1), np.sqrt(intercept))
    roots = np.concatenate([block * np.sqrt(inverse), column], axis=2)
    transposed = roots.transpose(0, 2, 1)
    inner = np.eye(width + 1) - transposed @ roots
    return np.asarray(residuals + roots @ np.linalg.solve(inner, transposed @ residuals), dtype=np.float64)
