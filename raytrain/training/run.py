"""One run from settings to summary.json: folder, data, standardisers, training, features, probes."""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from pipelines.forms.quarantine import by_fate
from pipelines.modalities import modality_of
from pipelines.storage.manifest import Manifest, class_names
from raytrain.checkpoint import latest_step, load_latest
from raytrain.config import RunConfig
from raytrain.config.stems import NoStemConfig
from raytrain.errors import ConfigError, Interrupted, RaytrainError, StorageError
from raytrain.evaluation.shortcut import shortcut_scores
from raytrain.identity import Identity
from raytrain.training import provenance
from raytrain.training.allotment import Allotment, Demand, allot, check_fits
from raytrain.training.cache import EncoderCache, check_folder
from raytrain.training.cluster import check_docstrings, connect, is_connected, nodes_of
from raytrain.training.evaluate import motion, probe, represent
from raytrain.training.factory import estimate_standardisers
from raytrain.training.left_out import left_out_of_training
from raytrain.training.memory import check_estimate, check_training
from raytrain.training.opening import check_kind, open_data
from raytrain.training.paths import STANDARDISERS, SUMMARY, has_steps, known_device
from raytrain.training.plan import RunSetup, event_limits
from raytrain.training.recorder import Recorder, counts_so_far, health_so_far, write_note
from raytrain.training.run_folder import open_run_folder, settle, write_atomic
from raytrain.training.signals import StopSignal
from raytrain.training.timekeeping import explain
from raytrain.training.turns import Done, train_in_turns


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


def prepare_setup(
    config: RunConfig, folder: Path, manifest: Manifest, *, allotment: Allotment | None = None
) -> RunSetup:
    """Return the run's setup; standardisers are estimated once and kept in the run folder.

    Before the first step they are estimated again where what they are made of has changed.
    """
    path = folder / STANDARDISERS
    identity = Identity(config=config, data=manifest.hash, device="cpu")
    is_stale = not has_steps(folder) and not provenance.standardisers_are_of(folder, identity)
    if is_stale or not path.exists():
        write_atomic(path, json.dumps(estimate_standardisers(config, manifest)))
        provenance.standardised(folder, identity)
    return RunSetup.build(
        config, manifest, folder, json.loads(path.read_text(encoding="utf-8")), allotment=allotment
    )


def check_data(config: RunConfig, manifest: Manifest) -> None:
    """Raise ConfigError where the data set is too small for the settings, or lacks the labels they need."""
    check_kind(config, manifest)
    num_samples = len(manifest.indices("pretrain"))
    if num_samples < 2:
        raise ConfigError(f"the pretrain split has {num_samples} sample(s); training needs two or more")
    if config.training.batch_size > num_samples:
        raise ConfigError(
            f"training.batch_size {config.training.batch_size} is larger than the {num_samples} samples "
            f"of the pretrain split; use at most {num_samples}"
        )
    check_estimate(config, manifest)
    event_limits(config, manifest)
    need_gib = num_samples * 3 * config.data.canvas_px**2 / 2**30
    if config.data.cache != "none" and need_gib > config.data.cache_gib:
        raise ConfigError(
            f"data.cache = {config.data.cache} needs {need_gib:.2f} GiB for {num_samples} decoded samples, "
            f"more than data.cache_gib {config.data.cache_gib:g}; raise it or use data.cache = none"
        )
    supervised = any(pathway.objective.name == "supervised" for pathway in config.pathways.values())
    if len(manifest.classes) == 1 and (supervised or config.probe.enabled):
        raise ConfigError("the data set has one class; a probe or supervised objective needs two or more")
    for split in ("probe_train", "test") if config.probe.enabled else ():
        if not len(manifest.indices(split)):
            raise ConfigError(
                f"the {split} split has no labelled samples, which a probe needs; name a labelled root by "
                f"data.splits.{split}, or set probe.enabled = false to train only"
            )


def run(
    config: RunConfig,
    watch: Callable[[RunSetup], Watcher],
    *,
    probes: bool = True,
    clusters: contextlib.ExitStack | None = None,
) -> dict[str, Any]:
    """Train, represent and probe; return the summary that is also written to the run folder.

    Args:
        probes: False ends with the features; who compares several runs fits them together.
        clusters: keeps a cluster that is started here for the next run; None: it ends with this one.

    Raises:
        Interrupted: after checkpoints, when stopped by a signal.
        RaytrainError: see its kinds.
    """
    clock = _Clock()
    manifest = open_data(config)
    check_data(config, manifest)
    check_folder(config.cache)
    check_docstrings(config)
    with open_run_folder(config) as folder, contextlib.ExitStack() as stack:
        held = stack if clusters is None else clusters
        nodes = nodes_of(config, held)
        check_training(config, manifest, nodes)
        demand = Demand.of(config, device=known_device(folder))
        allotment = allot(demand, nodes)
        settle(folder, config, manifest.fingerprint, device=allotment.device)
        setup = prepare_setup(config, folder, manifest, allotment=allotment)
        provenance.begin(setup)
        cache = EncoderCache.open(config.cache)
        done = Done(loaded=cache.load_all(setup, config.pathways) if cache else {})
        trains = not all(setup.done(name) for name in config.pathways)
        if trains:
            check_fits(demand, allotment, nodes)
        if trains and config.training.executor == "ray":
            held.enter_context(connect(config))
        stop = stack.enter_context(StopSignal())
        _mark_running(folder)
        startup_s = time.monotonic() - clock.began
        watcher = watch(setup)
        stack.callback(watcher.close)
        where = allotment.text(demand, nodes)
        classes = [f"classes: {class_names(manifest.classes)}"] * bool(manifest.classes)
        for text in (*manifest.notes, *classes, where, *(found.text for found in done.loaded.values())):
            watcher.say(text)
        with clock.measure("train_s"):
            train_in_turns(setup, cache, done, _Training(setup, watcher, stop, cache))
        done.counts = done.counts or counts_so_far(folder)
        startup_s += watcher.first_step_s or 0.0
        _explain(watcher, done.outcomes, can_cache=modality_of(config).can_cache)
        summary = _summary(setup, done)
        store_cached(setup, cache, summary["pathways"])
        if done.stopped:
            _write(folder, {**summary, "status": "stopped", "timing": clock.timing(startup_s)})
            raise Interrupted(
                f"stopped; checkpoints are in {folder / 'checkpoints'}; the same command goes on from there"
            )
        if config.probe.enabled:
            stop.end_at_once("stopped after training, before the probes; the same command goes on from there")
            with clock.measure("probe_s"):
                through_ray = config.training.executor == "ray" and is_connected()
                represent(setup, through_ray=through_ray, cache=cache)
                if probes:
                    summary |= probe(setup)
                if probes and config.probe.shortcut:
                    summary["shortcut"] = shortcut_scores(config, manifest)
                if probes:
                    summary |= motion(setup)
        clock.marks.setdefault("probe_s", 0.0)
        summary |= {"status": "done" if probes else "trained", "timing": clock.timing(startup_s)}
        _write(folder, summary)
        return summary


@dataclass
class _Training:
    """What a run does in its turn; see `train_in_turns`."""

    setup: RunSetup
    watcher: Watcher
    stop: StopSignal
    cache: EncoderCache | None

    def train(self, names: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Train some pathways by the executor of the settings."""
        if self.setup.config.training.executor == "inline":
            return self._train_inline(names)
        from raytrain.training.experiment import train_through_ray

        return train_through_ray(self.setup, names=names, stop=self.stop, tick=self._show)

    def keep(self, done: Done, names: list[str]) -> None:
        """Put some pathways into the cache, those that are trained to the end."""
        begun = [name for name in names if self.setup.done(name)]
        store_cached(self.setup, self.cache, _pathways(self.setup, begun, done))

    def say(self, text: str) -> None:
        """Show a line of text."""
        self.watcher.say(text)

    def _show(self, fresh: dict[str, Any]) -> None:
        for text in fresh["events"]:
            self.watcher.say(text)
        self.watcher.update(fresh["lines"])

    def _train_inline(self, names: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        from raytrain.training.inline import train_inline

        recorder = Recorder(str(self.setup.folder), self.setup.folder.name)
        try:
            outcomes = train_inline(
                self.setup, recorder, names=names, stop=self.stop, tick=lambda: self._show(recorder.drain())
            )
        finally:
            counts = recorder.close()
        return outcomes, counts


def _explain(watcher: Watcher, outcomes: list[dict[str, Any]], *, can_cache: bool) -> None:
    for outcome in outcomes:
        watcher.say(explain(outcome["name"], outcome["waits"], outcome["causes"], can_cache=can_cache))


def _pathways(setup: RunSetup, names: Iterable[str], done: Done) -> list[dict[str, Any]]:
    """Return what the summary says of some pathways."""
    former = _former_pathways(setup.folder) | {name: cached.outcome for name, cached in done.loaded.items()}
    found = {outcome["name"]: outcome for outcome in done.outcomes}
    left_out, starts = left_out_of_training(setup), done.counts.get("starts", {})
    pathways = []
    for name in names:
        pathway, cached = setup.config.pathways[name], done.loaded.get(name)
        if cached and not cached.goes_on:
            found.pop(name, None)
        told = None if name in found else _current(setup, former.get(name))
        outcome = told or found.get(name) or _from_checkpoint(setup, name)
        lacking = told.get("quarantined") if told else left_out.to_json() if left_out.num else None
        pathways.append(
            {
                "name": name,
                "operator": pathway.operator.name,
                "objective": pathway.objective.name,
                "encoder": pathway.encoder.name,
                **({} if isinstance(pathway.stem, NoStemConfig) else {"stem": pathway.stem.name}),
                **{
                    key: outcome[key]
                    for key in ("epochs", "steps", "samples_per_s", "waits", "weights_sha256")
                },
                **{key: outcome[key] for key in ("events_per_s",) if key in outcome},
                **({"quarantined": lacking} if lacking else {}),
                "cached_steps": cached.step if cached else outcome.get("cached_steps", 0),
                "restarts": max(0, starts.get(name, 1) - 1),
            }
        )
    return pathways


def _summary(setup: RunSetup, done: Done) -> dict[str, Any]:
    counts = done.counts
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
            "quarantined_by": counts.get("quarantined_by", by_fate(())),
            "operated": counts.get("operated", {}),
            "counts": counts.get("counts", {}),
            "left_out_per_epoch": setup.left_out,
        },
        "pathways": _pathways(setup, setup.config.pathways, done),
        **health_so_far(setup.folder),
        "probes": [],
    }


def store_cached(setup: RunSetup, cache: EncoderCache | None, pathways: list[dict[str, Any]]) -> None:
    """Keep the pathways that are trained to the end; a full disk is said, not fatal."""
    for pathway in pathways if cache else []:
        assert cache is not None
        try:
            cache.store(setup, pathway["name"], pathway)
        except (OSError, StorageError) as error:
            write_note(setup.folder, f"encoder cache {cache.folder}: not written: {error}")


def _former_pathways(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what an earlier process of this run said of pathways that were finished then."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return {p["name"]: p for p in json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["pathways"]}
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
    pathway = setup.pathway(name, torch.device("cpu"))
    pathway.load_state_tensors(checkpoint.tensors)
    return {
        "epochs": setup.plan(name).cursor_at(checkpoint.step).epoch,
        "steps": checkpoint.step,
        "samples_per_s": 0.0,
        "waits": {},
        "weights_sha256": pathway.weights_sha256(),
    }


def _mark_running(folder: Path) -> None:
    """Take `done` back from the summary of a run that goes on: it may end otherwise."""
    with contextlib.suppress(OSError, ValueError):
        _write(folder, json.loads((folder / SUMMARY).read_text(encoding="utf-8")) | {"status": "running"})


def _write(folder: Path, summary: dict[str, Any]) -> None:
    write_atomic(folder / SUMMARY, json.dumps(summary, indent=1))
