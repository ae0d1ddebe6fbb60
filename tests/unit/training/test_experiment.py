from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from raytrain.config import from_mapping
from raytrain.errors import ClusterError
from raytrain.training.allotment import Allotment
from raytrain.training.experiment import _Watch, explain_end, window_chunks
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
        sample_bytes={},
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


def sized(run: RunSetup, *, batch_size: int = 64, decode_tasks: int = 2, **data: Any) -> RunSetup:
    """Return a run on 100,000 images of 150,528 bytes, 222 a chunk."""
    config = run.config
    data = {"chunk_mib": 0.0, "canvas_px": 224, **data}
    training = replace(config.training, batch_size=batch_size)
    config = replace(config, data=replace(config.data, **data), training=training)
    allotment, sample_bytes = Allotment(decode_tasks=decode_tasks), {"main": 3 * 224**2}
    return replace(run, config=config, num_samples=100_000, allotment=allotment, sample_bytes=sample_bytes)


@pytest.mark.parametrize(
    ("changes", "store_gib", "expected"),
    [
        ({}, 16, 8),  # data.window_mib 256
        ({"batch_size": 1024}, 16, 15),  # three batches
        ({"decode_tasks": 16}, 16, 18),
        ({"window_mib": 1024.0}, 16, 32),
        ({"window_mib": 65536.0}, 4, 38),  # no more than 30 % of the object store
        ({"batch_size": 8192}, 4, 38),
    ],
)
def test_the_window_holds_three_batches_and_what_is_decoded_within_the_object_store(
    run: RunSetup, changes: dict[str, Any], store_gib: float, expected: int
) -> None:
    assert window_chunks(sized(run, **changes), "main", store_bytes=store_gib * 2**30) == expected


def test_chunks_that_the_object_store_cannot_hold_are_refused_with_the_numbers(run: RunSetup) -> None:
    message = r"two chunks of 32 MiB a lane are more than 30% of the object store of 64 MiB; give Ray more"
    with pytest.raises(ClusterError, match=message):
        window_chunks(sized(run), "main", store_bytes=2**26)


class _Ended:
    runs = False


def test_the_end_of_a_pathway_is_said_once_to_each_broadcast(run: RunSetup) -> None:
    said: list[tuple[str, str]] = []

    class Finish:
        def remote(self, stream: str, reader: str) -> None:
            said.append((stream, reader))

    class Broadcast:
        finish = Finish()

    fits: Any = {"lbp": _Ended()}
    watch = _Watch(run, fits, Broadcast(), None)
    for broadcast in (1, 1, 1, 2, 2):
        watch._release_ended(broadcast)
    assert said == [("main", "lbp/0")] * 2
