"""Write a run's features: what the cache has is linked, the rest is made in one pass."""

import json
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.checkpoint import latest_step
from raytrain.config import RunConfig
from raytrain.config.operators import UNCHANGED
from raytrain.errors import DataError
from raytrain.evaluation.features import control_name, layers_name
from raytrain.evaluation.represent import (
    VALID,
    FeatureSink,
    RepresentRequest,
    evaluation_source,
    represent_inline,
)
from raytrain.training.cache import EncoderCache
from raytrain.training.factory import build_pathway, choose_device
from raytrain.training.identity import control_key, evaluation_key, floor_key, pathway_key
from raytrain.training.measure import probe_rows
from raytrain.training.paths import QUARANTINE
from raytrain.training.plan import RunSetup


def represent(setup: RunSetup, *, through_ray: bool, cache: EncoderCache | None = None) -> None:
    """Write the features of all pathways, controls and floors, in one pass over the labelled splits.

    Those that the cache holds are not made again.
    """
    config, manifest = setup.config, setup.manifest
    assert manifest is not None
    rows = probe_rows(manifest)["rows"]
    if len(rows) == 0:
        raise DataError("no labelled samples to represent; set probe.enabled = false to train only")
    kept = list(_kept_features(setup, rows))
    loaded = {
        name
        for name, key, evaluation, files in kept
        if cache and cache.load_features(key, evaluation, setup.features, files)
    }
    missing = [name for name, *_ in kept if name not in loaded]
    if not missing:  # kept only where every sample could be decoded
        np.save(setup.features / VALID, np.ones(len(rows), np.bool_))
        return
    device = choose_device(config)
    request = RepresentRequest(
        config=config,
        checkpoints={name: str(setup.checkpoints(name)) for name in config.probed},
        build=partial(_build, config, setup.num_classes, setup.standardisers),
        device=str(device),
        wanted=tuple(missing),
    )
    source = evaluation_source(config, manifest, rows)
    pretrain = evaluation_source(config, manifest, manifest.indices("pretrain"))
    sink = FeatureSink(setup.features, len(rows), config)
    try:
        if through_ray:
            _represent_through_ray(request, source, pretrain, sink)
        else:
            represent_inline(request, source, pretrain, sink)
        reasons = {manifest.keys[rows[place]]: why for place, why in sink.reasons.items()}
        _quarantine(setup, reasons, len(rows))
        sink.close(
            {"steps": {name: _steps_done(setup, name) for name in config.probed}},
            layers={name: request.build(name, device).layer_slices for name in config.probed},
        )
    except BaseException:
        sink.discard()
        raise
    for name, key, evaluation, files in kept if cache and not sink.reasons else ():
        if name in missing and cache is not None:
            about = {"name": name, "settings": {"seed": config.seed}}
            cache.store_features(key, evaluation, setup.features, files, about=about)
    if cache:
        cache.trim()


def _kept_features(setup: RunSetup, rows: NDArray[np.int64]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield what is wanted, and how the cache knows it: (name, key of its maker, evaluation, files)."""
    config = setup.config
    evaluation = evaluation_key(setup, rows)
    for name in config.probed:
        for side, key, what in (
            (name, pathway_key(setup, name), f"{evaluation}-{_steps_done(setup, name)}"),
            (control_name(name), control_key(setup, name), evaluation),
        ):
            yield side, key, what, [side, *([layers_name(side)] if config.probe.layers else [])]
    operators = dict.fromkeys(pathway.operator.name for pathway in config.pathways.values())
    for floor in ("pixels", *(name for name in operators if name not in UNCHANGED)):
        yield f"floor.{floor}", floor_key(setup, floor), evaluation, [f"floor.{floor}"]


def _steps_done(setup: RunSetup, name: str) -> int:
    found = latest_step(setup.checkpoints(name))
    return found[1] if found else 0


def _quarantine(setup: RunSetup, reasons: dict[str, str], num_samples: int) -> None:
    """Name samples that could not be represented in quarantine.jsonl; DataError over the budget."""
    path = setup.folder / QUARANTINE
    known = {json.loads(line)["key"] for line in path.read_text().splitlines()} if path.exists() else set()
    with path.open("a") as file:
        for key in sorted(reasons.keys() - known):
            file.write(json.dumps({"key": key, "reason": reasons[key]}) + "\n")
    if len(reasons) > setup.config.data.quarantine_budget * num_samples:
        raise DataError(
            f"{len(reasons)} of {num_samples} labelled samples could not be decoded, more than "
            f"data.quarantine_budget {setup.config.data.quarantine_budget:g} allows; see {path}"
        )


def _build(config: RunConfig, num_classes: int, standardisers: dict[str, Any], name: str, device: Any) -> Any:
    return build_pathway(config, name, num_classes, standardisers[name], device)


def _represent_through_ray(request: RepresentRequest, source: Any, pretrain: Any, sink: FeatureSink) -> None:
    from ray.exceptions import RayError

    from pipelines.stream.broadcast import describe, raise_described
    from raytrain.evaluation.represent_ray import represent_through_ray
    from raytrain.training.cluster import cluster_resources

    resources = cluster_resources()
    gpus = int(resources.get("GPU", 0)) if request.device == "cuda" else 0
    # Logical CPUs may outnumber the machine's; an actor holds all encoders, so more would only take memory.
    cpus = min(int(resources.get("CPU", 1)) - 1, os.cpu_count() or 1)
    try:
        represent_through_ray(
            request,
            source,
            pretrain,
            sink,
            num_actors=max(1, gpus or cpus),
            num_gpus=1.0 if gpus else 0.0,
        )
    except RayError as error:
        raise_described(describe(error))
