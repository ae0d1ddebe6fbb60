from pathlib import Path

import numpy as np
import pytest

from raytrain.errors import DataError
from raytrain.evaluation import neighbours
from raytrain.evaluation.features import FeatureWriter, open_features
from raytrain.evaluation.neighbours import nearest


def write(folder: Path, name: str, values: np.ndarray) -> np.ndarray:
    """Write features [N, cells, channels]; return what float16 keeps, flat, in float64."""
    shape = dict(zip(("num_samples", "cells", "channels"), values.shape, strict=True))
    writer = FeatureWriter(folder, name=name, max_gib=1.0, **shape)
    writer.write(0, values)
    writer.close()
    return values.astype(np.float16).astype(np.float64).reshape(len(values), -1)


def cosines(features: np.ndarray) -> np.ndarray:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit @ unit.T


def test_nearest_are_those_of_the_highest_cosine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    first = cosines(write(tmp_path, "a", random.normal(size=(30, 2, 3))))
    second = cosines(write(tmp_path, "b", 50 * random.normal(size=(30, 4, 2))))
    queries, candidates = np.array([3, 1, 20]), np.array([2, 5, 7, 8, 11, 12, 19, 25, 28])
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 4 * (16 * 8 + 24 * 3))  # the best may lie in any block
    for names, expected in ((["a"], first), (["a", "b"], (first + second) / 2)):
        found = nearest(tmp_path, names, queries, candidates, num=4, mode="flat")
        for place, query in enumerate(queries):
            order = sorted(candidates, key=lambda row: -expected[query, row])[:4]
            assert found.rows[place].tolist() == order
            np.testing.assert_allclose(found.cosines[place], expected[query, order], atol=1e-6)


def test_ties_go_to_the_earlier_row_and_zeros_are_near_nobody(tmp_path: Path) -> None:
    values = np.zeros((5, 1, 2))
    values[[0, 1, 2]] = [1, 0]
    values[3] = [0, 1]
    write(tmp_path, "a", values)
    found = nearest(tmp_path, ["a"], np.array([0, 4]), np.array([1, 2, 3]), num=3, mode="pooled")
    assert found.rows.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert found.cosines.tolist() == [[1, 1, 0], [0, 0, 0]]


def test_missing_features_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished features 'a'"):
        nearest(tmp_path, ["a"], np.array([0]), np.array([1]), num=1, mode="flat")


@pytest.mark.parametrize("block_bytes", [1, 3000, 1 << 28])
def test_of_equal_cosines_the_earlier_candidate_is_nearer_whatever_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(6, 1, 40))[random.integers(0, 6, 60)]  # each row stands about ten times
    unit = write(tmp_path, "a", values)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    candidates, queries, groups = np.arange(59, 9, -1), np.arange(10), np.arange(60) % 7
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(neighbours, "QUERY_BYTES", block_bytes)
    found = neighbours.find_nearest(
        [open_features(tmp_path, "a")],
        "flat",
        queries=queries,
        candidates=candidates,
        num=12,
        groups=(groups[queries], groups[candidates]),
    )
    for place, query in enumerate(queries):
        others = [at for at, row in enumerate(candidates) if groups[row] != groups[query]]
        close = {at: round(float(unit[query] @ unit[candidates[at]]), 9) for at in others}
        assert found.places[place].tolist() == sorted(others, key=lambda at: (-close[at], at))[:12]
    np.testing.assert_array_equal(found.rows, candidates[found.places])


def test_too_few_of_other_groups_leave_places_empty(tmp_path: Path) -> None:
    write(tmp_path, "a", np.random.default_rng(0).normal(size=(5, 1, 3)))
    rows = np.arange(5)
    found = neighbours.find_nearest(
        [open_features(tmp_path, "a")],
        "flat",
        queries=rows[:1],
        candidates=rows,
        num=4,
        groups=(np.array([0]), np.array([0, 0, 0, 1, 2])),
    )
    assert set(found.places[0, :2].tolist()) == {3, 4}
    assert np.isfinite(found.cosines).tolist() == [[True, True, False, False]]
