"""The dry run: what a run would do, said before it costs anything; two real steps a pathway are timed."""

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.modalities import modality_of
from pipelines.order.plan import Cursor
from pipelines.storage.manifest import Manifest, class_names
from pipelines.stream.batch import Batch, BatchReader
from raytrain.config import RunConfig, to_toml
from raytrain.cpu import prepare_cpu
from raytrain.device import device_here
from raytrain.errors import RaytrainError
from raytrain.training.allotment import Demand, allot, check_fits
from raytrain.training.cluster import check_docstrings, nodes_of, this_machine
from raytrain.training.evaluate import probe_rows
from raytrain.training.factory import estimate_standardisers
from raytrain.training.loop import memory_mib
from raytrain.training.memory import BYTES_A_WEIGHT, check_training
from raytrain.training.opening import open_data
from raytrain.training.paths import known_device
from raytrain.training.plan import RunSetup
from raytrain.training.run import check_data

TRAIN_PROCESSES = 5  # of a TorchTrainer besides its workers


def describe_run(config: RunConfig) -> str:
    """Return resolved settings, first-batch shapes, parameters, memory, processes and a time estimate."""
    manifest = open_data(config)
    setup = setup_to_look_at(config, manifest)
    folder = setup.folder
    prepare_cpu(threads=config.training.threads_per_worker)
    device = device_here(setup.device)
    lines = [*map("WARNING: {}".format, manifest.notes), to_toml(config)]
    lines.append(f"data: {setup.num_samples} samples to train on, {setup.num_classes} classes")
    lines += [f"classes: {class_names(manifest.classes)}"] * bool(manifest.classes)
    seconds: list[float] = []
    for name in config.pathways:
        text, step_s = _describe_pathway(setup, name, first_batch(setup, name), device)
        lines.append(text)
        seconds.append(step_s)
    lines += [
        *_processes(config, manifest, known_device(folder)),
        _stream(setup),
        _time(setup, seconds, len(probe_rows(manifest)["rows"])),
    ]
    return "\n".join(lines)


def setup_to_look_at(config: RunConfig, manifest: Manifest) -> RunSetup:
    """Return the setup of a run that writes nothing.

    Raises:
        ConfigError: the data are too few, or lack what the settings need.
        DataError: none of the first samples can be decoded.
    """
    check_data(config, manifest)
    check_training(config, manifest, [this_machine(Demand.of(config))], here=" here, where steps are timed")
    folder = Path(config.run_folder).absolute()
    return RunSetup.build(config, manifest, folder, estimate_standardisers(config, manifest))


def first_batch(setup: RunSetup, name: str) -> Batch:
    """Return a pathway's first batch, decoded here; there is no stage, the pathway operates itself."""
    pathway = replace(setup.config.pathways[name], placement="worker")
    reader = BatchReader(setup.plan(name), setup.source(pathway.stream).chunk, pathway)
    return reader.read(Cursor())


def _describe_pathway(setup: RunSetup, name: str, batch: Batch, device: Any) -> tuple[str, float]:
    pathway = setup.pathway(name, device)
    with torch.no_grad():
        views = pathway.cut_views(pathway.views(batch, train=True))
    before = memory_mib(device)
    times = []
    for _ in range(2):
        started = time.perf_counter()
        pathway.step(batch)
        pathway.check()
        times.append(time.perf_counter() - started)
    kind, settings = modality_of(setup.config), setup.config.pathways[name]
    features = pathway.represent(pathway.empty)
    # What is resident grows by less where another pathway's memory is taken over.
    held = pathway.parameters_count * BYTES_A_WEIGHT // 2**20
    word, axes = kind.axes[settings.cut.name]
    text = (
        f"pathway {name}: {word} {list(views.shape)} ({axes}) of {kind.words(batch.pixels)}, "
        f"{pathway.parameters_count:,} parameters, features {list(features.shape[1:])} a sample, "
        f"about {max(held, memory_mib(device) - before)} MiB and {times[-1]:.3f} s a step"
    )
    return text, times[-1]


def _processes(config: RunConfig, manifest: Manifest, began_on: str) -> list[str]:
    """Say what the cluster that is named or running, or this machine, gives to whom, and whether it does."""
    with contextlib.ExitStack() as stack:
        nodes = nodes_of(config, stack)
    demand = Demand.of(config, device=began_on)
    allotment = allot(demand, nodes)
    lines = [allotment.text(demand, nodes), "processes: 1 (inline)"]
    if config.training.executor == "ray":
        tasks = allotment.decode_tasks * demand.streams
        count = demand.ranks + TRAIN_PROCESSES * len(config.pathways) + 2 + tasks + demand.stages
        staged = f", {demand.stages} operator stage(s)" if demand.stages else ""
        lines[1] = (
            f"processes: about {count} ({demand.ranks} workers, {TRAIN_PROCESSES} more a pathway, broadcast, "
            f"recorder, {tasks} decode tasks{staged}); "
            f"needs {allotment.cpus(demand):g} CPUs and {allotment.gpus(demand):g} GPUs"
        )
    try:
        check_docstrings(config)
        check_training(config, manifest, nodes)
        check_fits(demand, allotment, nodes)
    except RaytrainError as error:
        lines.append(f"it would be refused here: {error}")
    return lines


def _stream(setup: RunSetup) -> str:
    stream = next(iter(setup.streams()))
    plan = setup.chunk_plan(stream)
    sample = setup.sample_bytes[stream]
    return (
        f"stream: {plan.chunks_per_epoch} chunks an epoch of {plan.chunk_samples} samples "
        f"({plan.chunk_samples * sample / 2**20:.1f} MiB), {setup.config.num_lanes} lane(s), window "
        f"{setup.config.data.window_mib:g} MiB"
    )


def _time(setup: RunSetup, seconds: list[float], evaluated: int) -> str:
    config, cores = setup.config, os.cpu_count() or 1
    steps = [setup.num_steps(name) for name in config.pathways]
    at_once = 1 if config.training.executor == "inline" else min(len(seconds), cores)
    train = float(np.dot(seconds, steps)) / at_once
    startup = 0 if config.training.executor == "inline" else 10 + 5 * len(seconds)
    probe = float(np.sum(seconds)) * 0.8 * evaluated / config.training.batch_size / at_once
    said = " or ".join(map(str, sorted(set(steps))))
    total = startup + train + (probe if config.probe.enabled else 0)
    return (
        f"time: about {total / 60:.1f} min ({said} steps a pathway {train:.0f} s, start {startup} s, "
        f"features {probe:.0f} s) on {cores} cores"
    )
