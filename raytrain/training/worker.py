"""What runs in a Ray Train worker: one rank of one pathway, fed by the broadcast."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed

from pipelines.batch import BatchReader
from pipelines.broadcast import ChunkReader, describe
from pipelines.stage import view_name
from raytrain.collectives import world_size
from raytrain.errors import RaytrainError, StorageError
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

    An error of our own is returned rather than raised, because a restart would only meet it again. Peers that
    wait for this rank in a collective are let go, and ask the recorder whether that was the reason.
    """
    setup: WorkerSetup = settings["setup"]
    try:
        return _train(setup)
    except RaytrainError as error:
        told = describe(error)
        ray.get(setup.recorder.failed.remote(setup.name, told))
        if world_size() > 1:
            torch.distributed.destroy_process_group()
        return {"name": setup.name, "error": told}
    except RuntimeError:
        failure = ray.get(setup.recorder.failure.remote(setup.name))
        if failure is None:
            raise
        return {"name": setup.name, "error": failure}


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
    _check_ranks_agree(loop, device)
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
    except RaytrainError:
        reader.close()
        raise
    except BaseException:
        reader.abandon()  # a restart follows: the stream waits for it
        raise
    reader.close()
    _report(loop)
    return loop.outcome(stopped=stopped)


def _check_ranks_agree(loop: PathwayLoop, device: torch.device) -> None:
    """Raise StorageError where ranks found different checkpoints, as on folders that nodes do not share."""
    if world_size() == 1:
        return
    steps = torch.tensor([loop.step, -loop.step], device=device)
    torch.distributed.all_reduce(steps, op=torch.distributed.ReduceOp.MAX)
    if int(steps[0]) != -int(steps[1]):
        raise StorageError(
            f"{loop.folder}: the ranks found checkpoints of steps {-int(steps[1])} to {int(steps[0])}; "
            "put --out on a folder that all nodes share"
        )


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
