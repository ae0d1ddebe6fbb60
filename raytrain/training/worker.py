"""What runs in a Ray Train worker: one rank of one pathway, fed by the broadcast."""

import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed

from pipelines.stream.ahead import BatchAhead
from pipelines.stream.batch import BatchReader
from pipelines.stream.reader import ChunkReader
from raytrain.collectives import world_size
from raytrain.cpu import prepare_cpu
from raytrain.device import given_device
from raytrain.errors import RaytrainError, StorageError, describe
from raytrain.training.loop import PathwayLoop
from raytrain.training.plan import RunSetup


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
    name, recorder = setup.name, setup.recorder
    failure = ray.get(recorder.failure.remote(name))
    if failure is not None:
        return {"name": name, "error": failure}
    try:
        return _train(setup)
    except RaytrainError as error:
        told = describe(error)
        ray.get(recorder.failed.remote(name, told))
        if not _let_peers_go():
            raise
        return {"name": name, "error": told}
    except Exception as error:
        failure = ray.get(recorder.failure.remote(name))
        if failure is None:
            rank = ray.train.get_context().get_world_rank()
            ray.get(recorder.crashed.remote(name, rank, _first_words(error), traceback.format_exc()))
            _let_peers_go()
            raise
        return {"name": name, "error": failure}


def _let_peers_go() -> bool:
    """Break the collectives in which peers wait for this rank; return whether that was possible.

    NCCL's cannot be broken from here: its peers end when the whole group is torn down for a restart.
    """
    if world_size() == 1:
        return True
    if "nccl" in torch.distributed.get_backend():
        return False
    torch.distributed.destroy_process_group()
    return True


def _first_words(error: Exception) -> str:
    """Return an error's type and first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _train(setup: WorkerSetup) -> dict[str, Any]:
    run, name = setup.run, setup.name
    rank = ray.train.get_context().get_world_rank()
    prepare_cpu(threads=run.config.training.threads_per_worker)
    device = given_device(run.device, whose=f"rank {rank} of pathway {name}")
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
        plan.needed_chunks(loop.cursor, run.config.epochs(name)),
    )
    loop.ledger.causes = reader.causes
    batches = BatchAhead(
        BatchReader(plan, reader, pathway),
        loop.cursor,
        run.config.epochs(name),
        device=device,
    )
    try:
        stopped = loop.run(batches, stop=lambda: reader.stop_requested)
    except RaytrainError:
        reader.close()
        raise
    except BaseException:
        reader.abandon()  # a restart follows: the stream waits for it
        raise
    finally:
        batches.close()
    reader.close()
    _report(loop)
    ray.get(setup.recorder.counts.remote())  # behind this worker's last lines: they are written
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
