"""Represent through Ray: Ray Data decodes, and actors that hold the encoders take its blocks."""

from collections import deque
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.exceptions
import torch
from ray.util import ActorPool

from pipelines.forms.chunk import from_table, to_table
from pipelines.stream import blocks
from pipelines.stream.decoder import ChunkTask
from pipelines.stream.source import StreamSource
from raytrain.evaluation.represent import (
    Calibrator,
    FeatureSink,
    Representer,
    RepresentRequest,
    calibrated_names,
    features_of,
)

CALIBRATIONS = 3
"""passes over the pretrain split until the loss of a calibrating process ends the run"""
RETRIES = 3
"""of a block, until the loss of the actors that it was handed to ends the run"""
AHEAD = 2
"""chunks that wait at a calibrator"""


def represent_through_ray(
    request: RepresentRequest,
    source: StreamSource,
    pretrain: StreamSource,
    sink: FeatureSink,
    *,
    num_actors: int,
    num_gpus: float,
    decode_tasks: int,
) -> None:
    """Represent in `num_actors` actors that `decode_tasks` tasks at a time decode for.

    Before that all controls are calibrated in one pass. An actor that is lost is started again, and what it
    was asked for is asked for again.
    """
    statistics = calibrate_through_ray(
        request, pretrain, num_actors=num_actors, num_gpus=num_gpus, decode_tasks=decode_tasks
    )
    told = [ray.put((request, statistics))]
    make: Any = ray.remote(_TableRepresenter).options(
        num_cpus=1, num_gpus=num_gpus, max_restarts=-1, max_task_retries=RETRIES
    )
    actors = [make.remote() for _ in range(num_actors)]
    pool: Any = ActorPool(actors * 2)  # a block is on its way to each while it represents another
    try:
        for reference in blocks.block_references(_decoded(source), num_cpus=decode_tasks):
            if not pool.has_free():
                sink.write(*features_of(pool.get_next_unordered()))
            pool.submit(lambda actor, block: actor.represent.remote(told, block), reference)
        while pool.has_next():
            sink.write(*features_of(pool.get_next_unordered()))
    finally:
        for actor in actors:
            ray.kill(actor)


def calibrate_through_ray(
    request: RepresentRequest,
    pretrain: StreamSource,
    *,
    num_actors: int,
    num_gpus: float,
    decode_tasks: int,
) -> dict[str, dict[str, torch.Tensor]]:
    """Return every control's statistics from one pass, decoded by Ray Data and shown in order to all.

    The controls are dealt out to at most `num_actors` calibrators; when one is lost the pass is made again.
    """
    names = calibrated_names(request)
    count = min(num_actors, len(names))
    make: Any = ray.remote(_TableCalibrator).options(num_cpus=1, num_gpus=num_gpus)
    for attempt in range(1, CALIBRATIONS + 1):
        calibrators = [make.remote(request, names[place::count]) for place in range(count)]
        try:
            return _one_pass(calibrators, pretrain, num_cpus=num_actors + decode_tasks - count)
        except ray.exceptions.RayActorError:
            if attempt == CALIBRATIONS:
                raise
        finally:
            for calibrator in calibrators:  # not whenever they are collected: the next ones need their room
                ray.kill(calibrator)
    raise AssertionError("the last pass returns or raises")


def _one_pass(
    calibrators: list[Any], pretrain: StreamSource, *, num_cpus: int
) -> dict[str, dict[str, torch.Tensor]]:
    needed = any(ray.get([one.is_needed.remote() for one in calibrators]))
    waiting: deque[list[Any]] = deque()
    for reference in blocks.block_references(_decoded(pretrain), num_cpus=num_cpus) if needed else ():
        # An actor does what one caller asks of it in that order.
        waiting.append([one.add_table.remote(reference) for one in calibrators])
        if len(waiting) > AHEAD:
            ray.get(waiting.popleft())
    for done in waiting:
        ray.get(done)
    found: dict[str, dict[str, torch.Tensor]] = {}
    for statistics in ray.get([one.statistics.remote() for one in calibrators]):
        found |= statistics
    return found


class _TableCalibrator(Calibrator):
    """A calibrator in an actor of its own, which is shown blocks."""

    def is_needed(self) -> bool:
        return self.needs_chunks

    def add_table(self, table: pa.Table) -> None:
        self.add(from_table(table))


class _TableRepresenter:
    """A representer in an actor of its own, made by its first call.

    A call's arguments are there when Ray repeats it in a process that was started again; a constructor's
    might be lost by then.
    """

    def __init__(self) -> None:
        self._made: Representer | None = None

    def represent(self, told: list[Any], table: pa.Table) -> pa.Table:
        """Return the features of a block; `told` holds a reference to the representer's arguments."""
        if self._made is None:
            self._made = Representer(*ray.get(told[0]))
        return self._made(table)


def _decoded(source: StreamSource) -> ray.data.Dataset:
    """Return the chunks of a source's one epoch, each decoded in a read task."""
    decoder = ray.put(source.decoder)
    return blocks.ordered_dataset(
        [partial(_make, decoder, source.task(number)) for number in range(source.plan.chunks_per_epoch)]
    )


def _make(decoder: Any, task: ChunkTask) -> list[pa.Table]:
    """Decode one piece; `decoder` is an object reference."""
    return [to_table(ray.get(decoder).make(task))]
