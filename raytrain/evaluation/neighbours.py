"""Nearest neighbours of some samples by the cosine of their frozen features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raytrain.evaluation.features import FeatureFile, Mode, open_features

Int64s = NDArray[np.int64]
Float32s = NDArray[np.float32]
BLOCK_ROWS = 2048


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The k nearest of each of q queries: `rows` i64[q, k] of the feature files, `cosines` f32[q, k]."""

    rows: Int64s
    cosines: Float32s


def nearest(
    folder: Path, names: Sequence[str], queries: Int64s, candidates: Int64s, *, num: int, mode: Mode
) -> Nearest:
    """Return the `num` candidates of the highest cosine, the best first, ties by row.

    `names` are features files; for several the cosine is the mean of theirs.

    Raises:
        DataError: features are missing or damaged.
    """
    files = [open_features(folder, name) for name in names]
    wanted = [unit_rows(file, queries, mode) for file in files]
    best = np.full((len(queries), num), -np.inf, np.float32)
    rows = np.zeros((len(queries), num), np.int64)
    for start in range(0, len(candidates), BLOCK_ROWS):
        block = candidates[start : start + BLOCK_ROWS]
        cosines = sum(
            (query @ unit_rows(file, block, mode).T for query, file in zip(wanted, files, strict=True)),
            start=np.zeros((len(queries), len(block)), np.float32),
        ) / np.float32(len(files))
        both = np.concatenate([best, cosines], axis=1)
        places = np.concatenate([rows, np.broadcast_to(block, cosines.shape)], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :num]
        best = np.take_along_axis(both, order, axis=1).astype(np.float32)
        rows = np.take_along_axis(places, order, axis=1)
    return Nearest(rows=rows, cosines=best)


def unit_rows(file: FeatureFile, rows: Int64s, mode: Mode) -> Float32s:
    """Return features f32[n, D] of length one; a row of zeros stays zero."""
    features = file.read(rows, mode)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-12), np.float32)
