"""Processes that stand for a pathway's ranks, kept between tests: importing torch is dear."""

import multiprocessing
import pickle
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

START_S = 60.0
"""a process that has to be started imports torch and the test's module before it can answer"""


class RankError(Exception):
    """A rank raised, died or was silent; its traceback, exit code or name is the text."""


class Ranks:
    """Runs a function on W ranks, each in a process of its own, over gloo.

    Every call has a process group and a store of its own, so that nothing is left of the call before. After
    a failure all processes are ended, those that wait for the failed rank included; the next call starts
    others.

    Args:
        folder: where the stores lie.
        timeout_s: longest time that a call may take, the start of processes not counted.

    Example:
        losses = ranks.run(2, one_step, tmp_path)  # [one_step(0, tmp_path), one_step(1, tmp_path)]
    """

    def __init__(self, folder: Path, *, timeout_s: float = 60.0) -> None:
        self._folder = folder
        self._timeout_s = timeout_s
        self._processes: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []
        self._calls = 0
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["torch"])

    def run(self, world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return what `function(rank, *arguments)` returns on each of the ranks, by rank.

        Raises:
            RankError: a rank raised, ended, or gave nothing within the time.
        """
        limit = time.monotonic() + self._timeout_s + START_S * (world_size > len(self._processes))
        while len(self._processes) < world_size:
            self._start()
        self._calls += 1
        task = pickle.dumps((world_size, str(self._folder / f"store-{self._calls}"), function, arguments))
        for _, connection in self._processes[:world_size]:
            connection.send_bytes(task)
        try:
            return self._gather(world_size, limit)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all processes; the next call starts others."""
        for process, connection in self._processes:
            process.kill()
            process.join()
            connection.close()
        self._processes = []

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(len(self._processes), theirs), daemon=True)
        process.start()
        theirs.close()
        self._processes.append((process, ours))

    def _gather(self, world_size: int, limit: float) -> list[Any]:
        results: dict[int, Any] = {}
        while len(results) < world_size:
            waiting = {self._processes[rank][1]: rank for rank in range(world_size) if rank not in results}
            ready = wait(list(waiting), timeout=max(0.0, limit - time.monotonic()))
            if not ready:
                raise RankError(f"ranks {sorted(waiting.values())} of {world_size} gave nothing in time")
            failed = []
            for connection in ready:
                rank = waiting[connection]  # type: ignore[index]
                succeeded, value = self._answer(rank)
                results[rank] = value
                failed += [] if succeeded else [f"rank {rank} of {world_size}: {value}"]
            if failed:
                raise RankError("\n".join(failed))
        return [results[rank] for rank in range(world_size)]

    def _answer(self, rank: int) -> tuple[bool, Any]:
        process, connection = self._processes[rank]
        try:
            answer: tuple[bool, Any] = pickle.loads(connection.recv_bytes())
        except EOFError:
            process.join()
            return False, f"ended with exit code {process.exitcode}"
        return answer


def _serve(rank: int, connection: Connection) -> None:
    """Answer calls until the test process is gone."""
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        try:
            answer = pickle.dumps((True, _call(rank, *pickle.loads(message))))
        except BaseException:
            answer = pickle.dumps((False, traceback.format_exc()))
        connection.send_bytes(answer)


def _call(
    rank: int, world_size: int, store: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    import torch.distributed as dist

    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world_size, timeout=timedelta(minutes=5)
    )
    value = function(rank, *arguments)
    dist.destroy_process_group()  # not after an error: it would wait for what the others have begun
    return value
