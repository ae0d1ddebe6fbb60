from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from raytrain.errors import DataError
from raytrain.evaluation.features import FeatureWriter
from raytrain.evaluation.space import principal_components, tsne


def write(folder: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Write features [N, cells, channels]; return what float16 keeps, flat, in float64."""
    shape = dict(zip(("num_samples", "cells", "channels"), values.shape, strict=True))
    writer = FeatureWriter(folder, name=name, max_gib=1.0, **shape)
    writer.write(0, values)
    writer.close()
    return values.astype(np.float16).astype(np.float64).reshape(len(values), -1)


def test_principal_components_are_those_of_unit_variance_pathways(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    first = write(tmp_path, "a", random.normal(size=(40, 2, 3)))
    second = write(tmp_path, "b", 90 * random.normal(size=(40, 1, 4)) + 7)
    rows = np.arange(5, 35)
    scaled = [part[rows] / np.sqrt(part[rows].var(axis=0).sum()) for part in (first, second)]
    expected = PCA(5, svd_solver="full").fit_transform(np.concatenate(scaled, axis=1))
    found = principal_components(tmp_path, ["a", "b"], rows, mode="flat", num=5)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)
    again = principal_components(tmp_path, ["a", "b"], rows, mode="flat", num=5)
    np.testing.assert_array_equal(found, again)


def test_samples_on_a_point_or_a_line_have_no_components(tmp_path: Path) -> None:
    write(tmp_path, "point", np.ones((6, 1, 3)))
    write(tmp_path, "line", np.arange(6.0)[:, None, None] * np.ones((1, 1, 3)))
    for name in ("point", "line"):
        with pytest.raises(DataError, match=f"features {name}: all 6 samples lie on a line or a point"):
            principal_components(tmp_path, [name], np.arange(6), mode="flat")


def test_tsne_keeps_clusters_together_and_is_the_same_again() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 15)
    points = random.normal(size=(30, 5)) + 20 * labels[:, None]
    found = tsne(points, seed=0)
    assert found.shape == (30, 2)
    distances = np.linalg.norm(found[:, None] - found[None], axis=2) + 1e9 * np.eye(30)
    assert (labels[distances.argmin(axis=1)] == labels).all()
    np.testing.assert_array_equal(found, tsne(points, seed=0))


def test_tsne_of_a_few_samples() -> None:
    assert tsne(np.random.default_rng(0).normal(size=(5, 3)), seed=0).shape == (5, 2)
    with pytest.raises(DataError, match="t-SNE of 4 samples; it needs 5 or more"):
        tsne(np.zeros((4, 2)), seed=0)
