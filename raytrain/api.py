"""One function a verb: what the command line does, for notebooks and other programs."""

import contextlib
import dataclasses
import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipelines.sources import open_manifest
from pipelines.stream import first_samples
from raytrain.config import DataConfig, RunConfig, load_toml, preset_names
from raytrain.errors import ConfigError
from raytrain.evaluation.represent import VALID
from raytrain.training.run import Watcher, prepare_setup
from raytrain.training.run import probe as probe_setup
from raytrain.training.run import represent as represent_setup
from raytrain.training.run import run as run_all
from raytrain.training.run_folder import CONFIG, SUMMARY, open_run_folder, settle, write_atomic
from raytrain.training.setup import RunSetup

if TYPE_CHECKING:
    from pipelines.prepare import PrepareReport

BENCHES = ("clapp", "operators", "stream")
SHEET_SAMPLES = 8


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    summary: dict[str, Any]


def train(config: RunConfig, *, console: Console | None = None) -> Run:
    """Train all pathways, represent and probe; called again on the same folder it goes on.

    Raises:
        RaytrainError: see its kinds; Interrupted after a signal.
    """
    from raytrain.reporting.progress import ProgressPrinter

    screen = console or Console(quiet=True)

    def watch(setup: RunSetup) -> Watcher:
        any_pathway = next(iter(setup.config.pathways))
        return ProgressPrinter(
            screen,
            pathways=list(setup.config.pathways),
            num_steps=setup.config.training.epochs * setup.plan(any_pathway).steps_per_epoch,
            epochs=setup.config.training.epochs,
        )

    return Run(Path(config.run_folder).absolute(), run_all(config, watch))


def train_seeds(config: RunConfig, num_seeds: int, *, console: Console | None = None) -> list[Run]:
    """Train seeds seed .. seed + n - 1 in folders seed-<k> of the run folder; write seeds.json beside."""
    from raytrain.reporting.results import seeds_table

    folder = Path(config.run_folder).absolute()
    if num_seeds < 1:
        raise ConfigError(f"--seeds is {num_seeds}; it must be at least 1")
    runs: list[Run] = []
    with _one_cluster(config):
        for seed in range(config.seed, config.seed + num_seeds):
            one = dataclasses.replace(config, seed=seed, out=str(folder / f"seed-{seed}"))
            if console:
                console.print(f"seed {seed}: {one.out}", highlight=False, soft_wrap=True, markup=False)
            runs.append(train(one, console=console))
    if config.probe.enabled:
        write_atomic(folder / "seeds.json", json.dumps(seeds_table([run.summary for run in runs]), indent=1))
    return runs


@contextlib.contextmanager
def _one_cluster(config: RunConfig) -> Iterator[None]:
    if config.training.executor == "inline":
        yield
        return
    from raytrain.training.cluster import connect

    with connect(config):
        yield


def represent(folder: Path) -> None:
    """Write the features of a trained run again."""
    with _trained_run(folder) as setup:
        represent_setup(setup, through_ray=False)


def probe(folder: Path) -> Run:
    """Probe a run's features again and update its summary.json."""
    with _trained_run(folder) as setup:
        path = setup.folder / SUMMARY
        if not path.exists() or not (setup.folder / "features" / VALID).exists():
            raise ConfigError(f"{folder}: no features yet; run `raytrain represent {folder}` first")
        summary = json.loads(path.read_text()) | probe_setup(setup)
        write_atomic(path, json.dumps(summary, indent=1))
        return Run(setup.folder, summary)


@contextlib.contextmanager
def _trained_run(folder: Path) -> Iterator[RunSetup]:
    if not (folder / CONFIG).exists():
        raise ConfigError(f"{folder}: not a run folder (no {CONFIG}); name the --out of a `raytrain train`")
    config = dataclasses.replace(load_toml(folder / CONFIG), out=str(folder))
    manifest = open_manifest(config.data)
    with open_run_folder(config) as held:
        settle(held, config, manifest.hash)
        yield prepare_setup(config, held, manifest)


def prepare(
    config: DataConfig, out: str, *, shards: Any = "none", console: Console | None = None
) -> "PrepareReport":
    """Write a data set's manifest with checksums, and shards if asked for; goes on where it was stopped."""
    from pipelines.prepare import prepare as prepare_data

    def progress(done: int, total: int) -> None:
        if console and (done == total or done % 1000 == 0):
            console.print(f"{done}/{total} samples", highlight=False)

    return prepare_data(config, out, shards=shards, progress=progress)


def inspect(config: RunConfig, *, sheet: Path | None = None) -> str:
    """Return counts, sizes and bad files of a data set; draw a contact sheet of what each operator makes."""
    from pipelines.inspect import inspect as inspect_data

    report = inspect_data(config.data)
    if sheet is not None:
        _draw_sheet(config, sheet)
    return "\n".join(report.lines())


def _draw_sheet(config: RunConfig, path: Path) -> None:
    """Draw the first samples of the pretrain split, and what each pathway's operator makes of them."""
    import torch

    from pipelines.operators import build_operator
    from raytrain.reporting.contact_sheet import contact_sheet

    manifest = open_manifest(config.data)
    chunk = first_samples(manifest, config.data, seed=config.seed, count=SHEET_SAMPLES)
    images = torch.from_numpy(chunk.images)
    operators = {pathway.operator.name: pathway.operator for pathway in config.pathways.values()}
    columns: dict[str, Any] = {
        name: build_operator(operator)(images).numpy() for name, operator in operators.items()
    }
    contact_sheet(chunk.images, columns, str(path), row_titles=chunk.keys)


def listing(kind: str = "") -> dict[str, dict[str, str]]:
    """Return what there is, with a line about each: presets, operators, encoders, objectives, sources."""
    from pipelines.operators import OPERATORS
    from pipelines.sources import SOURCES
    from raytrain.encoders import ENCODERS
    from raytrain.objectives import OBJECTIVES

    def first_lines(registry: dict[str, Any]) -> dict[str, str]:
        return {name: (item.__doc__ or "").strip().splitlines()[0] for name, item in registry.items()}

    all_kinds = {
        "presets": {name: preset_title(name) for name in preset_names()},
        "sources": first_lines({s: importlib.import_module(f"pipelines.sources.{s}") for s in SOURCES}),
        "operators": first_lines(OPERATORS),
        "encoders": first_lines(ENCODERS),
        "objectives": first_lines(OBJECTIVES),
    }
    if kind and kind not in all_kinds:
        raise ConfigError(f"unknown kind {kind!r}; known: {', '.join(all_kinds)}")
    return {kind: all_kinds[kind]} if kind else all_kinds


def preset_title(name: str) -> str:
    """Return the first comment line of a preset."""
    from importlib import resources

    first = resources.files("raytrain.presets").joinpath(f"{name}.toml").read_text().splitlines()[0]
    return first.removeprefix("# ")


def bench(name: str, *, device: str = "cpu", repeats: int = 5) -> list[dict[str, Any]]:
    """Measure one of BENCHES; each row has name, value, unit, what it is held against, ratio and bound."""
    if name not in BENCHES:
        raise ConfigError(f"unknown bench {name!r}; known: {', '.join(BENCHES)}")
    module = importlib.import_module(f"raytrain.bench.{name}")
    rows: list[dict[str, Any]] = module.run(device=device, repeats=repeats)
    return rows


def dry_run(config: RunConfig) -> str:
    """Return resolved settings, first-batch shapes, parameters, memory, processes and a time estimate."""
    from raytrain.training.estimate import describe_run

    return describe_run(config)
