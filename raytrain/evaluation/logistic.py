"""Logistic regression, convex and solved to convergence, its strength chosen by folds of whole groups."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from raytrain.errors import DataError
from raytrain.evaluation.factor import Factor, Floats, Integers
from raytrain.evaluation.labels import Taught, group_members, taught
from raytrain.evaluation.task import Answer, Question, Task, Words

STRENGTHS = 10.0 ** np.arange(-4.0, 1.5, 1.0)
"""the grid, in units of the mean eigenvalue of the training features' covariance"""
NUM_FOLDS = 5
BLOCK_BYTES = 256 << 20
"""logits of training rows that are held at once"""
CERTAIN = 50.0
"""the score of a label that all training rows have; minus that where none has it"""
CURVATURE = 0.25
"""of the loss in its logits, at most; only says in which coordinates the minimum is looked for"""
MAX_ITERATIONS = 5_000
GRADIENT = 1e-6
"""largest component of the gradient at the solution, in the coordinates of `_Problem`"""
FOLD_GRADIENT = 1e-4
"""the same while the strength is being chosen: right or wrong does not change any more"""


@dataclass(frozen=True, kw_only=True)
class LogisticResult:
    """A fitted classifier: what it chose, and what it says of the test rows."""

    strength: float
    """what |W|^2 / 2 is multiplied by beside the mean loss"""
    edge: str
    """lower or upper where the strength is the grid's first or last, else empty"""
    fold_accuracy: float
    """accuracy on training rows, each predicted without its fold; of all labels where there are several"""
    predictions: NDArray[np.integer]
    """classes i64[m], or label sets u8[m, L]"""
    scores: Floats
    """logits [m, number of classes seen in training], or [m, L]"""
    columns: Integers
    gradient: float
    """largest component of the gradient at the solution"""


def fit_logistic(
    factor: Factor,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    num_classes: int,
    strengths: ArrayLike = STRENGTHS,
    num_folds: int = NUM_FOLDS,
) -> LogisticResult:
    """Fit multinomial logistic regression (one logistic regression a label where a sample has several).

    Minimises the mean loss plus strength / 2 times the squared weights; the intercept is not penalised. The
    penalty does not see rotations, so everything happens in the basis of the thin factor. The strength with
    the highest accuracy over the folds wins, the larger of equals.

    Shapes: `labels` int[n] or u8[n, L], `groups` int[n]; `strengths` in units of the mean eigenvalue / n.

    Raises:
        DataError: labels or groups that do not fit, fewer than two classes or groups, no convergence.
    """
    num_rows = len(factor.train)
    lesson = taught(labels, num_rows=num_rows, num_classes=num_classes, name="logistic")
    folds = group_folds(
        lesson, group_members(groups, num_rows=num_rows, name="logistic"), num_folds=num_folds
    )
    grid = np.sort(np.atleast_1d(np.asarray(strengths, dtype=np.float64)))[::-1] * factor.scale / num_rows
    right = np.zeros(len(grid), np.int64)
    for fold in np.unique(folds):
        kept = folds != fold
        for index, found in enumerate(_path(factor, lesson, kept, grid)):
            right[index] += _num_right(factor, lesson, np.flatnonzero(~kept), found)
    best = int(np.argmax(right))
    everything = np.ones(num_rows, dtype=np.bool_)
    start = list(_path(factor, lesson, everything, grid[: best + 1]))[-1]
    solution = _Problem(factor, lesson, everything, grid[best]).solve(start, gradient=GRADIENT)
    scores = solution.logits(factor.test)
    edge = "upper" if best == 0 else "lower" if best == len(grid) - 1 else ""
    return LogisticResult(
        strength=float(grid[best]),
        edge=edge if len(grid) > 1 else "",
        fold_accuracy=int(right[best]) / lesson.decisions(num_rows),
        predictions=lesson.decide(scores),
        scores=scores,
        columns=lesson.columns,
        gradient=solution.gradient,
    )


def _path(factor: Factor, lesson: Taught, kept: NDArray[np.bool_], grid: Floats) -> Iterator["_Solution"]:
    """Yield the solution for each strength, from strong to weak, each from the last one's."""
    start = None
    for strength in grid:
        problem = _Problem(factor, lesson, kept, strength, kind=np.float32)
        start = problem.solve(start, gradient=FOLD_GRADIENT)
        yield start


def _num_right(factor: Factor, lesson: Taught, rows: Integers, found: "_Solution") -> int:
    """Return how many decisions about some training rows a solution makes rightly."""
    step = max(1, BLOCK_BYTES // (24 * len(lesson.columns)))
    parts = (rows[start : start + step] for start in range(0, len(rows), step))
    return sum(lesson.right(found.logits(factor.train[part]), part) for part in parts)


def group_folds(lesson: Taught, members: Integers, *, num_folds: int) -> Integers:
    """Return each row's fold, i64[n]: whole groups, those of a class dealt out over the folds in turn."""
    first = np.unique(members, return_index=True)[1]
    # classes in falling order, which is that of the rows of their table of zeros and ones
    labels = -lesson.codes[first, None] if lesson.sets is None else lesson.sets[first]
    kinds = np.unique(labels, axis=0, return_inverse=True)[1].ravel()
    turn = np.empty(len(first), dtype=np.int64)
    turn[np.argsort(kinds, kind="stable")] = np.arange(len(first)) % min(num_folds, len(first))
    return turn[members]


@dataclass(frozen=True, kw_only=True)
class _Solution:
    weights: Floats
    """[k, K]"""
    bias: Floats
    constant: Floats
    """[K]: 0, or the certain score of a column that is the same in all rows"""
    gradient: float

    def logits(self, rows: Floats) -> Floats:
        return np.where(self.constant != 0, self.constant, rows @ self.weights + self.bias)


class _Problem:
    """The rows that are fitted, in coordinates in which the loss curves about equally in all directions."""

    def __init__(
        self,
        factor: Factor,
        lesson: Taught,
        kept: NDArray[np.bool_],
        strength: float,
        *,
        kind: type[np.floating[Any]] = np.float64,
    ) -> None:
        taught_here = lesson.take(kept)
        self._several, self._strength = lesson.several, strength
        mean = taught_here.shares
        # A label that all rows have, or none, sends its intercept to infinity.
        self._constant = np.where(mean >= 1, CERTAIN, np.where(mean <= 0, -CERTAIN, 0.0))
        if not self._several:
            self._constant[mean >= 1] = 0.0
        self._fitted = self._constant == 0
        self._stretch = 1.0 / np.sqrt(CURVATURE * factor.eigenvalues / len(factor.train) + strength)
        # among the columns that are fitted; every class of these rows is
        self._codes = (np.cumsum(self._fitted) - 1)[taught_here.codes]
        self._sets = None if taught_here.sets is None else taught_here.sets[:, self._fitted]
        self._rows = (factor.train[kept] * self._stretch).astype(kind)
        self._penalty = strength * self._stretch[:, None] ** 2

    def solve(self, start: _Solution | None, *, gradient: float) -> _Solution:
        """Return the minimum, to that gradient; from a solution for another strength if there is one.

        Raises:
            DataError: no convergence.
        """
        width, num = self._rows.shape[1], int(self._fitted.sum())
        values = np.zeros((width + 1, num))
        if start is not None:
            values[:-1] = start.weights[:, self._fitted] / self._stretch[:, None]
            values[-1] = start.bias[self._fitted]
        if num == 0 or (num == 1 and not self._several):
            return self._solution(values, 0.0)
        found = optimize.minimize(
            self._loss,
            values.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "gtol": gradient, "ftol": 0.0},
        )
        reached = float(np.abs(found.jac).max())
        # A line search that ends within rounding of the minimum is an end as well.
        if reached > 100 * gradient:
            raise DataError(
                f"logistic: no convergence at strength {self._strength:.3g} after {found.nit} iterations "
                f"(gradient {reached:.1g}): {found.message}; use probe.protocols = 'ridge'"
            )
        return self._solution(found.x.reshape(width + 1, num), reached)

    def _loss(self, flat: Floats) -> tuple[float, Floats]:
        """Return the loss and its gradient, from blocks of rows.

        The products are what costs, and have the kind of the rows.
        """
        values = flat.reshape(self._rows.shape[1] + 1, -1)
        weights, bias = values[:-1].astype(self._rows.dtype), values[-1].astype(self._rows.dtype)
        loss, slope = 0.0, np.zeros_like(values)
        step = max(1, BLOCK_BYTES // (4 * weights.itemsize * max(1, len(bias))))
        for start in range(0, len(self._rows), step):
            part = slice(start, start + step)
            rows = self._rows[part]
            losses, excess = self._excess(rows @ weights + bias, part)
            loss += losses
            slope[:-1] += rows.T @ excess
            slope[-1] += excess.sum(axis=0, dtype=np.float64)
        slope /= len(self._rows)
        pull = self._penalty * values[:-1]
        slope[:-1] += pull
        return float(loss / len(self._rows) + 0.5 * np.vdot(pull, values[:-1])), slope.ravel()

    def _excess(self, logits: NDArray[Any], part: slice) -> tuple[float, NDArray[Any]]:
        """Return the summed loss of some rows and its gradient in their logits [b, K]."""
        if self._sets is not None:
            hot = self._sets[part].astype(logits.dtype)
            taken = float(np.einsum("nk,nk->", hot, logits, dtype=np.float64))
            losses, excess = np.logaddexp(0, logits), special.expit(logits) - hot
        else:
            own = (np.arange(len(logits)), self._codes[part])
            taken = float(logits[own].sum(dtype=np.float64))
            losses = special.logsumexp(logits, axis=1, keepdims=True)
            excess = np.exp(logits - losses)
            excess[own] -= 1
        return float(losses.sum(dtype=np.float64)) - taken, excess

    def _solution(self, values: Floats, gradient: float) -> _Solution:
        weights = np.zeros((len(values) - 1, len(self._fitted)))
        bias = np.zeros(len(self._fitted))
        weights[:, self._fitted] = values[:-1] * self._stretch[:, None]
        bias[self._fitted] = values[-1]
        return _Solution(weights=weights, bias=bias, constant=self._constant, gradient=gradient)


def answer_logistic(question: Question) -> Answer:
    """Return what logistic regression says of a representation."""
    task = question.task
    result = fit_logistic(
        question.shared.factor(question.features, question.mode),
        task.truth(task.train),
        task.groups[task.train],
        num_classes=task.num_classes,
    )
    return Answer(
        predictions=result.predictions,
        scores=result.scores,
        columns=result.columns,
        criterion="fold_accuracy",
        chosen=result.fold_accuracy,
        settings={"strength": result.strength, "strength_edge": result.edge},
    )


def describe_logistic(task: Task) -> Words:
    """Return the protocol in words."""
    kind = "one logistic regression a label" if task.several else "multinomial logistic regression"
    return Words(
        what=f"{kind} with intercept",
        how=f"solved to convergence, strength by {NUM_FOLDS} folds of whole groups of these",
    )
