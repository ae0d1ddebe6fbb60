"""The command line: `raytrain VERB ...`; the only place that knows tyro."""

import contextlib
import dataclasses
import errno
import io
import os
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from raytrain.config import DataConfig, PathwayConfig, RunConfig, load_preset, load_toml, preset_names
from raytrain.errors import ConfigError, RaytrainError, StorageError, did_you_mean

ALIASES = {"--executor": "--training.executor", "--epochs": "--training.epochs"}
USAGE = """usage: raytrain VERB ...

  train PRESET        train pathways, represent and probe; the same command again goes on
  prepare             write a data set's manifest with checksums, and shards if asked for
  inspect [PRESET]    counts, sizes, bad files; a contact sheet of what each operator makes
  represent RUN       write a run's features again
  probe RUN           probe a run's features again
  bench NAME          measure: clapp, operators, stream
  list [KIND]         presets, sources, operators, encoders, objectives
  demo                the main job on generated images

`raytrain VERB --help` shows every setting. Exit codes: 0 done, 2 wrong call or setting, 3 data, 4 diverged,
5 cluster, 6 storage, 130 interrupted after a checkpoint, 1 a bug."""


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train pathways on one stream, then represent and probe; the same command again goes on."""

    config: str = ""
    """settings as a TOML file, instead of a preset"""
    seeds: int = 1
    """train that many seeds, one after the other"""
    dry_run: bool = False
    """print resolved settings, shapes, memory, processes and a time estimate; train nothing"""
    settings: tyro.conf.FlagConversionOff[Annotated[RunConfig, tyro.conf.arg(name="")]]


@dataclass(frozen=True, kw_only=True)
class PrepareCommand:
    """Walk a data set once: manifest with sizes, labels, groups and checksums; shards if asked for."""

    out: str
    """folder to write; it is then a data.root"""
    shards: Literal["none", "encoded", "uint8"] = "none"
    """pack small files into Parquet shards: images as they are, or decoded to the canvas"""
    data: DataConfig = field(default_factory=DataConfig)


@dataclass(frozen=True, kw_only=True)
class InspectCommand:
    """Show counts, sizes and bad files; with --sheet also what each operator makes of some samples."""

    sheet: str = ""
    """PNG to draw: rows are samples, columns operators"""
    data: DataConfig = field(default_factory=DataConfig)


@dataclass(frozen=True, kw_only=True)
class RunCommand:
    """A verb on a finished run."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """its run folder"""


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """Measure, as ratios against a plain form in the same process."""

    name: Annotated[str, tyro.conf.Positional]
    device: str = "cpu"
    repeats: int = 5


@dataclass(frozen=True, kw_only=True)
class ListCommand:
    """Print what there is."""

    kind: Annotated[str, tyro.conf.Positional] = ""


def main(arguments: list[str] | None = None) -> int:
    """Run a verb; turn errors into one line on stderr and an exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _dispatch(arguments)
    except RaytrainError as error:
        sys.stderr.write(f"raytrain: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("raytrain: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of our output went away; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            where = error.filename or "a file"
            sys.stderr.write(f"raytrain: {where}: {error.strerror}; free space and run again\n")
            return StorageError.exit_code
        traceback.print_exc()
        sys.stderr.write("raytrain: this is a bug; please report the lines above\n")
        return 1


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    verb, rest = arguments[0], [_unalias(word) for word in arguments[1:]]
    if verb not in VERBS:
        raise ConfigError(f"unknown verb {verb!r}{did_you_mean(verb, VERBS)}")
    return VERBS[verb](rest)


def _unalias(word: str) -> str:
    name, equals, value = word.partition("=")
    return ALIASES.get(name, name) + equals + value


def _train(arguments: list[str]) -> int:
    base, arguments = _base_config(arguments)
    default = TrainCommand(settings=base)
    command = _parse("train PRESET", TrainCommand, arguments, default, known=_flags(base))
    config = command.settings
    from raytrain import api

    if command.dry_run:
        print(api.dry_run(config))
        return 0
    return _run_training(config, command.seeds)


def _run_training(config: RunConfig, seeds: int) -> int:
    from rich.console import Console

    from raytrain import api
    from raytrain.reporting.results import results_text, seeds_table, seeds_text

    console = Console(width=None if sys.stdout.isatty() else 200)
    if seeds == 1:
        run = api.train(config, console=console)
        print(results_text(run.summary))
        print(f"results: {run.folder / 'summary.json'}")
        return 0
    runs = api.train_seeds(config, seeds, console=console)
    if config.probe.enabled:
        print(seeds_text(seeds_table([run.summary for run in runs])))
        print(f"results: {runs[0].folder.parent / 'seeds.json'}")
    return 0


def _demo(arguments: list[str]) -> int:
    return _train(["shapes-demo", *arguments])


def _base_config(arguments: list[str]) -> tuple[RunConfig, list[str]]:
    """Return the settings that the arguments change, of --config or of the preset, and the others."""
    if arguments and not arguments[0].startswith("-"):
        if any(word.partition("=")[0] == "--config" for word in arguments):
            raise ConfigError(f"preset {arguments[0]!r} and --config are two sets of settings; name one")
        return load_preset(arguments[0]), arguments[1:]
    for index, word in enumerate(arguments):
        if word == "--config" and index + 1 < len(arguments):
            return load_toml(Path(arguments[index + 1])), arguments
        if word.startswith("--config="):
            return load_toml(Path(word.partition("=")[2])), arguments
    if any(word in ("-h", "--help") for word in arguments):
        return RunConfig(pathways={"NAME": PathwayConfig()}), arguments
    raise ConfigError(f"train what? name a preset ({', '.join(preset_names())}) or --config FILE")


def _prepare(arguments: list[str]) -> int:
    known = _flags(PrepareCommand(out=""))
    command = _parse("prepare", PrepareCommand, arguments, None, known=known)
    from rich.console import Console

    from raytrain import api

    report = api.prepare(command.data, command.out, shards=command.shards, console=Console())
    done = "was prepared before" if report.already_done else "prepared"
    print(
        f"{report.out} {done}: {report.num_samples} samples, {report.num_bytes / 2**20:.1f} MiB, "
        f"{report.num_shards} shards, {len(report.quarantined)} quarantined"
    )
    return 0


def _inspect(arguments: list[str]) -> int:
    named = bool(arguments) and not arguments[0].startswith("-")
    base = load_preset(arguments[0] if named else "gtsrb-small")
    default = InspectCommand(data=base.data if named else DataConfig())
    rest = arguments[1:] if named else arguments
    command = _parse("inspect [PRESET]", InspectCommand, rest, default, known=_flags(default))
    from raytrain import api

    config = dataclasses.replace(base, data=command.data)
    print(api.inspect(config, sheet=Path(command.sheet) if command.sheet else None))
    if command.sheet:
        print(f"contact sheet: {command.sheet}")
    return 0


def _represent(arguments: list[str]) -> int:
    command = _parse("represent", RunCommand, arguments, None, known=set())
    from raytrain import api

    api.represent(command.run)
    print(f"features: {command.run / 'features'}")
    return 0


def _probe(arguments: list[str]) -> int:
    command = _parse("probe", RunCommand, arguments, None, known=set())
    from raytrain import api
    from raytrain.reporting.results import results_text

    print(results_text(api.probe(command.run).summary))
    return 0


def _bench(arguments: list[str]) -> int:
    command = _parse("bench", BenchCommand, arguments, None, known={"device", "repeats"})
    from raytrain import api

    for row in api.bench(command.name, device=command.device, repeats=command.repeats):
        ratio = "" if row.get("ratio") is None else f"{row['ratio']:.3g} x {row.get('against', '')}"
        bound = "" if row.get("bound") is None else f"bound {row['bound']}"
        print(f"{row['name']:<44} {row['value']:>12.5g} {row['unit']:<14} {ratio}  {bound}".rstrip())
    return 0


def _list(arguments: list[str]) -> int:
    command = _parse("list", ListCommand, arguments, None, known=set())
    from raytrain import api

    for kind, items in api.listing(command.kind).items():
        print(f"{kind}:")
        for name, line in items.items():
            print(f"  {name:<16} {line}")
    return 0


def _parse(verb: str, kind: Any, arguments: list[str], default: Any, *, known: set[str]) -> Any:
    """Parse with tyro; wrong settings become a ConfigError of one line with a suggestion."""
    wants_help = any(word in ("-h", "--help") for word in arguments)
    for word in arguments:
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if word.startswith("--") and not wants_help and known and name not in known:
            raise ConfigError(f"unknown setting --{name}{did_you_mean(name, known)}")
    options: dict[str, Any] = {"prog": f"raytrain {verb}", "config": _MARKERS}
    options |= {} if default is None else {"default": default}
    if wants_help:
        return tyro.cli(kind, args=arguments, **options)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return tyro.cli(kind, args=arguments, **options)
    except SystemExit:
        raise ConfigError(_one_line(said.getvalue())) from None


_MARKERS = (tyro.conf.AvoidSubcommands,)


def _one_line(text: str) -> str:
    """Return what tyro's box says, without the box."""
    words = re.sub(r"[^\x20-\x7e\n]", " ", text)
    lines = [line.strip() for line in words.splitlines()]
    kept = [line for line in lines if line and not re.match(r"(-+$|For full helptext|Parsing error)", line)]
    return " ".join(kept) or "wrong arguments; see --help"


def _flags(settings: Any) -> set[str]:
    """Return all flag names below a dataclass instance, dots between levels."""
    names = {"help", "config", "seeds", "dry_run", "sheet", "out", "shards"}
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            names |= {f"{item.name}.{name}" for name in _flags(value)}
        elif isinstance(value, dict):
            names |= {f"{item.name}.{key}.{name}" for key, inner in value.items() for name in _flags(inner)}
        else:
            names.add(item.name)
    return names


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "prepare": _prepare,
    "inspect": _inspect,
    "represent": _represent,
    "probe": _probe,
    "bench": _bench,
    "list": _list,
    "demo": _demo,
}
