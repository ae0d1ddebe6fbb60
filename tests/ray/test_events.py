"""Recordings through Ray: a surface and a trained stem on one stream; the stem's worker is killed."""

import os
import signal
from pathlib import Path

import pytest

from pipelines.storage.manifest import Manifest
from raytrain import api
from raytrain.config import from_mapping
from raytrain.training import experiment
from tests.event_runs import event_values
from tests.ray.faults import once, worker_with

pytestmark = pytest.mark.ray


def test_a_killed_stem_comes_back_and_changes_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("count", "matrix_lstm")
    packed = tmp_path / "packed"
    api.prepare(from_mapping(event_values(tmp_path, names)).data, str(packed), shards="encoded")
    values = event_values(tmp_path / "inline", names)
    counts = Manifest.load(str(packed / "manifest.parquet")).num_events
    assert counts is not None
    values["training"]["batch_events"] = 2 * int(counts.max())  # most batches are bounded by their events
    values["data"] = {"root": str(packed), "chunk_mib": 0.02, "select_fraction": 0.0}
    inline = api.train(from_mapping(values))
    first = once(tmp_path, "killed")

    def fault(pathway: str, rank: int, step: int) -> None:
        if pathway == "matrix_lstm" and step == 3 and first():
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(experiment, "train_worker", worker_with(fault))
    values["out"] = str(tmp_path / "ray")
    values["training"]["executor"] = "ray"
    values["probe"] = {"batch_size": 8}
    run = api.train(from_mapping(values))
    assert (tmp_path / "killed").exists()
    weights = [{p["name"]: p["weights_sha256"] for p in one.summary["pathways"]} for one in (inline, run)]
    assert weights[0] == weights[1]
    steps = {pathway["steps"] for pathway in run.summary["pathways"]}
    assert len(steps) == 1
    assert steps.pop() > 2 * 2, "no batch was bounded by its events"
    assert {p["name"]: p["restarts"] for p in run.summary["pathways"]} == {"count": 0, "matrix_lstm": 1}
    data = run.summary["data"]
    assert data["decodes"] - data["decodes_replayed"] == inline.summary["data"]["decodes"]
