"""Clips through Ray: four pathways on one stream, of which one is killed on the way."""

import os
import signal
from pathlib import Path

import pytest

from raytrain import api
from raytrain.config import from_mapping
from raytrain.training import experiment
from tests.clip_runs import clip_values
from tests.ray.faults import once, worker_with

pytestmark = pytest.mark.ray


def weights(run: api.Run) -> dict[str, str]:
    return {pathway["name"]: pathway["weights_sha256"] for pathway in run.summary["pathways"]}


def test_a_killed_motion_pathway_comes_back_and_changes_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "clips"))
    inline = api.train(from_mapping(clip_values(tmp_path / "inline")))
    first = once(tmp_path, "killed")

    def fault(pathway: str, rank: int, step: int) -> None:
        if pathway == "movnet" and step == 3 and first():
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(experiment, "train_worker", worker_with(fault))
    values = clip_values(tmp_path / "ray")
    values["training"]["executor"] = "ray"
    values["probe"] = {"batch_size": 4}  # represented by a stage of actors
    run = api.train(from_mapping(values))
    assert (tmp_path / "killed").exists()
    assert weights(run) == weights(inline)
    restarts = {pathway["name"]: pathway["restarts"] for pathway in run.summary["pathways"]}
    assert restarts == {"identity": 0, "lbp": 0, "slow": 0, "movnet": 1}
    data = run.summary["data"]
    assert data["decodes"] - data["decodes_replayed"] == inline.summary["data"]["decodes"] == 2 * 8
    assert run.summary["motion"][0]["n"] == 32
