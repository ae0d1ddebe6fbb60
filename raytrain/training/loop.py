"""The training loop of one pathway: the same code in a Ray Train worker and in one process."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipelines.modalities import modality_of
from pipelines.order.plan import BatchPlan, Cursor
from pipelines.stream.batch import Batch
from pipelines.views.transfer import LateFlag
from raytrain.checkpoint import load_latest, save_checkpoint
from raytrain.config import RunConfig
from raytrain.errors import StorageError
from raytrain.health import HealthJudge, HealthMeter
from raytrain.pathway import Pathway
from raytrain.training.timekeeping import Ledger, Pace

Record = Callable[[dict[str, Any]], None]


class PathwayLoop:
    """Trains one pathway from its checkpoint to the last epoch, a step a call.

    Args:
        plan: the batches of this rank.
        folder: the pathway's checkpoints.
        record: takes one object a logged step.
    """

    def __init__(
        self, pathway: Pathway, config: RunConfig, *, plan: BatchPlan, folder: Path, record: Record
    ) -> None:
        self.pathway, self.config, self.plan = pathway, config, plan
        self.folder, self.record = folder, record
        self.cursor, self.step = Cursor(), 0
        self.ledger = Ledger()
        self._judge = HealthJudge()
        self._pace = Pace(modality_of(config))
        self._stop_before: LateFlag | None = None

    def restore(self) -> int:
        """Load the newest whole checkpoint if there is one; return the steps done."""
        checkpoint = load_latest(self.folder)
        if checkpoint is not None:
            if checkpoint.meta.get("seed") != self.config.seed:
                raise StorageError(f"{checkpoint.folder} was written by seed {checkpoint.meta.get('seed')}")
            self.pathway.load_state_tensors(checkpoint.tensors)
            self.step = checkpoint.step
            # Recomputed rather than read, so that a longer schedule goes on from a finished shorter one.
            self.cursor = self.plan.cursor_at(self.step)
        return self.step

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.plan.steps_before(self.config.epochs(self.pathway.name))

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.num_steps

    def run(self, next_batch: Callable[[], Batch], *, stop: Callable[[], bool]) -> bool:
        """Train to the end or to an agreed stop; return whether it was stopped.

        Args:
            next_batch: gives the batches from the loop's cursor on, one after the other.
        """
        while not self.finished:
            with self.ledger.time("data"):
                batch = next_batch()
            if self.advance(batch, stop=stop()):
                return not self.finished
        return False

    def advance(self, batch: Batch, *, stop: bool = False) -> bool:
        """Train on one batch, log and checkpoint when due; return whether all ranks agreed to stop."""
        training, rank = self.config.training, self.plan.rank
        first = not self._pace.begun  # of this process: it tells the start-up from the training
        logs = first or (self.step + 1) % training.log_every == 0 or self.step + 1 >= self.num_steps
        meter = HealthMeter()
        with self.ledger.time("step"):
            result = self.pathway.step(
                batch.to(self.pathway.device),
                rank=rank,
                stop=stop,
                watch=meter if logs and rank == 0 else None,
            )
        self.step += 1
        self.cursor = self.plan.after(self.cursor)
        self._pace.take(batch, num_ranks=self.plan.num_workers)
        stopped = self._agreed(result.stop)
        if logs:
            with self.ledger.time("step"):
                self.pathway.check()
                self._log(batch, result.losses, meter)
        if self.cursor.step == 0 or self.step % training.checkpoint_every == 0 or stopped:
            with self.ledger.time("checkpoint"):
                self.save()
        return stopped

    def _agreed(self, stop: torch.Tensor | bool) -> bool:
        """Return whether any rank asked to stop; on a GPU with the step before, which nobody waits for."""
        if not isinstance(stop, torch.Tensor) or stop.device.type != "cuda":
            return bool(stop)
        former, self._stop_before = self._stop_before, LateFlag(stop)
        return former is not None and bool(former)

    def save(self) -> None:
        """Write a checkpoint of this step; rank 0 alone does."""
        self.pathway.check()
        if self.plan.rank == 0:
            save_checkpoint(
                self.folder,
                self.pathway.state_tensors(),
                step=self.step,
                cursor=self.cursor,
                meta={
                    "pathway": self.pathway.name,
                    "seed": self.config.seed,
                    "standardiser": self.pathway.standardiser.to_json(),
                },
                keep=self.config.training.keep_checkpoints,
            )

    def _log(self, batch: Batch, losses: torch.Tensor, meter: HealthMeter) -> None:
        line: dict[str, Any] = {
            "pathway": self.pathway.name,
            "epoch": batch.epoch,
            "step": self.step,
            "rank": self.plan.rank,
            "time": round(time.time(), 4),
            "sequence_hash": batch.sequence_hash,
        }
        self._pace.mark()
        if self.plan.rank == 0:
            values, health = meter.read(losses)
            line |= {
                "losses": dict(zip(self.pathway.loss_names, values, strict=True)),
                **self._pace.rates,
                "memory_mib": memory_mib(self.pathway.device),
                "process": os.getpid(),
                "waits": self.ledger.shares(),
                "health": health,
            }
            warnings = self._judge.take(line, channels=self.pathway.encoder.channels)
            line |= {"warnings": warnings} if warnings else {}
        self.record(line)

    def outcome(self, *, stopped: bool) -> dict[str, Any]:
        """Return what the summary says of this pathway."""
        ledger = self.ledger
        busy = max(ledger.total, 1e-9)
        return {
            "name": self.pathway.name,
            "epochs": self.plan.cursor_at(self.step).epoch,
            "steps": self.step,
            "stopped": stopped,
            **self._pace.rates,
            "waits": ledger.shares(),
            "causes": {cause: round(seconds, 2) for cause, seconds in ledger.causes.items()},
            "busy_s": round(busy, 2),
            "weights_sha256": self.pathway.weights_sha256(),
        }


def memory_mib(device: torch.device) -> int:
    """Return the peak device memory on a GPU, else the resident memory of this process, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    with Path("/proc/self/statm").open(encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
