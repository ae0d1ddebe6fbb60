"""One run from settings to summary.json: folder, data, standardisers, training, features, probes."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipelines.manifest import Manifest
from pipelines.sources import open_manifest
from raytrain.checkpoint import latest_step, load_latest
from raytrain.config import RunConfig
from raytrain.errors import ConfigError, DataError, Interrupted, RaytrainError
from raytrain.evaluation.features import open_features
from raytrain.evaluation.probe import ProbeRequest, run_probes
from raytrain.evaluation.represent import (
    VALID,
    FeatureSink,
    RepresentRequest,
    evaluation_source,
    represent_inline,
)
from raytrain.training.ledger import explain
from raytrain.training.recorder import Recorder
from raytrain.training.run_folder import (
    QUARANTINE,
    STANDARDISERS,
    SUMMARY,
    open_run_folder,
    settle,
    write_atomic,
)
from raytrain.training.setup import RunSetup, build_pathway, choose_device, estimate_standardisers
from raytrain.training.signals import StopSignal


class Watcher(Protocol):
    """Whoever shows progress."""

    first_step_s: float | None

    def say(self, text: str) -> None:
        """Take a line of text."""

    def update(self, lines: list[dict[str, Any]], done: set[str] | None = None) -> None:
        """Take newly logged steps."""

    def close(self) -> None:
        """End."""


@dataclass
class _Clock:
    began: float = field(default_factory=time.monotonic)
    marks: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.marks[name] = self.marks.get(name, 0.0) + time.monotonic() - started

    def timing(self, startup_s: float) -> dict[str, float]:
        total = time.monotonic() - self.began
        timing = {"startup_s": startup_s, **self.marks, "total_s": total}
        return {name: round(seconds, 2) for name, seconds in timing.items()}


def prepare_setup(config: RunConfig, folder: Path, manifest: Manifest) -> RunSetup:
    """Return the run's setup; standardisers are estimated once and kept in the run folder."""
    path = folder / STANDARDISERS
    if not path.exists():
        write_atomic(path, json.dumps(estimate_standardisers(config, manifest)))
    return RunSetup.build(config, manifest, folder, json.loads(path.read_text()))


def check_data(config: RunConfig, manifest: Manifest) -> None:
    """Raise ConfigError where the data set is too small for the settings."""
    num_samples = len(manifest.indices("pretrain"))
    if num_samples < 2:
        raise ConfigError(f"the pretrain split has {num_samples} sample(s); training needs two or more")
    if config.training.batch_size > num_samples:
        raise ConfigError(
            f"training.batch_size {config.training.batch_size} is larger than the {num_samples} samples "
            f"of the pretrain split; use at most {num_samples}"
        )
    need_gib = num_samples * 3 * config.data.canvas_px**2 / 2**30
    if config.data.cache != "none" and need_gib > config.data.cache_gib:
        raise ConfigError(
            f"data.cache = {config.data.cache} needs {need_gib:.2f} GiB for {num_samples} decoded samples, "
            f"more than data.cache_gib {config.data.cache_gib:g}; raise it or use data.cache = none"
        )
    supervised = any(pathway.objective.name == "supervised" for pathway in config.pathways.values())
    if len(manifest.classes) == 1 and (supervised or config.probe.enabled):
        raise ConfigError("the data set has one class; a probe or supervised objective needs two or more")


def run(config: RunConfig, watch: Callable[[RunSetup], Watcher]) -> dict[str, Any]:
    """Train, represent and probe; return the summary that is also written to the run folder.

    Raises:
        Interrupted: after checkpoints, when stopped by a signal.
        RaytrainError: see its kinds.
    """
    clock = _Clock()
    manifest = open_manifest(config.data)
    check_data(config, manifest)
    with open_run_folder(config) as folder, contextlib.ExitStack() as stack:
        settle(folder, config, manifest.hash)
        setup = prepare_setup(config, folder, manifest)
        cluster = None
        if config.training.executor == "ray":
            from raytrain.training.cluster import connect

            cluster = stack.enter_context(connect(config))
        stop = stack.enter_context(StopSignal())
        _mark_running(folder)
        startup_s = time.monotonic() - clock.began
        watcher = watch(setup)
        stack.callback(watcher.close)
        with clock.measure("train_s"):
            outcomes, counts = _train(setup, watcher, stop)
        startup_s += watcher.first_step_s or 0.0
        _explain(watcher, outcomes)
        summary = _summary(setup, outcomes, counts, watcher)
        if any(outcome["stopped"] for outcome in outcomes):
            _write(folder, {**summary, "status": "stopped", "timing": clock.timing(startup_s)})
            raise Interrupted(
                f"stopped; checkpoints are in {folder / 'checkpoints'}; the same command goes on from there"
            )
        if config.probe.enabled:
            stop.end_at_once("stopped after training, before the probes; the same command goes on from there")
            with clock.measure("probe_s"):
                represent(setup, through_ray=cluster is not None)
                summary |= probe(setup)
        clock.marks.setdefault("probe_s", 0.0)
        summary |= {"status": "done", "timing": clock.timing(startup_s)}
        _write(folder, summary)
        return summary


def _train(
    setup: RunSetup, watcher: Watcher, stop: StopSignal
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    if setup.config.training.executor == "inline":
        return _train_inline(setup, watcher, stop)
    from raytrain.training.experiment import train_through_ray

    def tick(fresh: dict[str, Any]) -> None:
        for text in fresh["events"]:
            watcher.say(text)
        watcher.update(fresh["lines"])

    return train_through_ray(setup, stop=stop, tick=tick)


def _train_inline(
    setup: RunSetup, watcher: Watcher, stop: StopSignal
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from raytrain.training.inline import train_inline

    recorder = Recorder(str(setup.folder), setup.folder.name)

    def tick() -> None:
        fresh = recorder.drain()
        for text in fresh["events"]:
            watcher.say(text)
        watcher.update(fresh["lines"])

    try:
        outcomes = train_inline(setup, recorder, stop=stop, tick=tick)
    finally:
        counts = recorder.close()
    return outcomes, counts


def _explain(watcher: Watcher, outcomes: list[dict[str, Any]]) -> None:
    for outcome in outcomes:
        watcher.say(explain(outcome["name"], outcome["waits"], outcome["causes"]))


def _summary(
    setup: RunSetup, outcomes: list[dict[str, Any]], counts: dict[str, Any], watcher: Watcher
) -> dict[str, Any]:
    former = _former_pathways(setup.folder)
    found = {outcome["name"]: outcome for outcome in outcomes}
    pathways = []
    for name, pathway in setup.config.pathways.items():
        outcome = found.get(name) or _current(setup, former.get(name)) or _from_checkpoint(setup, name)
        pathways.append(
            {
                "name": name,
                "operator": pathway.operator.name,
                "objective": pathway.objective.name,
                "encoder": pathway.encoder.name,
                **{
                    key: outcome[key]
                    for key in ("epochs", "steps", "samples_per_s", "waits", "weights_sha256")
                },
                "restarts": max(0, counts.get("starts", {}).get(name, 1) - 1),
            }
        )
    return {
        "status": "trained",
        "preset": setup.config.preset,
        "seed": setup.config.seed,
        "data": {
            "samples": setup.num_samples,
            "classes": setup.num_classes,
            "decodes": counts.get("decodes", 0),
            "decodes_replayed": counts.get("decodes_replayed", 0),
            "quarantined": counts.get("quarantined", 0),
            "operated": counts.get("operated", {}),
            "left_out_per_epoch": setup.num_samples % setup.config.training.batch_size,
        },
        "pathways": pathways,
        "probes": [],
    }


def _former_pathways(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what an earlier process of this run said of pathways that were finished then."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return {p["name"]: p for p in json.loads((folder / SUMMARY).read_text())["pathways"]}
    return {}


def _current(setup: RunSetup, former: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what an earlier process said of a pathway if its newest checkpoint is still that step's."""
    found = latest_step(setup.checkpoints(former["name"])) if former else None
    return former if former and found and former["steps"] == found[1] else None


def _from_checkpoint(setup: RunSetup, name: str) -> dict[str, Any]:
    """Return the outcome of a pathway whose process was killed after its last step and said nothing."""
    checkpoint = load_latest(setup.checkpoints(name))
    if checkpoint is None:
        raise RaytrainError(f"pathway {name} ended without a checkpoint")
    pathway = setup.pathway(name, choose_device(setup.config))
    pathway.load_state_tensors(checkpoint.tensors)
    return {
        "epochs": checkpoint.step // setup.plan(name).steps_per_epoch,
        "steps": checkpoint.step,
        "samples_per_s": 0.0,
        "waits": {},
        "weights_sha256": pathway.weights_sha256(),
    }


def _mark_running(folder: Path) -> None:
    """Take `done` back from the summary of a run that goes on: it may end otherwise."""
    with contextlib.suppress(OSError, ValueError):
        _write(folder, json.loads((folder / SUMMARY).read_text()) | {"status": "running"})


def _write(folder: Path, summary: dict[str, Any]) -> None:
    write_atomic(folder / SUMMARY, json.dumps(summary, indent=1))


def probe_rows(manifest: Manifest) -> dict[str, Any]:
    """Return the manifest rows of the labelled splits in feature-file order, and each split's places."""
    splits = {name: manifest.indices(name) for name in ("probe_train", "select", "test")}
    rows = np.unique(np.concatenate(list(splits.values())))
    return {"rows": rows, **{name: np.searchsorted(rows, indices) for name, indices in splits.items()}}


def represent(setup: RunSetup, *, through_ray: bool) -> None:
    """Write the features of all pathways, controls and floors in one pass."""
    config, manifest = setup.config, setup.manifest
    assert manifest is not None
    rows = probe_rows(manifest)["rows"]
    if len(rows) == 0:
        raise DataError("no labelled samples to represent; set probe.enabled = false to train only")
    device = choose_device(config)
    request = RepresentRequest(
        config=config,
        checkpoints={name: str(setup.checkpoints(name)) for name in config.pathways},
        build=partial(_build, config, setup.num_classes, setup.standardisers),
        device=str(device),
    )
    source = evaluation_source(config, manifest, rows)
    pretrain = evaluation_source(config, manifest, manifest.indices("pretrain"))
    sink = FeatureSink(setup.folder / "features", len(rows), config)
    try:
        if through_ray:
            _represent_through_ray(request, source, pretrain, sink)
        else:
            represent_inline(request, source, pretrain, sink)
        reasons = {manifest.keys[rows[place]]: why for place, why in sink.reasons.items()}
        _quarantine(setup, reasons, len(rows))
        sink.close({"steps": {name: _steps_done(setup, name) for name in config.pathways}})
    except BaseException:
        sink.discard()
        raise


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

    from pipelines.broadcast import describe, raise_described
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


def probe(setup: RunSetup) -> dict[str, Any]:
    """Probe the features file; return summary.json's `probes` and `floors`."""
    config, manifest = setup.config, setup.manifest
    assert manifest is not None
    splits = probe_rows(manifest)
    folder = setup.folder / "features"
    valid = np.load(folder / VALID)
    steps = open_features(folder, next(iter(config.pathways))).meta["steps"]
    operators = dict.fromkeys(
        p.operator.name for p in config.pathways.values() if p.operator.name != "identity"
    )
    entries = run_probes(
        ProbeRequest(
            folder=folder,
            pathways=list(config.pathways),
            labels=manifest.labels[splits["rows"]],
            groups=manifest.group_ids[splits["rows"]],
            train_rows=splits["probe_train"][valid[splits["probe_train"]]],
            test_rows=splits["test"][valid[splits["test"]]],
            epoch=min(done // setup.plan(name).steps_per_epoch for name, done in steps.items()),
            seed=config.seed,
            mode=config.probe.features,
            num_bootstrap=config.probe.num_bootstrap,
            floors=["pixels", *operators],
        )
    )
    return {"probes": entries}
