"""The space of a representation: pictures of it in two dimensions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import DataError
from raytrain.evaluation.features import Mode, open_features

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
