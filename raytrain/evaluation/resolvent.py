"""What ridge regression asks of its features, for every strength at once: see `Resolvent`."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from raytrain.evaluation.arrow import Arrow, arrow_of
from raytrain.evaluation.factor import Factor, Floats, GramPair, Integers, mean_eigenvalue

PRODUCT_BYTES = 256 << 10
"""products of pairs of rows that are held at once: they should stay in the cache"""


@dataclass(frozen=True, kw_only=True)
class Resolvent:
    """(A + s I)^-1 seen through n training rows Z, in a basis in which A is an arrow.

    Features known by themselves, F [n, D]: A = F'F and Z = F. Features known by their Gram matrix K: A = Z =
    K, with `constant` added to the eigenvalue 0 of the constant vector (K is centred), so that 1 - H, of
    which ridge needs the blocks, is not the difference of numbers near one.
    """

    rows: Floats
    """Z in the arrow's basis, f64[n, k], or the basis itself where A = K"""
    arrow: Arrow
    scale: float
    """the mean eigenvalue, the unit of the strengths"""
    constant: float | None
    """None: A is F'F"""
    predict: Callable[[Floats], Floats]
    """coordinates [k, C] -> test predictions [m, C] without their mean"""

    @property
    def num_rows(self) -> int:
        """Return n."""
        return len(self.rows)

    def reordered(self, order: Integers) -> "Resolvent":
        """Return the same with its rows in another order."""
        return dataclasses.replace(self, rows=self.rows[order])

    def residuals(self, rows: slice, targets: Floats, solved: Floats, strengths: Floats) -> Floats:
        """Return (I - H) targets of some rows, [S, b, C], for their centred targets [b, C].

        `solved` [S, k, C]: what `arrow.solve` makes of Z' targets over all rows.
        """
        num, width, columns = solved.shape
        side_by_side = np.ascontiguousarray(solved.transpose(1, 0, 2)).reshape(width, num * columns)
        fitted = (self.rows[rows] @ side_by_side).reshape(len(targets), num, columns).transpose(1, 0, 2)
        return targets - fitted if self.constant is None else strengths[:, None, None] * fitted

    def complements(self, start: int, stop: int, size: int, strengths: Floats, border: Floats) -> Floats:
        """Return (I - H - 1/n) of groups of equal size in rows start .. stop: [S, groups, size, size].

        `border` is `Arrow.border_rows` of these rows.
        """
        quadratic = self._quadratic(start, stop, size, strengths, border)
        if self.constant is None:
            return np.eye(size) - 1 / self.num_rows - quadratic
        factors = strengths[:, None, None, None]
        return factors * (quadratic - 1 / ((self.constant + factors) * self.num_rows))

    def is_wide(self, size: int) -> bool:
        """Return whether a group has more rows than there are features: then solve in the features."""
        return self.constant is None and size > self.rows.shape[1] + 1

    def wide_residuals(self, start: int, stop: int, size: int, strengths: Floats, right: Floats) -> Floats:
        """Return (I - H_GG - 1/n)^-1 right for groups of `size` rows, right [S, groups, size, C].

        With U = [Z_G, 1] and N = diag(A + s I, n) it is right + U (N - U'U)^-1 U' right.
        """
        count, matrix = (stop - start) // size, self.arrow.matrix()
        block = self.rows[start:stop].reshape(count, size, -1)
        beside = np.concatenate([block, np.ones((count, size, 1))], axis=2)
        across = beside.transpose(0, 2, 1)
        inner, solved = across @ beside, np.empty(right.shape)
        whole = np.zeros(inner.shape[1:])
        whole[-1, -1] = self.num_rows
        for index, strength in enumerate(strengths):
            whole[:-1, :-1] = matrix + strength * np.eye(len(matrix))
            solved[index] = right[index] + beside @ np.linalg.solve(whole - inner, across @ right[index])
        return solved

    def _quadratic(self, start: int, stop: int, size: int, strengths: Floats, border: Floats) -> Floats:
        """Return Z_G (A + s I)^-1 Z_G', as one product of all pairs of rows with all strengths."""
        split = len(self.arrow.diagonal)
        weights = 1.0 / (self.arrow.diagonal[:, None] + strengths)
        count = (stop - start) // size
        block = np.ascontiguousarray(self.rows[start:stop]).reshape(count, size, self.rows.shape[1])
        found = np.empty((count, size, size, len(strengths)))
        step = max(1, PRODUCT_BYTES // (8 * size * max(1, split)))
        for first in range(0, count, step):
            part = block[first : first + step, :, :split]
            for row in range(size):
                pairs = (part[:, row:] * part[:, row : row + 1]).reshape(len(part) * (size - row), split)
                products = (pairs @ weights).reshape(len(part), size - row, len(strengths))
                found[first : first + step, row, row:] = products
                found[first : first + step, row:, row] = products
        quadratic = np.ascontiguousarray(found.transpose(3, 0, 1, 2))
        if len(self.arrow.corner):
            cut = border.reshape(len(strengths), count, size, -1)
            inverse = np.linalg.inv(self.arrow.schur(np.ascontiguousarray(weights.T), strengths))
            quadratic += (cut @ inverse[:, None]) @ cut.transpose(0, 1, 3, 2)
        return quadratic


def resolvent_of_factor(factor: Factor) -> Resolvent:
    """Return the resolvent of a thin factor: its basis is that of the eigenvectors already."""
    width = len(factor.eigenvalues)
    arrow = Arrow(
        diagonal=factor.eigenvalues,
        border=np.zeros((width, 0)),
        corner=np.zeros(0),
        pieces=(slice(0, width),),
    )
    return Resolvent(
        rows=factor.train,
        arrow=arrow,
        scale=factor.scale,
        constant=None,
        predict=lambda coordinates: factor.test @ coordinates,
    )


def resolvent_of_gram(gram: GramPair) -> Resolvent:
    """Return the resolvent of features known by their inner products only."""
    num_rows = len(gram.train)
    scale = mean_eigenvalue(float(np.trace(gram.train)), min(num_rows - 1, gram.num_features))
    arrow, rotation = arrow_of(gram.train + scale / num_rows)
    return Resolvent(
        rows=rotation.matrix(),
        arrow=arrow,
        scale=scale,
        constant=scale,
        predict=lambda coordinates: gram.cross @ rotation.back(coordinates),
    )


def resolvent_of_moments(moments: Floats, train: Floats, test: Callable[[Floats], Floats]) -> Resolvent:
    """Return the resolvent of centred features F [n, D] with moments F'F.

    `train` is F, overwritten if in Fortran order; `test` returns the products of the test rows with [D, C].
    """
    arrow, rotation = arrow_of(moments)
    return Resolvent(
        rows=rotation.rotate(train),
        arrow=arrow,
        scale=mean_eigenvalue(float(np.trace(moments)), min(len(train) - 1, len(moments))),
        constant=None,
        predict=lambda coordinates: test(rotation.back(coordinates)),
    )
