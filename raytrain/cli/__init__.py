"""The command line: `raytrain VERB ...`; the only place that knows tyro."""

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from raytrain.cli.bench import bench, list_
from raytrain.cli.data import inspect, prepare
from raytrain.cli.export import export
from raytrain.cli.replay import replay
from raytrain.cli.report import compare, report
from raytrain.cli.reproduce import reproduce
from raytrain.cli.runs import probe, represent
from raytrain.cli.train import demo, train
from raytrain.errors import ConfigError, RaytrainError, StorageError, did_you_mean, why_no_text

ALIASES = {"--executor": "--training.executor", "--epochs": "--training.epochs"}
USAGE = """usage: raytrain VERB ...

  train PRESET        train pathways, represent and probe; the same command again goes on
  prepare             write a data set's manifest with checksums, and shards if asked for
  inspect DIR         what lies there: counts, sizes, bad files, and the command that trains on it
  inspect PRESET      the same as a preset reads it; a contact sheet of what each operator makes
  represent RUN       write a run's features again
  probe RUN           probe a run's features again
  export RUN          trained encoders for other programs (safetensors, torch.export, ONNX), compared with it
  replay RUN          one training step again, bit by bit: its batch, views, losses, what is not finite
  report RUN          one page with all results that works offline, and its figures
  compare RUN RUN     what two runs or folders of seeds differ by: settings, then paired differences
  reproduce TABLE     table1, table2 or figure2 of the decomposed-encoder paper, measured beside the paper's
  bench NAME          measure: clapp, events, locality, operators, readers, stream, subsets, video
  list [KIND]         what there is, and when to choose it: presets, sources, operators, ..., cache
  demo                the main job on generated images

`raytrain VERB --help` shows every setting. Exit codes: 0 done, 2 wrong call or setting, 3 data, 4 diverged,
5 cluster, 6 storage, 130 interrupted after a checkpoint, 1 a bug."""

VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "prepare": prepare,
    "inspect": inspect,
    "represent": represent,
    "probe": probe,
    "export": export,
    "replay": replay,
    "report": report,
    "compare": compare,
    "reproduce": reproduce,
    "bench": bench,
    "list": list_,
    "demo": demo,
}


def _out_of_memory(error: Exception) -> bool:
    """Return whether memory could not be had; torch has no error of its own for that on a CPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


def main(arguments: list[str] | None = None) -> int:
    """Run a verb; turn errors into one line on stderr and an exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may hold what the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
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
        if _out_of_memory(error):
            what = f" ({str(error).splitlines()[0]})" if str(error) else ""
            advice = "lower training.batch_size, data.canvas_px or a width"
            sys.stderr.write(f"raytrain: out of memory{what}; {advice}\n")
            return ConfigError.exit_code
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
    _check_names(arguments)
    verb, rest = arguments[0], [_unalias(word) for word in arguments[1:]]
    if verb not in VERBS:
        raise ConfigError(f"unknown verb {verb!r}{did_you_mean(verb, VERBS)}")
    return VERBS[verb](rest)


def _check_names(arguments: list[str]) -> None:
    """Raise ConfigError where an argument, or the working folder, has a name that is no text here."""
    names = list(arguments)
    with contextlib.suppress(OSError):  # the folder was removed
        names.append(str(Path.cwd()))
    for name in names:
        if why := why_no_text(name):
            raise ConfigError(why)


def _unalias(word: str) -> str:
    name, equals, value = word.partition("=")
    return ALIASES.get(name, name) + equals + value
