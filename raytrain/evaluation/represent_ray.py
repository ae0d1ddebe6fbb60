"""Represent through Ray: Ray Data batch inference with a stage of actors that hold the encoders."""

from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.data

from pipelines.forms.chunk import to_table
from pipelines.stream import blocks
from pipelines.stream.source import StreamSource
from raytrain.evaluation.represent import (
    FeatureSink,
    Representer,
    RepresentRequest,
    calibrate,
    calibrated_names,
    features_of,
)


def represent_through_ray(
    request: RepresentRequest,
    source: StreamSource,
    pretrain: StreamSource,
    sink: FeatureSink,
    *,
    num_actors: int,
    num_gpus: float,
) -> None:
    """Represent in `num_actors` actors; controls are calibrated in one task a pathway before."""
    calibrate_task = ray.remote(calibrate).options(num_cpus=1, num_gpus=num_gpus)
    shared = ray.put(pretrain)
    names = calibrated_names(request)
    found = ray.get([calibrate_task.remote(request, shared, name) for name in names])
    statistics = dict(zip(names, found, strict=True))
    evaluated = ray.put(source)
    dataset = blocks.ordered_dataset(
        [partial(_make, evaluated, number) for number in range(source.plan.chunks_per_epoch)]
    )
    dataset = blocks.add_stage(
        dataset,
        Representer,
        (request, statistics),
        compute=ray.data.ActorPoolStrategy(size=num_actors),
        num_cpus=1,
        num_gpus=num_gpus or None,
    )
    for reference in blocks.block_references(dataset, num_cpus=num_actors + 1):
        sink.write(*features_of(ray.get(reference)))


def _make(source: Any, number: int) -> list[pa.Table]:
    """Decode one piece in a read task; `source` is an object reference."""
    resolved: StreamSource = ray.get(source)
    return [to_table(resolved.chunk(number))]
