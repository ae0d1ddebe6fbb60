"""The thin factor of the centred training features, F [n, D] = U S V': the scores F V [n, k] and S^2 [k].

It comes from the n x n Gram matrix or from the D x D moments; k = min(n, D) at most.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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
        scale=mean_eigenvalue(float(np.trace(gram.train)), min(len(gram.train) - 1, gram.num_features)),
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
        scale=mean_eigenvalue(float(np.trace(moments)), min(num_rows - 1, len(moments))),
    )


def _significant(eigenvalues: Floats) -> NDArray[np.bool_]:
    """Leave out what rounding makes of zero; centring alone makes one eigenvalue zero."""
    largest = max(float(eigenvalues[-1]), 0.0)
    return eigenvalues > largest * len(eigenvalues) * np.finfo(np.float64).eps


def mean_eigenvalue(total: float, rank: int) -> float:
    """Return the unit of the strengths; any will do where the features are constant."""
    return total / rank if total > 0 and rank > 0 else 1.0
