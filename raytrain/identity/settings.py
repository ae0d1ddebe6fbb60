"""Which settings decide what: those that may differ when a run goes on, and those of each kind of key."""

import dataclasses
from collections.abc import Collection
from typing import Any

from raytrain.config import ClassifierProbeConfig, PathwayConfig, ProbeConfig, RunConfig
from raytrain.identity.files import NAMING_FILES

# What may differ when a run goes on: how it is run, not what it computes.
FREE = {
    "preset",
    "out",
    "report",
    "training.epochs",
    "training.executor",
    "training.max_restarts",
    "training.log_every",
}
FREE |= {"training.checkpoint_every", "training.keep_checkpoints", "training.cpus_per_worker"}
FREE |= {"training.gpus_per_worker", "data.root", "data.cache", "data.cache_gib", "data.chunk_mib"}
FREE |= {"data.window_mib", "data.decode_tasks", "data.read_timeout_s", "data.read_retries", "data.lease_s"}
FREE |= {f"data.splits.{name}" for name in ("pretrain", "probe_train", "select", "test")}
FREE |= {f"probe.{field.name}" for field in dataclasses.fields(ProbeConfig)}
FREE |= {f"probe.classifier.{field.name}" for field in dataclasses.fields(ClassifierProbeConfig)}
FREE |= {"data.quarantine_budget", "data.lanes", "cache.enabled", "cache.folder", "cache.max_gib"}

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
"""beginnings of settings that act through the fingerprint of the data or another ingredient"""
FREE_OF_PATHWAY = ("placement", "stream", "workers", "epochs", "optimizer.implementation", *NAMING_FILES)
COMPUTING = (
    "training.precision",
    "training.channels_last",
    "training.compile",
    "training.threads_per_worker",
)
"""how a given network computes"""


def flatten(table: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Return a nested table as one level, dots between the names."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        full = f"{path}.{key}" if path else key
        flat |= flatten(value, full) if isinstance(value, dict) else {full: value}
    return flat


def data_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that say how a sample of given data is decoded."""
    return _deciding({"data": dataclasses.asdict(config.data)})


def training_settings(config: RunConfig, name: str) -> dict[str, Any]:
    """Return the settings of a run, without its data, that decide what a pathway learns."""
    decided = _deciding({"training": dataclasses.asdict(config.training)})
    decided |= {"seed": config.seed, "num_workers": config.workers(name)}
    if config.training.batch_events:  # only then lanes decide what a batch is
        decided["num_lanes"] = config.num_lanes
    return decided


def schedule_settings(config: RunConfig, name: str) -> dict[str, Any]:
    """Return the length of a training where its learning rate depends on it: then no longer one goes on."""
    constant = config.pathways[name].optimizer.is_constant
    return {} if constant else {"num_epochs": config.epochs(name)}


def computing_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that say how a given network computes."""
    decided = _deciding({"training": dataclasses.asdict(config.training)})
    return {name: decided[name] for name in COMPUTING}


def pathway_settings(pathway: PathwayConfig, parts: Collection[str] | None = None) -> dict[str, Any]:
    """Return a pathway's settings that decide something, or those of some of its parts, e.g. `operator`."""
    flat = flatten(dataclasses.asdict(pathway))
    return {
        name: value
        for name, value in flat.items()
        if name not in FREE_OF_PATHWAY and (parts is None or name.partition(".")[0] in parts)
    }


def _deciding(table: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in flatten(table).items()
        if name not in FREE and not name.startswith(HELD_ELSEWHERE)
    }
