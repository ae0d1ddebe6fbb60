"""Probe a run's features: the splits' rows, the request, predictions.npz."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.storage.manifest import Manifest
from raytrain.config import RunConfig
from raytrain.config.operators import UNCHANGED
from raytrain.evaluation.features import control_name, layers_name, open_features
from raytrain.evaluation.motion import measure_motion
from raytrain.evaluation.probe import ProbeRequest, measure
from raytrain.evaluation.represent import VALID
from raytrain.training.factory import choose_device
from raytrain.training.heads import trained_heads
from raytrain.training.paths import PREDICTIONS
from raytrain.training.plan import RunSetup


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
        device=choose_device(setup.config),
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
