"""Write an export aside, reload it, compare it with the run, put it in place."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from raytrain import __version__
from raytrain.checkpoint import Checkpoint
from raytrain.cpu import prepare_cpu
from raytrain.errors import ConfigError, DataError, StorageError
from raytrain.evaluation.represent import evaluation_source
from raytrain.exported import (
    CONFIG,
    FORMAT,
    TENSORS,
    VERSION,
    ExportedPathway,
    file_sha256,
    load_encoder,
    pathway_entry,
    read_config,
)
from raytrain.exporting.card import CARD_NAME, EXAMPLE_NAME, card_text, default_folder, example_text
from raytrain.exporting.graphs import Graph, check_onnx_packages, write_graph
from raytrain.training.paths import SUMMARY
from raytrain.training.plan import RunSetup
from raytrain.training.run_folder import check_pathway, newest_checkpoint

COMPARED_IMAGES, BATCH_SIZE = 112, 32  # the last batch has another size than the others

Say = Callable[[str], Any]


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was written, and how far it is from the run."""

    folder: Path
    split: str
    num_compared: int
    differences: dict[str, float]
    """largest absolute difference between the run's representation and the reloaded one, by pathway"""
    graphs: list[Graph]


def export_run(
    setup: RunSetup,
    *,
    out: Path | None = None,
    names: Sequence[str] = (),
    onnx: bool = False,
    torch_export: bool = False,
    say: Say = print,
) -> ExportReport:
    """Write the newest weights of some pathways (default: all) to `out` (default: RUN/export).

    What lies in `out` is either a whole export or what lay there before.

    Raises:
        ConfigError: an unknown or untrained pathway, packages missing, or `out` holds something else.
        StorageError: the disk is full or not writable.
    """
    out = (out or default_folder(setup.folder)).absolute()
    chosen = list(dict.fromkeys(names)) or list(setup.config.pathways)
    for name in chosen:
        check_pathway(setup, name)
    if onnx:
        check_onnx_packages()
    _check_place(out)
    checkpoints = {name: newest_checkpoint(setup, name) for name in chosen}
    prepare_cpu(threads=setup.config.training.threads_per_worker)
    aside = out.with_name(f".{out.name}.writing-{os.getpid()}")
    try:
        _remove_leftovers(out)
        aside.mkdir(parents=True)
        kinds = [kind for kind, wanted in (("pt2", torch_export), ("onnx", onnx)) if wanted]
        report = _write(setup, checkpoints, aside, kinds, say)
        _put_in_place(aside, out)
    except OSError as error:
        raise StorageError(f"--out {out}: not written: {error.strerror or error}; free space") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return dataclasses.replace(report, folder=out)


def _write(
    setup: RunSetup, checkpoints: dict[str, Checkpoint], folder: Path, kinds: list[str], say: Say
) -> ExportReport:
    built = {name: _trained(setup, name, checkpoint) for name, checkpoint in checkpoints.items()}
    tensors = {
        f"{name}.{key}": value.contiguous()
        for name, pathway in built.items()
        for key, value in pathway.state_dict().items()
    }
    save_file(tensors, folder / TENSORS, metadata={"format": "pt", "raytrain": __version__})
    (folder / TENSORS).chmod(0o644)  # safetensors keeps it from everybody else
    (folder / EXAMPLE_NAME).write_text(example_text(setup.config.data.canvas_px), encoding="utf-8")
    config = _config(setup, built, checkpoints)
    _write_config(folder, config)
    images, split = _real_images(setup)
    encoder = load_encoder(folder)
    differences: dict[str, float] = {}
    graphs: list[Graph] = []
    for name in built:
        loaded = encoder.pathway(name)
        differences[name] = _compare(setup, name, checkpoints[name], loaded, images)
        output = config["pathways"][name]["output"]
        say(
            f"{name}: step {checkpoints[name].step}, {output['cells']} cells of {output['channels']} "
            f"channels; reloaded, largest difference from the run {differences[name]:.2g} on {len(images)} "
            f"images of split {split}"
        )
        for kind in kinds:
            graphs.append(write_graph(kind, name, loaded, images, folder, batch_size=BATCH_SIZE))
            say(graphs[-1].line)
    config["compared"] = {"split": split, "images": len(images), "largest_difference": differences}
    config["graphs"] = {graph.file: dataclasses.asdict(graph) for graph in graphs}
    (folder / CARD_NAME).write_text(card_text(config, _summary(setup.folder), graphs), encoding="utf-8")
    _write_config(folder, config)
    return ExportReport(
        folder=folder, split=split, num_compared=len(images), differences=differences, graphs=graphs
    )


def _trained(setup: RunSetup, name: str, checkpoint: Checkpoint) -> ExportedPathway:
    """Return a pathway's exported form with the checkpoint's weights."""
    pathway = ExportedPathway.of(
        setup.config.pathways[name],
        canvas_px=setup.config.data.canvas_px,
        standardiser=setup.standardisers[name],
        channels_last=setup.config.training.channels_last,
    )
    prefix = "encoder."
    try:
        pathway.encoder.load_state_dict(
            {
                key.removeprefix(prefix): value
                for key, value in checkpoint.tensors.items()
                if key.startswith(prefix)
            }
        )
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{checkpoint.folder} does not fit the run's settings: {text}") from None
    return pathway.eval()


def _config(
    setup: RunSetup, built: dict[str, ExportedPathway], checkpoints: dict[str, Checkpoint]
) -> dict[str, Any]:
    config, manifest = setup.config, setup.manifest
    assert manifest is not None
    pathways = {}
    for name, pathway in built.items():
        settings, step = config.pathways[name], checkpoints[name].step
        pathways[name] = pathway_entry(pathway, settings)
        pathways[name]["trained"] = {
            "objective": dataclasses.asdict(settings.objective),
            "steps": step,
            "epochs": setup.plan(name).cursor_at(step).epoch,
            "batch_size": config.training.batch_size,
            "precision": config.training.precision,
        }
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "raytrain": __version__,
        "canvas_px": config.data.canvas_px,
        "fit": config.data.fit,
        "run": {"name": setup.folder.name, "preset": config.preset, "seed": config.seed},
        "data": {
            "source": config.data.source,
            "manifest_hash": manifest.hash,
            "samples": setup.num_samples,
            "classes": len(manifest.classes),
        },
        "pathways": pathways,
    }


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.json with the checksums of all other files."""
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.name != CONFIG}
    (folder / CONFIG).write_text(json.dumps({**config, "files": files}, indent=1) + "\n", encoding="utf-8")


def _summary(folder: Path) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary


def _real_images(setup: RunSetup) -> tuple[Tensor, str]:
    """Return images from all over the test split (without one: of the training split) and its name."""
    assert setup.manifest is not None
    for split in ("test", "pretrain"):
        rows = setup.manifest.indices(split)
        if len(rows) == 0:
            continue
        places = np.unique(np.linspace(0, len(rows) - 1, COMPARED_IMAGES).astype(np.int64))
        chunk = evaluation_source(setup.config, setup.manifest, rows).decode_rows(rows[places])
        if chunk.valid.any():
            return torch.from_numpy(chunk.images[chunk.valid]), split
    raise DataError("no image of the test or pretrain split can be read; there is nothing to compare on")


@torch.no_grad()
def _compare(
    setup: RunSetup, name: str, checkpoint: Checkpoint, loaded: ExportedPathway, images: Tensor
) -> float:
    """Return the largest difference between the run's own representation in float32 and the loaded one's."""
    plain = dataclasses.replace(setup.config.training, precision="fp32", compile=False, device="cpu")
    own = dataclasses.replace(setup, config=dataclasses.replace(setup.config, training=plain))
    pathway = own.pathway(name, torch.device("cpu"))
    pathway.load_state_tensors(checkpoint.tensors)
    differences = [
        float((pathway.represent(part, dtype=torch.float32) - loaded(part)).abs().max())
        for part in torch.split(images, BATCH_SIZE)
    ]
    return max(differences)


def _check_place(out: Path) -> None:
    """Raise ConfigError unless `out` is free, empty, or an export as raytrain wrote it."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder")
    found = sorted(path.name for path in out.iterdir())
    if not found:
        return
    try:
        files = read_config(out)["files"]
    except ConfigError:
        raise ConfigError(f"--out {out} is not empty and not an export; name a new or empty folder") from None
    for name in found:
        if name != CONFIG and (name not in files or file_sha256(out / name) != files[name]):
            raise ConfigError(
                f"--out {out}: {name} was {'changed' if name in files else 'added'} since it was exported, "
                "and would be lost; move it away or name another folder"
            )


def _remove_leftovers(out: Path) -> None:
    """Remove what killed processes left aside."""
    for folder in out.parent.glob(f".{out.name}.writing-*"):
        if not Path("/proc", folder.name.rpartition("-")[2]).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(aside: Path, out: Path) -> None:
    """Rename the finished folder; a former export is there until the moment before."""
    former = out.with_name(f".{out.name}.former-{os.getpid()}")
    if out.exists():
        out.rename(former)
    try:
        aside.rename(out)
    except OSError:
        if former.exists():
            former.rename(out)
        raise
    shutil.rmtree(former, ignore_errors=True)
