"""Bring a symmetric matrix A to a form in which (A + s I)^-1 is cheap for every s, without its eigenvectors.

The eigenvectors are two thirds of the cost of an eigendecomposition. The other third is A = Q T Q' with T
tridiagonal. Cut T at every `LEAF`th row: what lies between two cuts is diagonalised by itself (small), and
the few cut rows border it. That is an arrow: diagonal, with a narrow border B and a diagonal corner,

    A ~ [[diag(e), B], [B', diag(c)]],

and (A + s I)^-1 follows by elimination of the diagonal, stable because A + s I is positive definite.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from raytrain.evaluation.factor import Floats, Integers

LEAF = 96
"""rows of T between two cuts; matrices of up to twice as many are diagonalised as they are"""


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """A in the basis of `rotate`: `diagonal` [k - r], `border` [k - r, r], `corner` [r]; r = 0: diagonal."""

    diagonal: Floats
    border: Floats
    corner: Floats
    pieces: tuple[slice, ...]
    """rows between two cuts: piece i has non-zeros in the border's columns i - 1 and i only"""

    def matrix(self) -> Floats:
        """Return the arrow as a dense matrix [k, k]."""
        return np.block([[np.diag(self.diagonal), self.border], [self.border.T, np.diag(self.corner)]])

    def schur(self, inverse: Floats, strengths: Floats) -> Floats:
        """Return the border's Schur complements [S, r, r]; `inverse` [S, k - r] is 1 / (diagonal + s)."""
        squares = (self.border.T * inverse[:, None, :]) @ self.border
        return np.eye(len(self.corner)) * (self.corner + strengths[:, None])[:, None, :] - squares

    def solve(self, right: Floats, strengths: Floats) -> Floats:
        """Return (A + s I)^-1 right for each strength: [S, k, C] for right [k, C]."""
        split = len(self.diagonal)
        inverse = 1.0 / (self.diagonal + strengths[:, None])
        inner, corner = right[:split], right[split:]
        if not len(self.corner):
            return inverse[:, :, None] * inner
        reduced = corner - (self.border.T * inverse[:, None, :]) @ inner
        bottom = np.linalg.solve(self.schur(inverse, strengths), reduced)
        top = inverse[:, :, None] * (inner - self.border @ bottom)
        return np.concatenate([top, bottom], axis=1)

    def border_rows(self, rows: Floats, strengths: Floats) -> Floats:
        """Return what is left of the border's columns after elimination, [S, n, r], for rows [n, k]."""
        split, num = len(self.diagonal), len(strengths)
        left = np.repeat(rows[None, :, split:], num, axis=0)
        if not len(self.corner):
            return left
        inverse = 1.0 / (self.diagonal[:, None] + strengths)
        for index, piece in enumerate(self.pieces):
            columns = [column for column in (index - 1, index) if 0 <= column < len(self.corner)]
            weights = [self.border[piece, column, None] * inverse[piece] for column in columns]
            products = rows[:, piece] @ np.concatenate(weights, axis=1)
            for place, column in enumerate(columns):
                left[:, :, column] -= products[:, place * num : (place + 1) * num].T
        return left


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """An orthogonal basis Q [k, k], held as its factors: Householder reflectors, then axes of the pieces."""

    reflectors: Floats | None
    """of the tridiagonal form, as LAPACK packs them, without its first row; None: not taken"""
    tau: Floats
    pieces: tuple[slice, ...]
    """each piece's rows of T"""
    axes: tuple[Floats, ...]
    cuts: Integers

    def rotate(self, rows: Floats) -> Floats:
        """Return rows [n, k] times Q, in Fortran order; overwrites rows that are in Fortran order."""
        rows = np.asfortranarray(rows)
        if self.reflectors is not None:
            rows[:, 1:] = _times_reflectors(self, rows[:, 1:], side="R")
        return self._arranged(rows)

    def back(self, coordinates: Floats) -> Floats:
        """Return Q times coordinates [k, C]."""
        split = len(coordinates) - len(self.cuts)
        rows, done = np.empty(coordinates.shape, order="F"), 0
        for piece, axes in zip(self.pieces, self.axes, strict=True):
            rows[piece] = axes @ coordinates[done : done + len(axes)]
            done += len(axes)
        rows[self.cuts] = coordinates[split:]
        if self.reflectors is not None:
            rows[1:] = _times_reflectors(self, rows[1:], side="L")
        return rows

    def matrix(self) -> Floats:
        """Return Q [k, k]."""
        if self.reflectors is None:
            return self.axes[0]
        size = len(self.reflectors) + 1
        rows = np.zeros((size, size), order="F")
        rows[0, 0] = 1
        rows[1:, 1:] = lapack.dorgqr(self.reflectors, self.tau, lwork=64 * size)[0]
        return self._arranged(rows)

    def _arranged(self, rows: Floats) -> Floats:
        """Turn each piece to its axes, and put the cut columns last."""
        arranged, done = np.empty(rows.shape[::-1]), 0
        for piece, axes in zip(self.pieces, self.axes, strict=True):
            np.matmul(axes.T, rows.T[piece], out=arranged[done : done + len(axes)])
            done += len(axes)
        arranged[done:] = rows.T[self.cuts]
        return arranged.T


def _times_reflectors(rotation: Rotation, rows: Floats, *, side: str) -> Floats:
    lwork = 64 * max(rows.shape)
    product: Floats = lapack.dormqr(
        side, "N", rotation.reflectors, rotation.tau, np.asfortranarray(rows), lwork, overwrite_c=1
    )[0]
    return product


def arrow_of(matrix: Floats) -> tuple[Arrow, Rotation]:
    """Return a symmetric matrix as an arrow, and the basis in which it is one."""
    size = len(matrix)
    if size <= 2 * LEAF:
        values, vectors = np.linalg.eigh(matrix)
        whole = (slice(0, size),)
        empty = np.zeros(0)
        arrow = Arrow(diagonal=values, border=np.zeros((size, 0)), corner=empty, pieces=whole)
        none = np.zeros(0, dtype=np.int64)
        return arrow, Rotation(reflectors=None, tau=empty, pieces=whole, axes=(vectors,), cuts=none)
    packed, main, beside, tau, _ = lapack.dsytrd(np.asfortranarray(matrix), lower=1, lwork=64 * size)
    cuts = np.arange(LEAF, size - 1, LEAF + 1)
    pieces = tuple(slice(*pair) for pair in zip(np.r_[0, cuts + 1], np.r_[cuts, size], strict=True))
    parts = [_eigen(main[piece], beside[piece.start : piece.stop - 1]) for piece in pieces]
    axes = tuple(vectors for _, vectors in parts)
    arrow = Arrow(
        diagonal=np.concatenate([values for values, _ in parts]),
        border=_border(pieces, axes, beside, num_cuts=len(cuts)),
        corner=main[cuts],
        pieces=tuple(slice(piece.start - index, piece.stop - index) for index, piece in enumerate(pieces)),
    )
    reflectors = np.asfortranarray(packed[1:, :-1])
    return arrow, Rotation(reflectors=reflectors, tau=tau, pieces=pieces, axes=axes, cuts=cuts)


def _eigen(main: Floats, beside: Floats) -> tuple[Floats, Floats]:
    """Return eigenvalues and eigenvectors of a tridiagonal matrix."""
    values, vectors = np.linalg.eigh(np.diag(main) + np.diag(beside, 1) + np.diag(beside, -1))
    return values, vectors


def _border(pieces: tuple[slice, ...], axes: tuple[Floats, ...], beside: Floats, *, num_cuts: int) -> Floats:
    """Return what couples each piece, in its axes, with the cuts on its two sides."""
    border = np.zeros((sum(len(vectors) for vectors in axes), num_cuts))
    for index, (piece, vectors) in enumerate(zip(pieces, axes, strict=True)):
        rows = slice(piece.start - index, piece.stop - index)
        if index > 0:
            border[rows, index - 1] = beside[piece.start - 1] * vectors[0]
        if index < num_cuts:
            border[rows, index] = beside[piece.stop - 1] * vectors[-1]
    return border
