"""The space of a representation: nearest neighbours of its samples, and pictures of it in two dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import DataError
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


Points = NDArray[np.float64]
NUM_COMPONENTS = 50
PERPLEXITY = 30.0


def principal_components(
    folder: Path, names: Sequence[str], rows: NDArray[np.int64], *, mode: Mode, num: int = NUM_COMPONENTS
) -> Points:
    """Return the first principal components f64[n, at most num] of the concatenated features.

    Each pathway is scaled to unit variance, as in the probe of joined pathways. A component's sign is chosen
    so that its largest loading by size is positive.

    Raises:
        DataError: features are missing, or all samples have the same.
    """
    parts = []
    for name in names:
        features = open_features(folder, name).read(rows, mode).astype(np.float64)
        features -= features.mean(axis=0)
        parts.append(features / max(float(np.sqrt((features**2).sum() / len(rows))), 1e-12))
    joined = np.concatenate(parts, axis=1)
    left, values, right = np.linalg.svd(joined, full_matrices=False)
    count = min(num, int((values > 1e-9 * max(values[0], 1e-300)).sum()))
    if values[0] <= 1e-9 or count < 2:
        raise DataError(f"features {'+'.join(names)}: all {len(rows)} samples lie on a line or a point")
    signs = np.sign(right[np.arange(count), np.abs(right[:count]).argmax(axis=1)])
    return np.asarray(left[:, :count] * values[:count] * signs, np.float64)


def tsne(components: Points, *, seed: int) -> Points:
    """Return t-SNE of principal components f64[n, d] as f64[n, 2], begun from the first two; n is 5 or more.

    Source: L. van der Maaten and G. Hinton, "Visualizing Data using t-SNE" (2008); by scikit-learn.
    """
    from sklearn.manifold import TSNE

    num = len(components)
    if num < 5:
        raise DataError(f"t-SNE of {num} samples; it needs 5 or more")
    perplexity = min(PERPLEXITY, (num - 1) / 3)
    model = TSNE(
        init="pca",
        random_state=seed,
        perplexity=perplexity,
        method="exact" if num < 500 else "barnes_hut",
    )
    return np.asarray(model.fit_transform(components), np.float64)
