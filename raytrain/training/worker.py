"""What runs in a Ray Train worker: one rank of one pathway, fed by the broadcast."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from pipelines.batch import BatchReader
from pipelines.broadcast import ChunkReader, describe
from pipelines.stage import view_name
from raytrain.errors import RaytrainError
from raytrain.training.loop import PathwayLoop
from raytrain.training.setup import RunSetup, choose_device


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is told; the manifest stays with the stream."""

    run: RunSetup
    name: str
    broadcast: Any
    recorder: Any


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Train one rank of a pathway; return its outcome, or its error as (kind, message).

    An error of our own is returned rather than raised, because a restart would only meet it again.
    """
    setup: WorkerSetup = settings["setup"]
    try:
        return _train(setup)
    except RaytrainError as error:
        return {"name": setup.name, "error": describe(error)}


def _train(setup: WorkerSetup) -> dict[str, Any]:
    run, name = setup.run, setup.name
    rank = ray.train.get_context().get_world_rank()
    torch.set_num_threads(run.config.training.threads_per_worker)
    device = choose_device(run.config)
    if device.type == "cuda":
        device = ray.train.torch.get_device()
    plan = run.plan(name, rank)
    loop = PathwayLoop(
        run.pathway(name, device),
        run.config,
        plan=plan,
        folder=run.checkpoints(name),
        record=setup.recorder.log.remote,
    )
    place = f"process {os.getpid()} on {os.uname().nodename}"
    setup.recorder.started.remote(name, rank, loop.restore(), place)
    pathway = run.config.pathways[name]
    reader = ChunkReader(
        setup.broadcast,
        pathway.stream,
        f"{name}/{rank}",
        plan.needed_chunks(loop.cursor, run.config.training.epochs),
    )
    loop.ledger.causes = reader.causes
    batches = BatchReader(plan, reader, pin=device.type == "cuda")
    try:
        stopped = loop.run(
            batches,
            view=view_name(pathway) if pathway.placement == "stream" else "",
            stop=lambda: reader.stop_requested,
        )
    finally:
        reader.close()
    _report(loop)
    return loop.outcome(stopped=stopped)


def _report(loop: PathwayLoop) -> None:
    """Tell Ray Train of rank 0's last checkpoint, so that `Result.checkpoint` works; ours stays the truth."""
    folders: list[Path] = sorted(loop.folder.glob("step-*")) if loop.plan.rank == 0 else []
    if not folders:
        ray.train.report({"step": loop.step})
        return
    ray.train.report(
        {"step": loop.step},
        checkpoint=ray.train.Checkpoint.from_directory(str(folders[-1])),
        checkpoint_dir_name=folders[-1].name,
        checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
    )
