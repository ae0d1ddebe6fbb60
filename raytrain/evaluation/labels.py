"""What a classifier is taught: one class a sample, or several labels, in columns."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raytrain.errors import DataError
from raytrain.evaluation.factor import Floats, Integers

Rows = slice | Integers | NDArray[np.bool_]
ALL = slice(None)


@dataclass(frozen=True, kw_only=True)
class Taught:
    """Training labels of n rows in K columns; column k is class (or label) `columns[k]`.

    Shapes: `codes` i64[n], the column of each row's class; or, where a sample has several labels, `sets`
    u8[n, K] of 0 and 1. Tables of rows x columns are only made of some rows at a time: that of ImageNet's
    1.28 million rows and 1000 classes is 10 GB.
    """

    codes: Integers
    sets: NDArray[np.uint8] | None
    columns: Integers

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def several(self) -> bool:
        """Whether a sample has several labels: each column is decided by itself."""
        return self.sets is not None

    def take(self, rows: Rows) -> "Taught":
        """Return the labels of some rows."""
        return replace(self, codes=self.codes[rows], sets=None if self.sets is None else self.sets[rows])

    def hot(self, rows: Rows = ALL) -> Floats:
        """Return zeros and ones, f64[r, K]."""
        if self.sets is not None:
            return np.asarray(self.sets[rows], dtype=np.float64)
        return np.asarray(self.codes[rows][:, None] == np.arange(len(self.columns)), dtype=np.float64)

    def signs(self, rows: Rows = ALL) -> Floats:
        """Return -1 and 1, f64[r, K]."""
        return 2 * self.hot(rows) - 1

    @property
    def shares(self) -> Floats:
        """In how many of the rows each column is 1, as a share: f64[K]."""
        if self.sets is not None:
            return np.asarray(self.sets.sum(axis=0, dtype=np.int64) / len(self))
        return np.asarray(np.bincount(self.codes, minlength=len(self.columns)) / len(self))

    def decide(self, scores: Floats, *, boundary: float = 0.0) -> NDArray[np.integer]:
        """Return the classes of the highest scores [..., K], or the labels above the boundary, u8[..., K]."""
        if self.several:
            return (scores > boundary).astype(np.uint8)
        chosen: Integers = self.columns[scores.argmax(axis=-1)]
        return chosen

    def right(self, scores: Floats, rows: Rows = ALL, *, boundary: float = 0.0) -> int:
        """Return how many `decisions` about some rows the scores [r, K] make rightly."""
        if self.sets is not None:
            return int(np.count_nonzero((scores > boundary) == self.sets[rows]))
        return int(np.count_nonzero(scores.argmax(axis=-1) == self.codes[rows]))

    def decisions(self, num_rows: int) -> int:
        """Return how many decisions so many rows ask for: one each, or one a label."""
        return num_rows * (1 if self.sets is None else len(self.columns))


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
        if values.shape[1] == 0 or not ((values == 0) | (values == 1)).all():
            raise DataError(f"{name}: label sets {values.shape} must hold 0 and 1 in one column or more")
        columns = np.arange(values.shape[1], dtype=np.int64)
        none = np.zeros(len(values), np.int64)
        return Taught(codes=none, sets=values.astype(np.uint8), columns=columns)
    classes = np.unique(values.astype(np.int64))
    if classes.size < 2 or classes[0] < 0 or classes[-1] >= num_classes:
        raise DataError(
            f"{name}: training labels {classes[:5].tolist()}; "
            f"needs two classes or more, all in 0..{num_classes - 1}"
        )
    return Taught(codes=np.searchsorted(classes, values), sets=None, columns=classes)


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
