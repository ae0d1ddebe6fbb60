from pathlib import Path

import pytest
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from raytrain.config import from_mapping
from raytrain.training.experiment import explain_end
from raytrain.training.plan import RunSetup
from tests.conftest import small_values

DEAD = WorkerGroupError("[Rank 1 Error Snippet]:\nThe actor died.\n", {1: RuntimeError("died")})


@pytest.fixture
def run(tmp_path: Path) -> RunSetup:
    return RunSetup(
        config=from_mapping(small_values(training__max_restarts=2)),
        folder=tmp_path,
        standardisers={},
        num_samples=26,
        num_classes=2,
        manifest=None,
    )


def test_what_a_rank_said_is_what_ended_the_pathway(run: RunSetup) -> None:
    assert explain_end("lbp", DEAD, "rank 1 failed: ValueError: planted", run) == (
        "RaytrainError",
        "pathway lbp: rank 1 failed: ValueError: planted; training.max_restarts 2 used up; "
        f"the traceback is in {run.folder / 'log.txt'}",
    )


def test_a_rank_that_said_nothing_was_killed(run: RunSetup) -> None:
    assert explain_end("lbp", DEAD, None, run) == (
        "ClusterError",
        "pathway lbp: the process of rank 1 died (killed, or out of memory?); training.max_restarts 2 "
        "used up; the last checkpoints are kept, run the same command again",
    )


def test_workers_that_never_got_a_place_and_other_ends_are_cluster_errors(run: RunSetup) -> None:
    assert explain_end("lbp", ControllerError(WorkerGroupStartupTimeoutError(1)), None, run) == (
        "ClusterError",
        "pathway lbp: its workers got no place on the cluster in 20 attempts; wait for other jobs, or ask "
        "for less, and run the same again",
    )
    kind, message = explain_end("lbp", ControllerError(ValueError("odd\nsecond")), None, run)
    assert kind == "ClusterError"
    assert message == "pathway lbp: ControllerError: second"
