"""All pathways of a run through Ray: a recorder, a broadcast, a TorchTrainer a pathway in daemon threads."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray
import ray.train.v2.api.config as train_config
from ray.exceptions import ActorDiedError, RayError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from pipelines.broadcast import Broadcast, StreamRequest, describe, raise_described
from pipelines.order import BatchPlan
from pipelines.stage import StageSettings
from pipelines.stream import DecodeCount
from raytrain.errors import ClusterError
from raytrain.training.cluster import cluster_resources
from raytrain.training.inline import check_quarantine
from raytrain.training.recorder import Recorder
from raytrain.training.setup import RunSetup
from raytrain.training.worker import WorkerSetup, train_worker

POLL_S = 0.2
STOP_PATIENCE_S = 90.0
STORE_SHARE = 0.3


class _ToRecorder:
    """Sends counts from decode tasks and stage actors to the recorder, without waiting."""

    def __init__(self, recorder: Any) -> None:
        self._recorder = recorder

    def decoded(self, count: DecodeCount) -> None:
        self._recorder.decoded.remote(count)

    def operated(self, view: str, samples: int) -> None:
        self._recorder.operated.remote(view, samples)


class _Fit(threading.Thread):
    """One pathway's `TorchTrainer.fit()`; its outcome or error is read after it has ended."""

    def __init__(self, setup: WorkerSetup) -> None:
        super().__init__(daemon=True, name=f"fit-{setup.name}")
        self._setup = setup
        self.outcome: dict[str, Any] | None = None

    def run(self) -> None:
        try:
            result: Any = _trainer(self._setup).fit()
            self.outcome = result.return_value
        except Exception as error:
            kind, message = describe(error)
            self.outcome = {
                "name": self._setup.name,
                "error": (kind, f"pathway {self._setup.name}: {message}"),
            }


def _trainer(setup: WorkerSetup) -> TorchTrainer:
    config, name = setup.run.config, setup.name
    training = config.training
    folder = setup.run.checkpoints(name)
    # Ray Train's own snapshot is not written atomically, and would be read back at the start.
    (folder / "checkpoint_manager_snapshot.json").unlink(missing_ok=True)
    return TorchTrainer(
        train_worker,
        train_loop_config={"setup": setup},
        scaling_config=train_config.ScalingConfig(
            num_workers=config.workers(name),
            use_gpu=training.gpus_per_worker > 0,
            resources_per_worker={"CPU": training.cpus_per_worker}
            | ({"GPU": training.gpus_per_worker} if training.gpus_per_worker else {}),
        ),
        run_config=train_config.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=train_config.FailureConfig(
                max_failures=training.max_restarts, controller_failure_limit=3, max_preemption_failures=100
            ),
        ),
    )


def train_through_ray(
    setup: RunSetup, *, stop: Callable[[], bool], tick: Callable[[dict[str, Any]], Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train all pathways; return (their outcomes, the recorder's counts).

    Args:
        stop: asked five times a second.
        tick: called with what the recorder has new.

    Raises:
        RaytrainError: whatever ended a pathway for good, after the others were asked to stop.
    """
    recorder: Any = (
        ray.remote(Recorder)
        .options(num_cpus=0, max_restarts=3, max_task_retries=3, scheduling_strategy="DEFAULT")
        .remote(str(setup.folder), setup.folder.name)
    )
    # The actor reads its requests again when it restarts: they live as long as this frame.
    broadcast, _requests = _start_broadcast(setup, recorder)
    worker_run = replace(setup, manifest=None)
    todo = [name for name in setup.config.pathways if not setup.done(name)]
    fits = {name: _Fit(WorkerSetup(worker_run, name, broadcast, recorder)) for name in todo}
    for fit in fits.values():
        fit.start()
    try:
        recorder.note.remote(f"broadcast starts as process {ray.get(broadcast.process.remote())}")
        _watch(setup, fits, broadcast, recorder, stop, tick)
    finally:
        counts = _close(recorder, broadcast)
        tick({"lines": [], "events": [], **counts})
    outcomes = [fit.outcome for fit in fits.values() if fit.outcome]
    for outcome in outcomes:
        if "error" in outcome:
            raise_described(outcome["error"])
    return outcomes, counts


def _watch(
    setup: RunSetup,
    fits: dict[str, _Fit],
    broadcast: Any,
    recorder: Any,
    stop: Callable[[], bool],
    tick: Callable[[dict[str, Any]], Any],
) -> None:
    """Wait for all fits; ask them to stop on a signal, another's failure, or over the quarantine budget."""
    asked_at: float | None = None
    budget = setup.config.data.quarantine_budget * setup.num_samples
    while any(fit.is_alive() for fit in fits.values()):
        failed = any(fit.outcome and "error" in fit.outcome for fit in fits.values())
        fresh = _drain(recorder)
        tick(fresh)
        over = fresh.get("quarantined", 0) > budget
        for name, fit in fits.items():
            if not fit.is_alive():
                # Said again and again: one that failed would hold the others, and so would a finished one of
                # which a restarted broadcast does not know.
                for rank in range(setup.config.workers(name)):
                    broadcast.finish.remote(setup.config.pathways[name].stream, f"{name}/{rank}")
        if asked_at is None and (stop() or failed or over):
            asked_at = time.monotonic()
        if asked_at is not None:
            with contextlib.suppress(RayError):
                ray.get(broadcast.stop.remote(), timeout=5)
            if time.monotonic() - asked_at > STOP_PATIENCE_S:
                alive = ", ".join(name for name, fit in fits.items() if fit.is_alive())
                raise ClusterError(
                    f"pathways {alive} did not stop within {STOP_PATIENCE_S:g} s; their last checkpoints "
                    "are kept"
                )
        time.sleep(POLL_S)
    fresh = _drain(recorder)
    tick(fresh)
    check_quarantine(fresh.get("quarantined", 0), budget, setup)


def _drain(recorder: Any) -> dict[str, Any]:
    try:
        drained: dict[str, Any] = ray.get(recorder.drain.remote(), timeout=30)
        return drained
    except ActorDiedError:
        raise ClusterError(
            "the recorder died for good, perhaps of a full disk; the last checkpoints are kept, run the same "
            "command again"
        ) from None
    except (RayError, TimeoutError):
        return {"lines": [], "events": ["the recorder did not answer"]}


def _close(recorder: Any, broadcast: Any) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    with contextlib.suppress(RayError):
        counts = ray.get(recorder.close.remote(), timeout=30)
    for actor in (broadcast, recorder):
        with contextlib.suppress(RayError):
            ray.kill(actor)
    return counts


def _start_broadcast(setup: RunSetup, recorder: Any) -> Any:
    told = _ToRecorder(recorder)
    requests = {stream: _request(setup, stream, names, told) for stream, names in setup.streams().items()}
    reference = ray.put(requests)
    actor = (
        ray.remote(Broadcast)
        .options(num_cpus=0, max_restarts=-1, max_concurrency=1000, scheduling_strategy="DEFAULT")
        .remote([reference])
    )
    return actor, reference


def _request(setup: RunSetup, stream: str, names: list[str], told: _ToRecorder) -> StreamRequest:
    source = replace(setup.source(stream), on_decoded=told.decoded)
    epochs = setup.config.training.epochs
    cursors: dict[str, int] = {}
    for name in names:
        start = setup.cursor(name)
        for rank in range(setup.config.workers(name)):
            plan: BatchPlan = setup.plan(name, rank)
            first = next(plan.needed_chunks(start, epochs), None)
            if first is not None:
                cursors[f"{name}/{rank}"] = first
    views = setup.views(stream)
    stage = None
    if views:
        stage = StageSettings(views, setup.config.data.canvas_px, setup.config.seed, told.operated)
    return StreamRequest(
        source=source,
        cursors=cursors,
        num_chunks=epochs * source.plan.chunks_per_epoch,
        num_used=setup.plan(names[0]).num_used,
        window_chunks=_window_chunks(setup, stream, source.plan.chunk_samples),
        stage=stage,
        stage_num_gpus=0.1 if stage and cluster_resources().get("GPU", 0) else 0.0,
    )


def _window_chunks(setup: RunSetup, stream: str, chunk_samples: int) -> int:
    """Return how many chunks the window holds: data.window_mib, at most 30 % of the object store."""
    data = setup.config.data
    store = cluster_resources().get("object_store_memory", 2**30)
    allowed = min(data.window_mib * 2**20, STORE_SHARE * store / len(setup.streams()))
    size = chunk_samples * (3 * data.canvas_px**2 + setup.view_bytes(stream))
    return max(2 * setup.config.num_lanes, int(allowed / size))
