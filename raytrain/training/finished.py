"""Open a run folder to read from it: nothing in it is written, no lock is taken."""

import dataclasses
import json
from pathlib import Path

from pipelines.sources import open_manifest
from raytrain.checkpoint import Checkpoint, load_latest
from raytrain.config import load_toml
from raytrain.errors import ConfigError, DataError, StorageError, did_you_mean
from raytrain.training.paths import CONFIG, ENVIRONMENT, STANDARDISERS
from raytrain.training.plan import RunSetup


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
        standardisers = json.loads((folder / STANDARDISERS).read_text())
        former_hash = json.loads((folder / ENVIRONMENT).read_text())["manifest_hash"]
    except (OSError, ValueError, KeyError):
        raise ConfigError(
            f"{folder}: the run has not begun (no {STANDARDISERS}, {ENVIRONMENT}); train it"
        ) from None
    try:
        manifest = open_manifest(config.data)
    except DataError as error:
        raise DataError(f"{error} (of {folder / CONFIG}); --data.root DIR names another place") from None
    if manifest.hash != former_hash:
        raise DataError(
            f"{folder}: the data are not those of this run: manifest {former_hash[:16]} then, "
            f"{manifest.hash[:16]} now; restore the data or name them by --data.root DIR"
        )
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
