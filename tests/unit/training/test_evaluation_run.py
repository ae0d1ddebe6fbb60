"""Represent and probe at the end of whole runs in this process."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raytrain import api
from raytrain.config import from_mapping
from raytrain.errors import DataError
from tests.conftest import small_values


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of 12 and 6 images; the last test image of each class cannot be read."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 6)):
        for label in ("a", "b"):
            folder = tmp_path / "images" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (36, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    for label in ("a", "b"):
        broken = tmp_path / "images" / "test" / label / "05.png"
        broken.write_bytes(broken.read_bytes()[:60])
    return tmp_path / "images"


def train(images: Path, out: Path, **changes: Any) -> api.Run:
    data = {"source": "folder", "root": str(images), "canvas_px": 36, "select_fraction": 0.0}
    values = small_values(out=str(out), probe={"enabled": True}, **changes)
    values["data"] = data | {"quarantine_budget": 0.1, "chunk_mib": 0.03} | changes.get("data", {})
    return api.train(from_mapping(values))


@pytest.mark.slow
def test_images_that_cannot_be_read_are_named_and_not_scored(images: Path, tmp_path: Path) -> None:
    run = train(images, tmp_path / "run")
    assert {entry["n"] for entry in run.summary["probes"]} == {10}
    named = [json.loads(line)["key"] for line in (run.folder / "quarantine.jsonl").read_text().splitlines()]
    assert named == ["test/a/05.png", "test/b/05.png"]
    lines = (run.folder / "quarantine.jsonl").read_text().splitlines()
    assert {json.loads(line)["fate"] for line in lines} == {"damaged"}


def test_too_many_of_them_end_the_run(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 36 labelled samples could not be decoded, more than"):
        train(images, tmp_path / "run", data={"quarantine_budget": 0.05})
    assert not (tmp_path / "run" / "features" / "identity.npy").exists()


def test_probes_state_the_epoch_of_their_features(images: Path, tmp_path: Path) -> None:
    run = train(images, tmp_path / "run")
    assert {entry["epoch"] for entry in run.summary["probes"]} == {3}
    settings = run.folder / "config.toml"  # a longer schedule that has not been trained yet
    settings.write_text(settings.read_text().replace("epochs = 3", "epochs = 8"))
    assert {entry["epoch"] for entry in api.probe(run.folder).summary["probes"]} == {3}


@pytest.mark.parametrize("chunk_mib", [0.015, 0.1])
@pytest.mark.slow
def test_a_disk_cache_of_other_chunks_is_not_read(images: Path, tmp_path: Path, chunk_mib: float) -> None:
    def stop_at_epoch(out: Path, epochs: int, **data: Any) -> api.Run:
        return train(images, out, data={"cache": "disk", **data}, training__epochs=epochs)

    whole = stop_at_epoch(tmp_path / "whole", 3)
    stop_at_epoch(tmp_path / "run", 1)
    resumed = stop_at_epoch(tmp_path / "run", 3, chunk_mib=chunk_mib)
    assert [p["weights_sha256"] for p in resumed.summary["pathways"]] == [
        p["weights_sha256"] for p in whole.summary["pathways"]
    ]
