"""What a trained pathway is made of, as one key: code, data, settings, seed; the cache finds it by that."""

import ast
import dataclasses
import functools
import hashlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import pipelines
import raytrain
from pipelines.modalities import modality_of
from pipelines.views.operators import OPERATORS
from raytrain.training.plan import RunSetup
from raytrain.training.run_folder import FREE, flatten

SHARED_ROOMS = (
    "pipelines/forms/randomness.py",
    "pipelines/modalities",
    "pipelines/order/plan.py",
    "pipelines/order/event_limits.py",
    "pipelines/stream/batch.py",
    "pipelines/views/standardise.py",
    "pipelines/views/cuts.py",
    "pipelines/views/views.py",
    "pipelines/forms/clips.py",
    "pipelines/views/events.py",
    "pipelines/forms/event_columns.py",
    "pipelines/decode/recordings",
    "pipelines/views/augmentations",
    "pipelines/decode/image.py",
    "pipelines/forms/clip_columns.py",
    "pipelines/decode/video.py",
    "pipelines/storage/raw.py",
    "pipelines/views/operators/base.py",
    "raytrain/pathway.py",
    "raytrain/gradients.py",
    "raytrain/finite.py",
    "raytrain/fits.py",
    "raytrain/optim.py",
    "raytrain/collectives.py",
    "raytrain/layers",
    "raytrain/encoders",
    "raytrain/objectives",
    "raytrain/stems",
    "raytrain/training/loop.py",
)
"""whose code decides what the weights become, beside the operator's own file"""
CONTROL_IGNORES = ("objective.", "optimizer.")
"""settings that initial weights and their batch-norm statistics do not depend on"""
HELD_ELSEWHERE = (
    "data.source",
    "data.select_fraction",
    "data.test_fraction",
    "data.split_seed",
    "data.splits",
    "data.csv",
    "data.shared_groups",
    "training.workers",
    "training.device",
)
"""settings that act through the manifest's hash or another part of the key"""


def pathway_key(setup: RunSetup, name: str) -> str:
    """Return the key of a trained pathway, hex; the number of epochs is not part of it: a longer one goes on.

    Equal keys: the same weights after the same steps, on this kind of device and version of torch.
    """
    return _digest(_description(setup, name))


def control_key(setup: RunSetup, name: str) -> str:
    """Return the key of a pathway's initial weights: shared by all objectives."""
    described = _description(setup, name)
    settings = described["settings"]
    kept = {key: value for key, value in settings.items() if not key.startswith(CONTROL_IGNORES)}
    return _digest({**described, "settings": kept, "kind": "control"})


def floor_key(setup: RunSetup, operator: str) -> str:
    """Return the key of what needs no encoder: the pixels, or an operator's output."""
    config = setup.config
    words: list[Any] = ["floor", operator, setup.manifest.hash if setup.manifest else ""]
    for pathway in config.pathways.values():
        if pathway.operator.name == operator:
            words += [
                dataclasses.asdict(pathway.operator),
                pathway.augmentation.crop_px,
                modality_of(pathway).request(pathway),
                code_version(operator),
            ]
    return _digest({"words": words})


def describe_pathway(setup: RunSetup, name: str) -> dict[str, Any]:
    """Return what the key is made of, for people."""
    return _description(setup, name)


def evaluation_key(setup: RunSetup, rows: NDArray[np.int64]) -> str:
    """Return the key of which samples are represented, and how they come to the encoder."""
    assert setup.manifest is not None
    data = setup.config.data
    words = (data.canvas_px, data.fit, data.max_pixels, setup.config.training.precision)
    digest = hashlib.sha256(f"{setup.manifest.hash} {words}".encode())
    digest.update(np.asarray(rows, "<i8").tobytes())
    return digest.hexdigest()[:16]


def _description(setup: RunSetup, name: str) -> dict[str, Any]:
    assert setup.manifest is not None
    config = setup.config
    whole = dataclasses.asdict(config)
    kept = {"seed": config.seed, "data": whole["data"], "training": whole["training"]}
    run_settings = {key: value for key, value in flatten(kept).items() if key not in FREE}
    run_settings = {key: value for key, value in run_settings.items() if not key.startswith(HELD_ELSEWHERE)}
    pathway = {
        key: value
        for key, value in flatten(whole["pathways"][name]).items()
        if key not in ("placement", "stream", "workers", "epochs", "optimizer.implementation")
    }
    run_settings |= {"num_workers": config.workers(name)}
    if config.training.batch_events:  # only then lanes decide what a batch is
        run_settings["num_lanes"] = config.num_lanes
    return {
        "name": name,
        "settings": run_settings | pathway,
        "manifest_hash": setup.manifest.hash,
        "code": code_version(pathway["operator.name"]),
        "torch": torch.__version__,
        "device": setup.device,
        "kind": "pathway",
    }


def _digest(description: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True, default=str).encode()).hexdigest()


@functools.cache
def code_version(operator: str) -> str:
    """Return a digest of the code of the rooms that a pathway with this operator runs through."""
    files = _files_of(SHARED_ROOMS)
    if operator not in OPERATORS:
        files += _files_of(("pipelines/views/operators/events",))
    else:
        files.append(Path(inspect.getfile(OPERATORS[operator])))
    return _digest_of_code(files)


@functools.cache
def code_of(rooms: tuple[str, ...]) -> str:
    """Return a digest of the code of folders and files, e.g. `raytrain/evaluation`."""
    return _digest_of_code(_files_of(rooms))


def _files_of(rooms: tuple[str, ...]) -> list[Path]:
    roots = {"pipelines": _root(pipelines), "raytrain": _root(raytrain)}
    paths = [roots[room.partition("/")[0]] / room for room in rooms]
    return [file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]


def _digest_of_code(files: list[Path]) -> str:
    """Return a digest of code: comments and layout do not count, the syntax tree is hashed."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for file in files:
        digest.update(ast.dump(ast.parse(file.read_text())).encode())
    return digest.hexdigest()


def _root(package: Any) -> Path:
    """Return the folder that holds a package."""
    return Path(next(iter(package.__path__))).parent
