"""The run folder: one process at a time, settings, environment; refused when data or pathways changed."""

import dataclasses
import errno
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from pipelines.sources import open_manifest
from pipelines.storage.fingerprint import Fingerprint
from raytrain.checkpoint import Checkpoint, load_latest
from raytrain.config import RunConfig, load_toml, to_toml
from raytrain.errors import ConfigError, DataError, StorageError, did_you_mean
from raytrain.identity import FREE, flatten
from raytrain.training.paths import (
    CONFIG,
    COUNTERS,
    ENVIRONMENT,
    QUARANTINE,
    STANDARDISERS,
    has_steps,
    known_device,
)
from raytrain.training.plan import RunSetup

PACKAGES = ("raytrain", "torch", "ray", "numpy", "pyarrow", "pillow", "pytorch_wavelets")


@contextmanager
def open_run_folder(config: RunConfig) -> Iterator[Path]:
    """Create or reopen the run folder, held by this process alone; yield its absolute path.

    Raises:
        ConfigError: another process uses it, it is no run folder, or it was made with other settings.
        StorageError: it cannot be created.
    """
    folder = Path(config.run_folder).absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG).exists():
        others = [path.name for path in folder.iterdir() if path.name != ".lock"]
        if others:
            raise ConfigError(f"--out {folder} is not empty and not a run folder; name a new or empty one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise StorageError(f"--out {folder}: cannot be created: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise ConfigError(
                f"--out {folder} is in use by another process; wait for it or name another"
            ) from None
        raise StorageError(f"--out {folder}: cannot be locked: {error.strerror}") from None
    try:
        yield folder
    finally:
        os.close(descriptor)


def settle(folder: Path, config: RunConfig, data: Fingerprint, *, device: str = "") -> None:
    """Write settings and environment of a new run, or check that an old one may go on.

    A run that ended before its first step binds nothing, so that a refused setting can be corrected.
    `device`: where the run is trained, cpu or cuda; a run that has begun keeps the one it began on.

    Raises:
        ConfigError: a setting that changes what is computed differs.
        DataError: the data differ; it is named in what, with both hashes.
    """
    if (folder / CONFIG).exists():
        try:
            _check_unchanged(folder, config, data)
        except (ConfigError, DataError):
            if has_steps(folder):
                raise
            for name in (STANDARDISERS, COUNTERS, QUARANTINE):  # they belong to the former settings
                (folder / name).unlink(missing_ok=True)
    found = environment(data) | {"device": known_device(folder) or device}
    write_atomic(folder / ENVIRONMENT, json.dumps(found, indent=1))
    write_atomic(folder / CONFIG, to_toml(config))


def data_problem(environment: dict[str, Any], data: Fingerprint) -> str:
    """Say why data may not be those that a run's environment tells of; empty: they are."""
    then = environment.get("manifest_hash", data.hash)
    if then == data.hash:
        return ""
    differs = data.what_differs(environment.get("fingerprint", {}))
    hashes = f"manifest {then[:16]} then, {data.hash[:16]} now"
    return f"the data are not known to be those of this run: {differs}: {hashes}"


def _check_unchanged(folder: Path, config: RunConfig, data: Fingerprint) -> None:
    before = (
        json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
        if (folder / ENVIRONMENT).exists()
        else {}
    )
    if problem := data_problem(before, data):
        raise DataError(f"{folder}: {problem}; restore the data or name another --out")
    for key, former, now in differences(load_toml(folder / CONFIG), config):
        if key not in FREE and not key.endswith(
            (".optimizer.implementation", ".workers", ".placement", ".stream", ".epochs")
        ):
            raise ConfigError(
                f"{folder} was made with {key} = {former!r}, not {now!r}: its checkpoints would not fit; "
                "use the former value or name another --out"
            )
    lanes = load_toml(folder / CONFIG).num_lanes
    if config.training.batch_events and lanes != config.num_lanes:
        raise ConfigError(
            f"{folder} was made with {lanes} lane(s), not {config.num_lanes}: by training.batch_events its "
            f"batches would be others; set data.lanes = {lanes}, and workers that divide it, or name "
            "another --out"
        )


def differences(former: RunConfig, now: RunConfig) -> list[tuple[str, Any, Any]]:
    """Return (setting, former value, value now) of all settings that differ."""
    first, second = (flatten(dataclasses.asdict(config)) for config in (former, now))
    return [
        (key, first.get(key), second.get(key))
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    ]


def environment(data: Fingerprint) -> dict[str, Any]:
    """Return what a run ran on."""
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "absent"
    return {
        "manifest_hash": data.hash,
        "fingerprint": dataclasses.asdict(data),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions,
    }


def write_atomic(path: Path, text: str) -> None:
    """Write a text file aside and rename it.

    Raises:
        StorageError: the disk is full or not writable; the former file is untouched.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StorageError(f"{path}: not written: {error.strerror}; free space and run again") from None


def read_run(folder: Path, *, data_root: str = "") -> RunSetup:
    """Return the setup of a run that was trained before; `data_root`: where its data lie now.

    Raises:
        ConfigError: no run folder, or a run that has not begun.
        DataError: the data are missing, or not those of the run.
    """
    folder = Path(folder).absolute()
    if not (folder / CONFIG).exists():
        raise ConfigError(f"{folder}: not a run folder (no {CONFIG}); name the --out of a `raytrain train`")
    config = dataclasses.replace(load_toml(folder / CONFIG), out=str(folder))
    if data_root:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=data_root))
    try:
        standardisers = json.loads((folder / STANDARDISERS).read_text(encoding="utf-8"))
        before = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        raise ConfigError(
            f"{folder}: the run has not begun (no {STANDARDISERS}, {ENVIRONMENT}); train it"
        ) from None
    try:
        manifest = open_manifest(config.data)
    except DataError as error:
        raise DataError(f"{error} (of {folder / CONFIG}); --data.root DIR names another place") from None
    if problem := data_problem(before, manifest.fingerprint):
        raise DataError(f"{folder}: {problem}; restore the data or name them by --data.root DIR")
    return RunSetup.build(config, manifest, folder, standardisers)


def check_pathway(setup: RunSetup, name: str) -> None:
    """Raise ConfigError, with a suggestion, for a pathway that the run does not have."""
    if name not in setup.config.pathways:
        raise ConfigError(
            f"{setup.folder}: unknown pathway {name!r}{did_you_mean(name, setup.config.pathways)}"
        )


def newest_checkpoint(setup: RunSetup, name: str) -> Checkpoint:
    """Return a pathway's newest whole checkpoint.

    Raises:
        ConfigError: there is none.
        StorageError: it was written by another run.
    """
    checkpoint = load_latest(setup.checkpoints(name))
    if checkpoint is None:
        raise ConfigError(f"{setup.folder}: no whole checkpoint of pathway {name}; train it")
    check_seed(setup, checkpoint)
    return checkpoint


def check_seed(setup: RunSetup, checkpoint: Checkpoint) -> None:
    """Raise StorageError for a checkpoint of another seed."""
    if checkpoint.meta.get("seed") != setup.config.seed:
        raise StorageError(
            f"{checkpoint.folder} was written by seed {checkpoint.meta.get('seed')}, "
            f"the run has seed {setup.config.seed}"
        )
