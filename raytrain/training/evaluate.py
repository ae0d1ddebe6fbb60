"""Evaluate a run: write its features, or link what the cache has; probe them; ask the heads of motion."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.storage.manifest import Manifest
from raytrain.checkpoint import latest_step, load_checkpoint
from raytrain.config import RunConfig
from raytrain.config.objectives import SupervisedConfig
from raytrain.config.operators import UNCHANGED
from raytrain.device import device_here
from raytrain.errors import DataError, describe, raise_described
from raytrain.evaluation.features import control_name, layers_name, open_features
from raytrain.evaluation.motion import measure_motion
from raytrain.evaluation.probe import ProbeRequest, measure
from raytrain.evaluation.protocols import Head
from raytrain.evaluation.represent import (
    VALID,
    FeatureSink,
    RepresentRequest,
    evaluation_source,
    represent_inline,
)
from raytrain.identity import PIXELS
from raytrain.training import provenance
from raytrain.training.cache import EncoderCache
from raytrain.training.factory import build_pathway
from raytrain.training.left_out import (
    Bad,
    LeftOut,
    add_to_quarantine,
    found_bad,
    left_out_of_training,
)
from raytrain.training.paths import PREDICTIONS, QUARANTINE
from raytrain.training.plan import RunSetup
from raytrain.training.recorder import write_note


def represent(setup: RunSetup, *, through_ray: bool, cache: EncoderCache | None = None) -> None:
    """Write the features of all pathways, controls and floors, in one pass over the labelled splits.

    Those that the cache holds are not made again.
    """
    manifest = setup.manifest
    assert manifest is not None
    rows = probe_rows(manifest)["rows"]
    if len(rows) == 0:
        raise DataError("no labelled samples to represent; set probe.enabled = false to train only")
    kept = list(_kept_features(setup, rows))
    loaded, bad = _load_features(setup, cache, kept) if cache else (set(), {})
    missing = [name for name, *_ in kept if name not in loaded]
    if missing:
        made = _make_features(setup, rows, missing, through_ray=through_ray)
        if cache:
            _store_features(setup, cache, [one for one in kept if one[0] in missing], LeftOut.of(made))
        bad |= made
    _quarantine(setup, bad, len(rows))
    valid = np.ones(len(rows), np.bool_)
    valid[np.searchsorted(rows, manifest.rows_of(bad))] = False
    np.save(setup.features / VALID, valid)
    if cache:
        cache.trim()


def _make_features(
    setup: RunSetup, rows: NDArray[np.int64], wanted: list[str], *, through_ray: bool
) -> dict[str, Bad]:
    """Write features files; return why samples could not be decoded, by key."""
    config, manifest = setup.config, setup.manifest
    assert manifest is not None
    device = _device_there(setup) if through_ray else device_here(setup.device)
    request = RepresentRequest(
        config=config,
        checkpoints={name: str(setup.checkpoints(name)) for name in config.probed},
        build=partial(_build, config, setup.num_classes, setup.standardisers),
        device=str(device),
        wanted=tuple(wanted),
    )
    source = evaluation_source(config, manifest, rows)
    pretrain = evaluation_source(config, manifest, manifest.indices("pretrain"))
    sink = FeatureSink(setup.features, len(rows), config)
    try:
        if through_ray:
            _represent_through_ray(request, source, pretrain, sink)
        else:
            represent_inline(request, source, pretrain, sink)
        keys = manifest.keys_of(rows[list(sink.bad)])
        bad = dict(zip(keys, sink.bad.values(), strict=True))
        _quarantine(setup, bad, len(rows))
        sink.close(
            {"steps": {name: _steps_done(setup, name) for name in config.probed}},
            layers={name: request.build(name, torch.device("cpu")).layer_slices for name in config.probed},
        )
    except BaseException:
        sink.discard()
        raise
    return bad


Kept = tuple[str, str, str, list[str]]
"""What is wanted, and how the cache knows it: (name, key of its maker or "", evaluation, files)"""


def _kept_features(setup: RunSetup, rows: NDArray[np.int64]) -> Iterator[Kept]:
    """Yield the features of all pathways, controls and floors.

    Weights that were trained, or calibrated, without some samples are told apart by these.
    """
    config, left_out = setup.config, left_out_of_training(setup)
    evaluation = setup.identity.features(rows).key[:16]
    lacking = f"-without-{left_out.sha256[:16]}" if left_out.num else ""
    for name in config.probed:
        key = setup.identity.pathway(name).key if provenance.is_of_one_key(setup, name) else ""
        for side, key_of_side, what in (
            (name, key, f"{evaluation}-{_steps_done(setup, name)}{lacking}"),
            (control_name(name), setup.identity.control(name).key, f"{evaluation}{lacking}"),
        ):
            yield side, key_of_side, what, [side, *([layers_name(side)] if config.probe.layers else [])]
    operators = dict.fromkeys(pathway.operator.name for pathway in config.pathways.values())
    for floor in (PIXELS, *(name for name in operators if name not in UNCHANGED)):
        yield f"floor.{floor}", setup.identity.floor(floor).key, evaluation, [f"floor.{floor}"]


def _load_features(setup: RunSetup, cache: EncoderCache, kept: list[Kept]) -> tuple[set[str], dict[str, Bad]]:
    """Take what the cache holds; return its names, and why the samples that it lacks cannot be decoded now.

    What lacks a sample that can be is not taken.
    """
    known = {
        name: left_out
        for name, key, evaluation, files in kept
        if key and (left_out := cache.known_features(key, evaluation, files)) is not None
    }
    assert setup.manifest is not None
    asked = sorted({key for left_out in known.values() for key in left_out.keys})
    source = evaluation_source(setup.config, setup.manifest, setup.manifest.rows_of(asked))
    bad = found_bad(source, asked) if asked else {}
    taken = {name for name, left_out in known.items() if bad.keys() >= set(left_out.keys)}
    for name, key, evaluation, files in kept:
        if name in taken:
            cache.load_features(key, evaluation, setup.features, files)
    lacked = {key for name in taken for key in known[name].keys}
    return taken, {key: why for key, why in bad.items() if key in lacked}


def _store_features(setup: RunSetup, cache: EncoderCache, made: list[Kept], left_out: LeftOut) -> None:
    for name, key, evaluation, files in made:
        if key and left_out.is_named:
            about = {"name": name, "settings": {"seed": setup.config.seed}}
            cache.store_features(key, evaluation, setup.features, files, left_out=left_out, about=about)


def _steps_done(setup: RunSetup, name: str) -> int:
    found = latest_step(setup.checkpoints(name))
    return found[1] if found else 0


def _quarantine(setup: RunSetup, bad: dict[str, Bad], num_samples: int) -> None:
    """Name samples that could not be represented in quarantine.jsonl; DataError over the budget."""
    add_to_quarantine(setup, bad)
    if len(bad) > setup.config.data.quarantine_budget * num_samples:
        raise DataError(
            f"{len(bad)} of {num_samples} labelled samples could not be decoded, more than "
            f"data.quarantine_budget {setup.config.data.quarantine_budget:g} allows; see "
            f"{setup.folder / QUARANTINE}"
        )


def _device_there(setup: RunSetup) -> torch.device:
    """Return the device that actors of the cluster represent on: that of the training, if it is there."""
    from raytrain.training.cluster import cluster_nodes

    has_gpus = any(node.gpus for node in cluster_nodes())
    return torch.device(setup.device if has_gpus else "cpu")


def _build(config: RunConfig, num_classes: int, standardisers: dict[str, Any], name: str, device: Any) -> Any:
    return build_pathway(config, name, num_classes, standardisers[name], device)


def _represent_through_ray(request: RepresentRequest, source: Any, pretrain: Any, sink: FeatureSink) -> None:
    from ray.exceptions import RayError

    from raytrain.evaluation.represent_ray import represent_through_ray
    from raytrain.training.allotment import allot_represent
    from raytrain.training.cluster import cluster_nodes

    allotment = allot_represent(cluster_nodes(), device=request.device)
    try:
        represent_through_ray(
            request,
            source,
            pretrain,
            sink,
            num_actors=allotment.num_actors,
            num_gpus=allotment.gpus_per_actor,
            decode_tasks=allotment.decode_tasks,
        )
    except RayError as error:
        raise_described(describe(error))


def probe_rows(manifest: Manifest) -> dict[str, Any]:
    """Return the manifest rows of the labelled splits in feature-file order, and each split's places."""
    splits = {name: manifest.indices(name) for name in ("probe_train", "select", "test")}
    rows = np.unique(np.concatenate(list(splits.values())))
    return {"rows": rows, **{name: np.searchsorted(rows, indices) for name, indices in splits.items()}}


def probe(setup: RunSetup) -> dict[str, Any]:
    """Probe the features files; write predictions.npz, return summary.json's `probes`, `layers`, `subsets`.

    `layers` is empty where the features are of a time before all layers were written.
    """
    config, manifest = setup.config, setup.manifest
    assert manifest is not None
    splits = probe_rows(manifest)
    folder = setup.features
    valid = np.load(folder / VALID)
    rows = {name: splits[name][valid[splits[name]]] for name in ("probe_train", "select", "test")}
    # A file that came from the cache tells the steps of its own pathway, of the others those of another run.
    steps = {name: open_features(folder, name).meta["steps"][name] for name in config.probed}
    operators = dict.fromkeys(
        p.operator.name for p in config.pathways.values() if p.operator.name not in UNCHANGED
    )
    sides = [naming(name) for name in config.probed for naming in (str, control_name)]
    has_layers = all((folder / f"{layers_name(side)}.json").exists() for side in sides)
    label_sets = manifest.label_matrix
    measured = measure(
        ProbeRequest(
            folder=folder,
            pathways=list(config.probed),
            apart=_apart(config),
            labels=manifest.labels[splits["rows"]],
            label_sets=None if label_sets is None else label_sets[splits["rows"]],
            label_names=manifest.classes,
            groups=manifest.group_ids[splits["rows"]],
            train_rows=rows["probe_train"],
            select_rows=rows["select"],
            test_rows=rows["test"],
            epoch=min(setup.plan(name).cursor_at(done).epoch for name, done in steps.items()),
            seed=config.seed,
            mode=config.probe.features,
            protocols=config.probe.protocol_names,
            layers=config.probe.layers and has_layers,
            subsets=config.probe.subsets,
            classifier=config.probe.classifier,
            num_bootstrap=config.probe.num_bootstrap,
            floors=["pixels", *operators],
            heads=trained_heads(setup, steps),
            device=str(device_here(setup.device)),
        )
    )
    write_predictions(setup.folder, measured.predictions)
    found: dict[str, Any] = {"probes": measured.probes}
    found |= {"layers": measured.layers} if config.probe.layers else {}
    return found | ({"subsets": measured.subsets} if config.probe.subsets else {})


def motion(setup: RunSetup) -> dict[str, Any]:
    """Return summary.json's `motion` where the run has pathways of known motion, else {}."""
    if not any(pathway.cut.name == "motion" for pathway in setup.config.pathways.values()):
        return {}
    assert setup.manifest is not None
    found = measure_motion(
        setup.config,
        setup.manifest,
        build=setup.pathway,
        folder_of=setup.checkpoints,
        device=device_here(setup.device),
    )
    return {"motion": found}


def _apart(config: RunConfig) -> tuple[str, ...]:
    """Return the pathways that see motion, where others see appearance: what they add is asked for."""
    moving = tuple(name for name in config.probed if config.pathways[name].cut.name == "motion")
    return moving if len(moving) < len(config.probed) else ()


def write_predictions(folder: Path, arrays: dict[str, NDArray[np.integer]]) -> None:
    """Write predictions.npz, whole or not at all."""
    temporary = folder / f".{PREDICTIONS}.part"
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    temporary.replace(folder / PREDICTIONS)


def trained_heads(setup: RunSetup, steps: Mapping[str, int]) -> dict[str, Head]:
    """Return each supervised pathway's classifier and that of its initial weights, by name of the features.

    `steps`: which step each pathway's features are of. One whose checkpoint of that step is gone (it was
    trained on since) has none, and log.txt says so: newer weights would not fit the features.
    """
    found: dict[str, Head] = {}
    for name in setup.config.probed:
        objective = setup.config.pathways[name].objective
        if not isinstance(objective, SupervisedConfig):
            continue
        checkpoint = load_checkpoint(setup.checkpoints(name) / f"step-{steps[name]:08d}")
        if checkpoint is None:
            text = (
                f"{name}: its own classifier is not measured: its features are of step {steps[name]}, of "
                f"which no checkpoint is left; `raytrain represent {setup.folder}` makes newer features"
            )
            write_note(setup.folder, text)
            continue
        initial = setup.pathway(name, torch.device("cpu")).state_tensors()
        found[name] = _head(checkpoint.tensors, objective)
        found[control_name(name)] = _head(initial, objective)
    return found


def _head(tensors: Mapping[str, Tensor], objective: SupervisedConfig) -> Head:
    weight, bias = (
        tensors[f"objective.classifier.{part}"].detach().float().numpy() for part in ("weight", "bias")
    )
    return Head(weight=weight, bias=bias, mode="pooled" if objective.pool == "mean" else "flat")
