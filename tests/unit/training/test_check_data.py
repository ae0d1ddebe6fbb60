from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.sources import open_manifest
from raytrain.api import train
from raytrain.config import RunConfig, from_mapping
from raytrain.errors import ConfigError
from raytrain.training.run import check_data
from tests.conftest import small_values


def config(root: Path, *, probe: bool, **data: Any) -> RunConfig:
    values = small_values(out=str(root.parent / "run"), probe={"enabled": probe})
    values["data"] = {"root": str(root), "canvas_px": 36, "select_fraction": 0.0, **data}
    return from_mapping(values)


def put(root: Path, *paths: str) -> Path:
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (36, 36, 3), np.uint8)
        Image.fromarray(pixels).save(root / path)
    return root


def test_a_probe_needs_labels(tmp_path: Path) -> None:
    flat = config(put(tmp_path / "flat", *(f"{number}.png" for number in range(16))), probe=True)
    text = (
        r"^the probe_train split has no labelled samples, which a probe needs; name a labelled root by "
        r"data\.splits\.probe_train, or set probe\.enabled = false to train only$"
    )
    with pytest.raises(ConfigError, match=text):
        train(flat)
    assert not (tmp_path / "run").exists()
    names = [f"{kind}/{number}.png" for kind in "pq" for number in range(8)]
    labelled = config(put(tmp_path / "labelled", *names), probe=True, test_fraction=0.0)
    with pytest.raises(
        ConfigError, match=r"^the test split has no labelled samples, .* by data\.splits\.test,"
    ):
        check_data(labelled, open_manifest(labelled.data))


def test_unlabelled_images_train_without_a_probe(tmp_path: Path) -> None:
    flat = config(put(tmp_path / "flat", *(f"{number}.png" for number in range(16))), probe=False)
    summary = train(flat).summary
    assert summary["status"] == "done"
    assert summary["data"]["samples"] == 16


def test_unlabelled_images_pretrain_and_labelled_ones_probe(tmp_path: Path) -> None:
    flat = put(tmp_path / "flat", *(f"{number}.png" for number in range(16)))
    labelled = put(tmp_path / "labelled", *(f"{kind}/{number}.png" for kind in "pq" for number in range(10)))
    both = config(labelled, probe=True, splits={"pretrain": str(flat)})
    run = train(both)
    assert run.summary["status"] == "done"
    assert run.summary["data"]["samples"] == 16
    assert run.summary["probes"][0]["n"] == 4
    # The data may be moved: the run is done, and goes on from there.
    labelled.rename(tmp_path / "moved")
    flat.rename(tmp_path / "moved_too")
    moved = config(tmp_path / "moved", probe=True, splits={"pretrain": str(tmp_path / "moved_too")})
    assert train(moved).summary["probes"] == run.summary["probes"]
