"""One function a verb: what the command line does, for notebooks and other programs."""

import contextlib
import dataclasses
import importlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipelines.modalities import MODALITIES
from pipelines.sources import open_manifest
from raytrain.catalogue import kinds
from raytrain.config import DataConfig, ProbeConfig, RunConfig, load_preset, load_toml, presets_taking
from raytrain.errors import ConfigError
from raytrain.evaluation.represent import VALID
from raytrain.training.evaluate import probe as probe_setup
from raytrain.training.evaluate import represent as represent_setup
from raytrain.training.opening import open_data
from raytrain.training.paths import CONFIG, LOG, REPORT, SUMMARY
from raytrain.training.plan import RunSetup
from raytrain.training.run import Watcher, prepare_setup
from raytrain.training.run import run as run_all
from raytrain.training.run_folder import open_run_folder, settle, write_atomic

if TYPE_CHECKING:
    from pipelines.preparing.prepare import PrepareReport
    from raytrain.exporting import ExportReport
    from raytrain.suggestion import Suggestion
    from raytrain.training.replay import Replay

BENCHES = (
    "batches",
    "clapp",
    "events",
    "loaders",
    "locality",
    "operators",
    "readers",
    "scale",
    "stream",
    "subsets",
    "video",
)
SHEET_SAMPLES = 8


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    summary: dict[str, Any]


def train(
    config: RunConfig,
    *,
    console: Console | None = None,
    probes: bool = True,
    clusters: contextlib.ExitStack | None = None,
) -> Run:
    """Train all pathways, represent and probe; called again on the same folder it goes on.

    `probes` False ends with the features; `clusters` keeps a cluster that is started for the next call.

    Raises:
        RaytrainError: see its kinds; Interrupted after a signal.
    """
    from raytrain.reporting.progress import ProgressPrinter

    screen = console or Console(quiet=True)

    def watch(setup: RunSetup) -> Watcher:
        names = list(setup.config.pathways)
        return ProgressPrinter(
            screen,
            num_steps={name: setup.num_steps(name) for name in names},
            epochs=max(map(setup.config.epochs, names)),
        )

    run = Run(Path(config.run_folder).absolute(), run_all(config, watch, probes=probes, clusters=clusters))
    if config.report and probes:
        _report_or_say(run.folder, screen)
    return run


def _report_or_say(folder: Path, screen: Console) -> None:
    """Write the report; what goes wrong is a line, because the run itself is done."""
    try:
        report(folder)
    except Exception as error:
        what = " ".join(str(error).split()) or type(error).__name__
        text = f"no report: {what}; `raytrain report {folder}` tries again"
        screen.print(text, highlight=False, soft_wrap=True, markup=False)
        with contextlib.suppress(OSError), (folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def report(folder: Path, *, classes: str = "", data_root: str = "") -> Path:
    """Write report.html and figures/ of a run or a folder of seeds; return the page's path.

    `classes`: names or numbers, commas between, of those drawn in feature space; `data_root`: where the data
    lie now, if they moved.
    """
    from raytrain.reporting.report import write_report

    return write_report(folder, classes=classes, data_root=data_root)


def compare(first: Path, second: Path) -> str:
    """Return what two runs, or folders of seeds, differ by: settings, then paired differences."""
    from raytrain.reporting.compare import compare as compare_runs
    from raytrain.reporting.compare import comparison_text

    return comparison_text(compare_runs(first, second))


def train_seeds(config: RunConfig, num_seeds: int, *, console: Console | None = None) -> list[Run]:
    """Train seeds seed .. seed + n - 1 in folders seed-<k> of the run folder; write seeds.json beside."""
    from raytrain.reporting.run_data import SEEDS, load_run
    from raytrain.reporting.runs import Runs
    from raytrain.reporting.seeds import seeds_table

    folder = Path(config.run_folder).absolute()
    if num_seeds < 1:
        raise ConfigError(f"--seeds is {num_seeds}; it must be at least 1")
    runs: list[Run] = []
    with contextlib.ExitStack() as clusters:
        for seed in range(config.seed, config.seed + num_seeds):
            one = dataclasses.replace(config, seed=seed, out=str(folder / f"seed-{seed}"))
            if console:
                console.print(f"seed {seed}: {one.out}", highlight=False, soft_wrap=True, markup=False)
            runs.append(train(one, console=console, clusters=clusters))
    if config.probe.enabled:
        table = seeds_table(Runs(folder=folder, runs=[load_run(run.folder) for run in runs]))
        write_atomic(folder / SEEDS, json.dumps(table, indent=1))
        if config.report:
            _report_or_say(folder, console or Console(quiet=True))
    return runs


def reproduce(
    name: str, template: RunConfig, *, num_seeds: int = 3, console: Console | None = None
) -> dict[str, Any]:
    """Return a table or figure of the decomposed-encoder paper, measured; also written to the run folder.

    `template`: its first pathway gives encoder, cut and optimiser of the grid.
    """
    from raytrain.reproduction.study import reproduce as carry_out

    screen = console or Console(quiet=True)
    with contextlib.ExitStack() as clusters:
        return carry_out(
            name,
            template,
            num_seeds=num_seeds,
            out=Path(template.run_folder).absolute(),
            train=lambda config: train(config, console=screen, probes=False, clusters=clusters).summary,
            say=lambda text: screen.print(text, highlight=False, soft_wrap=True, markup=False),
        )


def reproduce_plan(name: str, template: RunConfig, *, num_seeds: int = 3) -> str:
    """Return what `reproduce` would train."""
    from raytrain.reproduction.study import plan_text

    return plan_text(name, template, num_seeds=num_seeds, out=Path(template.run_folder).absolute())


def represent(folder: Path) -> None:
    """Write the features of a trained run again."""
    with _trained_run(folder) as setup:
        represent_setup(setup, through_ray=False)


def probe(folder: Path, settings: ProbeConfig | None = None, *, console: Console | None = None) -> Run:
    """Probe a run's features again and update summary.json, predictions.npz, and the report if there is one.

    `settings` replace those of the run, for this once.
    """
    with _trained_run(folder) as setup:
        path = setup.folder / SUMMARY
        if not path.exists() or not (setup.features / VALID).exists():
            raise ConfigError(f"{folder}: no features yet; run `raytrain represent {folder}` first")
        config = dataclasses.replace(setup.config, probe=settings or setup.config.probe)
        former = json.loads(path.read_text(encoding="utf-8"))
        kept = {key: value for key, value in former.items() if key not in ("layers", "subsets")}
        summary = kept | probe_setup(dataclasses.replace(setup, config=config))
        write_atomic(path, json.dumps(summary, indent=1))
    if (folder / REPORT).exists():
        _report_or_say(folder, console or Console(quiet=True))
    return Run(setup.folder, summary)


@contextlib.contextmanager
def _trained_run(folder: Path) -> Iterator[RunSetup]:
    if not (folder / CONFIG).exists():
        raise ConfigError(f"{folder}: not a run folder (no {CONFIG}); name the --out of a `raytrain train`")
    config = dataclasses.replace(load_toml(folder / CONFIG), out=str(folder))
    manifest = open_manifest(config.data)
    with open_run_folder(config) as held:
        settle(held, config, manifest.fingerprint)
        yield prepare_setup(config, held, manifest)


def export(
    folder: Path,
    *,
    out: Path | None = None,
    pathways: Sequence[str] = (),
    onnx: bool = False,
    torch_export: bool = False,
    data_root: str = "",
    say: Callable[[str], Any] = print,
) -> "ExportReport":
    """Write a run's trained encoders for other programs, to `out` or RUN/export; see `load_encoder`."""
    from raytrain.exporting import export_run
    from raytrain.training.run_folder import read_run

    setup = read_run(folder, data_root=data_root)
    return export_run(setup, out=out, names=pathways, onnx=onnx, torch_export=torch_export, say=say)


def replay(
    folder: Path, pathway: str, step: int, *, data_root: str = "", say: Callable[[str], Any] = print
) -> tuple[list["Replay"], list[Path]]:
    """Train one step of a run again and look at it; return (what each rank saw, its contact sheet).

    Beside a sheet lies a text of every tensor.
    """
    from raytrain.reporting.replay import replay_sheet, replay_text
    from raytrain.training.replay_ranks import replay as replay_ranks
    from raytrain.training.run_folder import read_run

    setup = read_run(folder, data_root=data_root)
    replays = replay_ranks(setup, pathway, step, say=say)
    sheets = []
    for one in replays:
        rank = f"-rank{one.rank}" if one.num_ranks > 1 else ""
        sheets.append(setup.folder / "replay" / f"{pathway}-{one.step}{rank}.png")
        replay_sheet(one, sheets[-1])
        write_atomic(sheets[-1].with_suffix(".txt"), replay_text(one, every_tensor=True) + "\n")
    return replays, sheets


def prepare(
    config: DataConfig, out: str, *, shards: Any = "none", console: Console | None = None
) -> "PrepareReport":
    """Write a data set's manifest with checksums, and shards if asked for; goes on where it was stopped."""
    from pipelines.preparing.prepare import prepare as prepare_data

    def progress(done: int, total: int) -> None:
        if console and (done == total or done % 1000 == 0):
            console.print(f"{done}/{total} samples", highlight=False)

    return prepare_data(config, out, shards=shards, progress=progress)


def inspect(config: RunConfig, *, sheet: Path | None = None, shortcut: bool = False) -> str:
    """Return counts, sizes and bad files of a data set, and each operator's shortcut score if asked for.

    `sheet`: draw a contact sheet of what each operator makes, and of recordings a GIF of some beside it.

    Raises:
        ConfigError: samples of another kind than the pathways take.
        DataError: no usable data.
    """
    from pipelines.preparing.inspect import inspect as inspect_data

    manifest = open_data(config)
    lines = list(inspect_data(config.data, manifest=manifest).lines())
    if sheet is not None:
        from raytrain.reporting.event_movie import write_movie
        from raytrain.reporting.operator_sheet import operator_sheet

        operator_sheet(config, manifest, sheet, num_samples=SHEET_SAMPLES)
        if MODALITIES[manifest.modality].has_movie:
            lines.append(write_movie(config, manifest, sheet))
    if shortcut:
        from raytrain.evaluation.shortcut import measure_shortcuts, shortcut_lines

        lines += shortcut_lines(measure_shortcuts(config, manifest))
    return "\n".join(lines)


def suggest(data: DataConfig, refine: Callable[[DataConfig], DataConfig] | None = None) -> "Suggestion":
    """Return the settings and the command that train on what lies at data.root; see `raytrain.suggestion`."""
    from raytrain.suggestion import suggest as suggest_settings

    return suggest_settings(data, refine or (lambda settings: settings))


def without_root(data: DataConfig) -> RunConfig:
    """Return the settings of a preset that takes data which name no root, or one for each split.

    Raises:
        ConfigError: they name nothing at all.
    """
    names = presets_taking(open_manifest(data).modality)
    config = next(load_preset(name) for name in names if load_preset(name).data.is_generated)
    return dataclasses.replace(config, data=data)


def listing(kind: str = "") -> dict[str, dict[str, str]]:
    """Return what there is, a line about each: presets, sources, the parts of a pathway, probes, cache.

    Raises:
        ConfigError: no such kind.
    """
    return {name: found.lines() for name, found in kinds(kind).items()}


def bench(
    name: str, *, device: str = "cpu", repeats: int = 5, out: str = "", root: str = ""
) -> list[dict[str, Any]]:
    """Measure one of BENCHES; each row has name, value, unit, what it is held against, ratio and bound.

    `out`: folder of the plot, of a bench that draws one; `root`: your own data, of a bench that reads some.

    Raises:
        ConfigError: an unknown bench, or `out` or `root` for one that does not take it.
    """
    if name not in BENCHES:
        raise ConfigError(f"unknown bench {name!r}; known: {', '.join(BENCHES)}")
    module = importlib.import_module(f"raytrain.bench.{name}")
    taken = signature(module.run).parameters
    if out and "out" not in taken:
        raise ConfigError(f"bench {name} draws no plot; leave --out away")
    if root and "root" not in taken:
        raise ConfigError(f"bench {name} reads no data of yours; leave --root away")
    place = {key: value for key, value in (("out", out), ("root", root)) if value}
    rows: list[dict[str, Any]] = module.run(device=device, repeats=repeats, **place)
    return rows


def dry_run(config: RunConfig) -> str:
    """Return resolved settings, first-batch shapes, parameters, memory, processes and a time estimate."""
    from raytrain.training.estimate import describe_run

    return describe_run(config)
