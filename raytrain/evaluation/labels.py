"""What a classifier is taught: one class a sample, or several labels, as columns of zeros and ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.errors import DataError
from raytrain.evaluation.factor import Floats, Integers


@dataclass(frozen=True, kw_only=True)
class Taught:
    """Training labels of n rows: `hot` f64[n, K] of 0 and 1, column k is class (or label) `columns[k]`."""

    hot: Floats
    columns: Integers
    several: bool
    """several labels a sample: each column is decided by itself"""

    @property
    def signs(self) -> Floats:
        """The columns as -1 and 1."""
        return 2 * self.hot - 1

    def decide(self, scores: Floats, *, boundary: float = 0.0) -> NDArray[np.integer]:
        """Return the classes of the highest scores [..., K], or the labels above the boundary, u8[..., K]."""
        if self.several:
            return (scores > boundary).astype(np.uint8)
        chosen: Integers = self.columns[scores.argmax(axis=-1)]
        return chosen

    def right(self, scores: Floats, *, boundary: float = 0.0) -> float:
        """Return the share of training rows that scores [n, K] decide rightly; of labels where several."""
        if self.several:
            return float(np.mean((scores > boundary) == (self.hot > 0.5)))
        return float(np.mean(scores.argmax(axis=-1) == self.hot.argmax(axis=-1)))


def taught(labels: ArrayLike, *, num_rows: int, num_classes: int, name: str) -> Taught:
    """Return training labels as columns: int[n] classes below `num_classes`, or u8[n, L] label sets.

    Only classes with training rows become columns; labels all do.

    Raises:
        DataError: labels that do not fit the rows, fewer than two classes, label sets that are not 0 and 1.
    """
    values = np.asarray(labels)
    if values.ndim not in (1, 2) or len(values) != num_rows:
        raise DataError(f"{name}: {num_rows} rows, but labels {values.shape}")
    if values.ndim == 2:
        if values.shape[1] == 0 or not np.isin(values, (0, 1)).all():
            raise DataError(f"{name}: label sets {values.shape} must hold 0 and 1 in one column or more")
        columns = np.arange(values.shape[1], dtype=np.int64)
        return Taught(hot=values.astype(np.float64), columns=columns, several=True)
    classes = np.unique(values.astype(np.int64))
    if classes.size < 2 or classes[0] < 0 or classes[-1] >= num_classes:
        raise DataError(
            f"{name}: training labels {classes[:5].tolist()}; "
            f"needs two classes or more, all in 0..{num_classes - 1}"
        )
    return Taught(hot=(values[:, None] == classes).astype(np.float64), columns=classes, several=False)


def group_members(groups: ArrayLike, *, num_rows: int, name: str) -> Integers:
    """Return the dense number of each row's group, i64[n].

    Raises:
        DataError: groups that do not fit the rows, or all of one group.
    """
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    if np.shape(groups) != (num_rows,):
        raise DataError(f"{name}: {num_rows} rows, but groups {np.shape(groups)}")
    if names.size < 2:
        raise DataError(
            f"{name}: all training samples are of one group; at least two are needed to leave one out"
        )
    return members.astype(np.int64)
