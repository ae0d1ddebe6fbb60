"""The operators' bench gives complete rows; how fast they are is not tested here."""

import sys

import pytest
import torch

from raytrain.bench import operators

KEYS = {"name", "value", "unit", "against", "ratio", "bound"}


def test_rows_are_complete_and_threads_are_restored() -> None:
    before = torch.get_num_threads()
    rows = operators.run(repeats=1, num_images=2, size_px=16)
    assert torch.get_num_threads() == before
    assert [row["name"] for row in rows] == list(operators.OPERATORS)
    for row in rows:
        assert set(row) == KEYS
        assert row["value"] > 0
        assert row["unit"] == "ms/image"
        if row["name"] == "lbp":
            assert row["against"] > 0
            assert row["ratio"] == pytest.approx(row["against"] / row["value"])
            assert row["bound"] == 12
        else:
            assert row["against"] is row["ratio"] is row["bound"] is None


def test_without_scikit_image_there_is_no_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "skimage"] + ["skimage"]:
        monkeypatch.setitem(sys.modules, name, None)
    rows = operators.run(repeats=1, num_images=2, size_px=16)
    assert all(row["ratio"] is None for row in rows)
    assert len(rows) == len(operators.OPERATORS)
