"""Replay a pathway that was trained by several workers: as many processes, joined by gloo as on CPUs.

Statistics of batch norm and some losses span the ranks, so the ranks step together or not at all; taken one
after the other in one process they would compute something else.
"""

import queue
import tempfile
from pathlib import Path
from typing import Any

import torch.distributed
import torch.multiprocessing

from raytrain.errors import ERRORS, RaytrainError
from raytrain.training.plan import RunSetup
from raytrain.training.replay import Replay, Say, check_step, replay_step

POLL_S = 1.0


def replay(setup: RunSetup, name: str, step: int, *, say: Say = print) -> list[Replay]:
    """Replay all ranks of a pathway up to a step; return what each has seen of it.

    Raises:
        ConfigError: an unknown pathway or step.
        RaytrainError: whatever ended a rank.
    """
    check_step(setup, name, step)
    num_ranks = setup.config.workers(name)
    if num_ranks == 1:
        return [replay_step(setup, name, step, say=say)]
    say(f"{name} was trained by {num_ranks} workers: {num_ranks} processes replay it")
    context = torch.multiprocessing.get_context("spawn")
    told = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        processes = [
            context.Process(
                target=_rank_main, args=(rank, num_ranks, store, setup, name, step, told), daemon=True
            )
            for rank in range(num_ranks)
        ]
        for process in processes:
            process.start()
        try:
            found = _collect(told, processes, say)
        finally:
            for process in processes:
                process.terminate()
                process.join()
    return [found[rank] for rank in range(num_ranks)]


def _collect(told: Any, processes: list[Any], say: Say) -> dict[int, Replay]:
    found: dict[int, Replay] = {}
    while len(found) < len(processes):
        try:
            kind, rank, content = told.get(timeout=POLL_S)
        except queue.Empty:
            dead = [rank for rank, process in enumerate(processes) if process.exitcode not in (None, 0)]
            if dead and dead[0] not in found:
                raise RaytrainError(
                    f"rank {dead[0]} of the replay died with code {processes[dead[0]].exitcode}"
                ) from None
            continue
        if kind == "said":
            say(content)
        elif kind == "found":
            found[rank] = content
        else:
            raise ERRORS.get(kind, RaytrainError)(content)
    return found


def _rank_main(
    rank: int, num_ranks: int, store: str, setup: RunSetup, name: str, step: int, told: Any
) -> None:
    try:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=num_ranks
        )
        found = replay_step(setup, name, step, rank=rank, say=lambda text: told.put(("said", rank, text)))
        told.put(("found", rank, found))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    except RaytrainError as error:
        told.put((type(error).__name__, rank, str(error)))
