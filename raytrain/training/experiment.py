"""All pathways of a run through Ray: a recorder, a broadcast, a TorchTrainer a pathway in daemon threads."""

import contextlib
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import ray
import ray.train.v2.api.config as train_config
import torch
from ray.exceptions import ActorDiedError, RayError
from ray.train import WorkerGroupError
from ray.train.torch import TorchConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from pipelines.stream.broadcast import Broadcast, StreamRequest
from pipelines.stream.decoder import DecodeCount
from pipelines.stream.stage import StageSettings
from raytrain.errors import ClusterError, RaytrainError, describe, raise_described
from raytrain.training.cluster import cluster_resources
from raytrain.training.inline import check_quarantine
from raytrain.training.loop import PathwayLoop
from raytrain.training.paths import LOG
from raytrain.training.placement import PlacementNotes, Shortage
from raytrain.training.plan import RunSetup
from raytrain.training.recorder import Recorder
from raytrain.training.worker import WorkerSetup, train_worker

POLL_S = 0.2
STOP_PATIENCE_S = 90.0
STARVED_PATIENCE_S = 15.0
STORE_SHARE = 0.3
START_ATTEMPTS = 20  # to get a pathway's workers, each as long as RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S


class _ToRecorder:
    """Sends counts from decode tasks, stage actors and the broadcast to the recorder, without waiting."""

    def __init__(self, recorder: Any, *, cache: str) -> None:
        self._recorder, self._cache = recorder, cache

    def decoded(self, count: DecodeCount) -> None:
        self._recorder.decoded.remote(count)

    def operated(self, name: str, samples: int) -> None:
        self._recorder.operated.remote(name, samples)

    def started(self, process: int, restarted: bool) -> None:
        cold = "; data.cache = memory was lost with it" if self._cache == "memory" else ""
        lost = f"the broadcast died and came back{cold}" if restarted else ""
        self._recorder.broadcast_started.remote(process, lost)


class _Fit(threading.Thread):
    """One pathway's `TorchTrainer.fit()`; its outcome or error is read after it has ended."""

    def __init__(self, setup: WorkerSetup) -> None:
        super().__init__(daemon=True, name=f"fit-{setup.name}")
        self._setup = setup
        self.controller: Any = None
        """Ray Train's actor that starts the workers, once it has called"""
        self._returned: dict[str, Any] | None = None
        self._given_up: dict[str, Any] | None = None

    @property
    def runs(self) -> bool:
        """Whether an outcome is still to come."""
        return self.is_alive() and self._given_up is None

    @property
    def outcome(self) -> dict[str, Any] | None:
        """What the workers returned or failed with, or what was there when they were given up."""
        return self._given_up or self._returned

    @property
    def failed(self) -> bool:
        """Whether it ended with an error."""
        return bool(self.outcome and "error" in self.outcome)

    def run(self) -> None:
        try:
            result: Any = _trainer(self._setup).fit()
            self._returned = result.return_value
        except Exception as error:
            self._returned = {"name": self._setup.name, "error": self._explain(error)}

    def end(self) -> None:
        """Have the workers torn down, as soon as Ray Train's controller listens, and wait for nothing.

        It does not listen while it waits for resources: `PlacementNotes` ends that when the recorder is gone.
        """
        if self.controller is not None:
            self.controller.abort.remote()

    def give_up(self, setup: RunSetup) -> None:
        """End it; the outcome is what the last checkpoint holds."""
        self.end()
        loop = PathwayLoop(
            setup.pathway(self._setup.name, torch.device("cpu")),
            setup.config,
            plan=setup.plan(self._setup.name),
            folder=setup.checkpoints(self._setup.name),
            record=lambda line: None,
        )
        loop.restore()
        self._given_up = loop.outcome(stopped=True)

    def _explain(self, error: Exception) -> tuple[str, str]:
        """Return (kind, message) of what ended the last attempt: what a rank said, or what Ray did."""
        name, recorder = self._setup.name, self._setup.recorder
        failure: tuple[str, str] | None = None
        crash: str | None = None
        with contextlib.suppress(RayError):
            calls = [recorder.failure.remote(name), recorder.crash.remote(name)]
            failure, crash = ray.get(calls, timeout=10)
        return failure or explain_end(name, error, crash, self._setup.run)


def explain_end(name: str, error: Exception, crash: str | None, run: RunSetup) -> tuple[str, str]:
    """Return (kind, message) of a pathway that Ray Train does not start again; `crash`: what a rank said."""
    spent = f"training.max_restarts {run.config.training.max_restarts} used up"
    if crash:
        told = f"pathway {name}: {crash}; {spent}; the traceback is in {run.folder / LOG}"
        return RaytrainError.__name__, told
    if isinstance(error, WorkerGroupError):
        ranks = ", ".join(map(str, sorted(error.worker_failures)))
        told = f"pathway {name}: the process of rank {ranks} died (killed, or out of memory?); {spent}"
        return ClusterError.__name__, f"{told}; the last checkpoints are kept, run the same command again"
    if isinstance(getattr(error, "controller_failure", None), WorkerGroupStartupTimeoutError):
        told = f"pathway {name}: its workers got no place on the cluster in {START_ATTEMPTS} attempts"
        return ClusterError.__name__, f"{told}; wait for other jobs, or ask for less, and run the same again"
    kind, message = describe(error)
    return kind, f"pathway {name}: {message}"


def _trainer(setup: WorkerSetup) -> TorchTrainer:
    config, name = setup.run.config, setup.name
    training, gpus = config.training, setup.run.allotment.gpus_per_worker
    folder = setup.run.checkpoints(name)
    # Ray Train's own snapshot is not written atomically, and would be read back at the start.
    (folder / "checkpoint_manager_snapshot.json").unlink(missing_ok=True)
    return TorchTrainer(
        train_worker,
        train_loop_config={"setup": setup},
        scaling_config=train_config.ScalingConfig(
            num_workers=config.workers(name),
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": training.cpus_per_worker} | ({"GPU": gpus} if gpus else {}),
        ),
        # NCCL refuses two ranks of one group on the same GPU, which shares make possible.
        torch_config=TorchConfig(backend="nccl" if gpus >= 1 else "gloo"),
        run_config=train_config.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=train_config.FailureConfig(
                max_failures=training.max_restarts,
                controller_failure_limit=START_ATTEMPTS - 1,
                max_preemption_failures=100,
            ),
            callbacks=[PlacementNotes(name, setup.recorder)],  # type: ignore[list-item]  # as developers may
        ),
    )


def train_through_ray(
    setup: RunSetup,
    *,
    names: Collection[str],
    stop: Callable[[], bool],
    tick: Callable[[dict[str, Any]], Any],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train pathways; return (their outcomes, the recorder's counts).

    Args:
        names: the pathways.
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
    broadcast, serving = _start_broadcast(setup, recorder, names)
    worker_run = replace(setup, manifest=None)
    fits = {name: _Fit(WorkerSetup(worker_run, name, broadcast, recorder)) for name in names}
    for fit in fits.values():
        fit.start()
    if setup.cold_cache:
        recorder.event.remote(setup.cold_cache)
    try:
        _Watch(setup, fits, broadcast, recorder).run(serving, stop, tick)
    finally:
        for fit in fits.values():
            if fit.runs:
                fit.end()
        counts = _close(recorder, broadcast)
        tick({"lines": [], "events": [], **counts})
    outcomes = [fit.outcome for fit in fits.values() if fit.outcome]
    for outcome in outcomes:
        if "error" in outcome:
            raise_described(outcome["error"])
    return outcomes, counts


class _Watch:
    """Waits for all fits; asks them to stop on a signal, another's failure, or over the quarantine budget."""

    def __init__(self, setup: RunSetup, fits: dict[str, _Fit], broadcast: Any, recorder: Any) -> None:
        self._setup, self._fits = setup, fits
        self._broadcast, self._recorder = broadcast, recorder
        self._shortage = Shortage(setup.config, setup.allotment, wanted=self._chunk_wanted)
        self._asked_at: float | None = None
        self._released: set[tuple[str, int]] = set()
        """pathways whose end was said, each with the number of the broadcast that heard it"""

    def run(self, serving: Any, stop: Callable[[], bool], tick: Callable[[dict[str, Any]], Any]) -> None:
        """Return when every pathway has an outcome; `serving`: the broadcast's call that never ends."""
        budget = self._setup.config.data.quarantine_budget * self._setup.num_samples
        while any(fit.runs for fit in self._fits.values()):
            if ray.wait([serving], timeout=0)[0]:
                ray.get(serving)  # raises what kept the streams from starting
            failed = any(fit.failed for fit in self._fits.values())
            fresh = self._take()
            tick(fresh)
            self._release_ended(fresh.get("broadcasts", 1))
            over = fresh.get("quarantined", 0) > budget
            if self._asked_at is None and (stop() or failed or over):
                self._asked_at = time.monotonic()
            if self._asked_at is not None:
                self._stop(fresh, time.monotonic() - self._asked_at)
            time.sleep(POLL_S)
        fresh = self._take()
        tick(fresh)
        check_quarantine(fresh.get("quarantined", 0), budget, self._setup)

    def _take(self) -> dict[str, Any]:
        """Return what the recorder has new, and what the run lacks."""
        fresh = _drain(self._recorder)
        for name, controller in fresh.get("controllers", {}).items():
            self._fits[name].controller = controller
        fresh["waiting"] = [name for name in fresh.get("waiting", ()) if self._fits[name].runs]
        lacking = self._shortage.look(fresh)
        if lacking:
            self._recorder.note.remote(lacking)
            fresh["events"].append(lacking)
        return fresh

    def _chunk_wanted(self) -> bool:
        with contextlib.suppress(RayError):
            return bool(ray.get(self._broadcast.wants.remote(), timeout=5))
        return False

    def _release_ended(self, broadcast: int) -> None:
        """Say once to each broadcast that has started that ended pathways read no more.

        One that failed would hold the others, and so would one of which a restarted broadcast does not know.
        """
        config = self._setup.config
        for name, fit in self._fits.items():
            if not fit.runs and (name, broadcast) not in self._released:
                self._released.add((name, broadcast))
                for rank in range(config.workers(name)):
                    self._broadcast.finish.remote(config.pathways[name].stream, f"{name}/{rank}")

    def _stop(self, fresh: dict[str, Any], waited_s: float) -> None:
        """Ask all to stop; give up who has nothing to save, and in the end who does not answer."""
        with contextlib.suppress(RayError):
            ray.get(self._broadcast.stop.remote(), timeout=5)
        patience_s = STOP_PATIENCE_S
        if waited_s > STARVED_PATIENCE_S and self._shortage.decoding_starves:
            patience_s = STARVED_PATIENCE_S
        for name, fit in self._fits.items():
            if not fit.runs:
                continue
            if waited_s > patience_s:
                said = f"{name} did not stop within {patience_s:g} s; it goes on from its last checkpoint"
                self._recorder.event.remote(said)
            elif name not in fresh["waiting"]:
                continue
            fit.give_up(self._setup)


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


def _start_broadcast(setup: RunSetup, recorder: Any, names: Collection[str]) -> tuple[Any, Any]:
    """Return the broadcast, and the reference of its call that serves, which ends only by an error."""
    told = _ToRecorder(recorder, cache=setup.config.data.cache)
    requests = {
        stream: _request(setup, stream, own, told)
        for stream, members in setup.streams().items()
        if (own := [name for name in members if name in names])
    }
    actor: Any = (
        ray.remote(Broadcast)
        .options(num_cpus=0, max_restarts=-1, max_concurrency=1000, scheduling_strategy="DEFAULT")
        .remote()
    )
    return actor, actor.serve.remote(requests, told.started)


def _request(setup: RunSetup, stream: str, names: list[str], told: _ToRecorder) -> StreamRequest:
    source = replace(setup.source(stream), on_decoded=told.decoded)
    epochs, plan = max(setup.config.epochs(name) for name in names), setup.plan(names[0])
    cursors: dict[str, int] = {}
    for name in names:
        start = setup.cursor(name)
        for rank in range(setup.config.workers(name)):
            own = setup.plan(name, rank)
            first = next(own.needed_chunks(start, setup.config.epochs(name)), None)
            if first is not None:
                cursors[f"{name}/{rank}"] = first
    chunk_bytes = source.plan.chunk_samples * setup.sample_bytes[stream]
    staged = setup.staged(stream)
    stage = None
    if staged:
        canvas_px, seed = setup.config.data.canvas_px, setup.config.seed
        stage = StageSettings(staged, canvas_px, seed, told.operated, device=setup.device)
    return StreamRequest(
        source=source,
        cursors=cursors,
        num_chunks=epochs * source.plan.chunks_per_epoch,
        num_used=[plan.num_used(epoch) for epoch in range(epochs)],
        window_chunks=window_chunks(
            setup, stream, store_bytes=cluster_resources().get("object_store_memory", 2**30)
        ),
        chunk_bytes=chunk_bytes,
        stage=stage,
        stage_num_gpus=setup.allotment.gpus_per_stage,
        decode_tasks=setup.allotment.decode_tasks,
    )


def window_chunks(setup: RunSetup, stream: str, *, store_bytes: float) -> int:
    """Return how many chunks the window of a stream holds.

    As many as data.window_mib and STORE_SHARE of the object store allow; at least three batches, and two
    chunks more than are decoded at a time, or readers would wait for what may not be made yet.

    Raises:
        ClusterError: so many do not fit the object store.
    """
    data, plan = setup.config.data, setup.chunk_plan(stream)
    chunk_bytes = plan.chunk_samples * setup.sample_bytes[stream]
    lanes, batches = plan.num_lanes, 3 * setup.config.training.batch_size
    places = -(-batches // (plan.chunk_samples * lanes)) + 1
    least = min(max(places * lanes, setup.allotment.decode_tasks + 2), 2 * plan.chunks_per_epoch)
    room = STORE_SHARE * store_bytes / len(setup.streams())
    if 2 * lanes * chunk_bytes > room:
        raise ClusterError(
            f"stream {stream}: two chunks of {chunk_bytes / 2**20:.0f} MiB a lane are more than "
            f"{STORE_SHARE:.0%} of the object store of {store_bytes / 2**20:.0f} MiB; give Ray more (ray "
            "start --object-store-memory), or lower data.chunk_mib"
        )
    wanted = max(least, int(data.window_mib * 2**20 / chunk_bytes))
    return max(2 * lanes, min(wanted, int(room / chunk_bytes)))
