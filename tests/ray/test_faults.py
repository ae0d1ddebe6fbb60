"""Faults that kill no process: exceptions, lost blocks, ranks that fail, loss that diverges, busy CPUs."""

import io
import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from raytrain import api
from raytrain.checkpoint import latest_step
from raytrain.config import RunConfig, from_mapping
from raytrain.errors import DivergedError, Interrupted, RaytrainError
from raytrain.training import experiment
from tests.conftest import run_values
from tests.ray.faults import losing_worker, once, worker_with

pytestmark = [pytest.mark.ray, pytest.mark.chaos]


def config_of(folder: Path, **changes: Any) -> RunConfig:
    return from_mapping(run_values(out=str(folder), **changes))


def weights(summary: dict[str, Any]) -> dict[str, str]:
    return {pathway["name"]: pathway["weights_sha256"] for pathway in summary["pathways"]}


def restarts(summary: dict[str, Any]) -> dict[str, int]:
    return {pathway["name"]: pathway["restarts"] for pathway in summary["pathways"]}


def train(config: RunConfig) -> tuple[api.Run, str]:
    """Train; return the run and what was said."""
    said = io.StringIO()
    return api.train(config, console=Console(file=said, width=200)), said.getvalue()


def test_an_exception_and_a_lost_block_change_no_weight(
    tmp_path: Path, inline: api.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_once, lose_once = once(tmp_path, "raised"), once(tmp_path, "lost")

    def fault(pathway: str, rank: int, step: int) -> None:
        if pathway == "lbp" and step == 8 and raise_once():
            raise ValueError("planted\nsecond line")

    monkeypatch.setattr(experiment, "train_worker", losing_worker(lose_once, "identity", worker_with(fault)))
    run, said = train(config_of(tmp_path / "run"))
    assert weights(run.summary) == weights(inline.summary)
    assert restarts(run.summary) == {"identity": 0, "lbp": 1}
    assert "lbp rank 0 failed: ValueError: planted\n" in said
    assert "lbp restarted from step 6 (restart 1)\n" in said
    log = (tmp_path / "run" / "log.txt").read_text()
    assert 'raise ValueError("planted\\nsecond line")' in log
    assert (tmp_path / "lost").exists()
    assert run.summary["data"]["decodes_replayed"] >= 24  # the lost chunk


def test_a_pathway_that_fails_again_and_again_ends_with_its_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(pathway: str, rank: int, step: int) -> None:
        if pathway == "lbp" and step == 5:
            raise KeyError("planted")

    monkeypatch.setattr(experiment, "train_worker", worker_with(fault))
    with pytest.raises(RaytrainError) as caught:
        api.train(config_of(tmp_path / "run", training__max_restarts=1))
    log = tmp_path / "run" / "log.txt"
    assert str(caught.value) == (
        "pathway lbp: rank 0 failed: KeyError: 'planted'; training.max_restarts 1 used up; "
        f"the traceback is in {log}"
    )
    assert caught.value.exit_code == 1
    assert log.read_text().count("Traceback (most recent call last)") == 2
    kept = {name: latest_step(tmp_path / "run" / "checkpoints" / name) for name in ("identity", "lbp")}
    assert kept["lbp"] is not None
    assert kept["lbp"][1] == 4
    assert kept["identity"] is not None
    assert kept["identity"][1] >= 3


def test_a_rank_that_fails_takes_its_pathway_back_and_names_itself(
    tmp_path: Path, two_workers: api.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_once, die_once = once(tmp_path, "raised"), once(tmp_path, "died")

    def fault(pathway: str, rank: int, step: int) -> None:
        if (pathway, rank) == ("lbp", 1) and step == 4 and raise_once():
            raise OSError("planted")
        if (pathway, rank) == ("lbp", 1) and step == 8 and die_once():
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(experiment, "train_worker", worker_with(fault))
    run, said = train(config_of(tmp_path / "run", training__workers=2))
    assert weights(run.summary) == weights(two_workers.summary)
    assert restarts(run.summary) == {"identity": 0, "lbp": 2}
    assert "lbp rank 1 failed: OSError: planted\n" in said


def test_a_loss_that_is_not_finite_ends_the_run_before_the_update(tmp_path: Path) -> None:
    values = run_values(out=str(tmp_path / "run"), training__checkpoint_every=1)
    values["pathways"]["identity"] = {**values["pathways"]["identity"], "optimizer": {"learning_rate": 1e30}}
    with pytest.raises(
        DivergedError,
        match=r"^pathway identity: loss of layer\d is (nan|inf) at epoch 0, step 1; stopped before",
    ) as caught:
        api.train(from_mapping(values))
    assert caught.value.exit_code == 4
    for name in ("identity", "lbp"):
        kept = latest_step(tmp_path / "run" / "checkpoints" / name)
        assert kept is not None
        assert kept[1] == 1 if name == "identity" else kept[1] >= 1


def test_a_run_that_waits_for_cpus_says_so_and_can_be_interrupted(tmp_path: Path) -> None:
    total = int(ray.cluster_resources()["CPU"])
    other = ray.remote(num_cpus=total)(_Idle).remote()
    ray.get(other.name.remote())
    said = io.StringIO()
    interrupted = threading.Event()

    def interrupt() -> None:
        while " wait" not in said.getvalue() and not interrupted.is_set():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(Interrupted):
            api.train(config_of(tmp_path / "run"), console=Console(file=said, width=200))
    finally:
        interrupted.set()
        ray.kill(other)
    names = "(identity|lbp|identity, lbp)"
    assert re.search(f"^{names} waits? for [12] CPUs?: {total} of {total} are in use$", said.getvalue(), re.M)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "stopped"
    assert _groups_soon_gone()


def _groups_soon_gone() -> bool:
    """Wait until no worker of the interrupted run is asked for any more."""
    for _ in range(900):
        if all(group["state"] == "REMOVED" for group in ray.util.placement_group_table().values()):
            return True
        time.sleep(0.2)
    return False


class _Idle:
    def name(self) -> str:
        return "another job"
