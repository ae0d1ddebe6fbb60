"""From the settings to a manifest: a prepared folder, GTSRB, class folders, or generated shapes."""

from pathlib import Path

from pipelines.manifest import MANIFEST_FILE, Manifest
from pipelines.sources.folder import read_folder
from pipelines.sources.gtsrb import find_base, read_gtsrb
from pipelines.sources.shapes import read_shapes
from pipelines.storage import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError

SOURCES = ("folder", "gtsrb", "shapes")
PREPARE_FOLDER = ".prepare"


def open_storage(root: str, config: DataConfig) -> Storage:
    """Return the storage of a root with the time limits of the settings."""
    return Storage(root, read_timeout_s=config.read_timeout_s, read_retries=config.read_retries)


def open_manifest(config: DataConfig) -> Manifest:
    """Return the manifest of the data that the settings name.

    Raises:
        DataError: the folder is missing, unreadable, holds no images, or its lists do not fit its files.
        ConfigError: the settings do not fit the data, or it has one class or one sample only.
    """
    manifest = _read(config)
    _check_payload(manifest, config)
    _check_enough(manifest, config)
    return manifest


def _read(config: DataConfig) -> Manifest:
    if config.source == "shapes":
        return read_shapes(config)
    if not config.root:
        raise ConfigError(
            "data.root is not set; name the folder of the data set, or use data.source = 'shapes'"
        )
    # Absolute, because other processes have other working folders.
    root = config.root.rstrip("/") or "/"
    root = root if "://" in root else str(Path(root).expanduser().absolute())
    storage = open_storage(root, config)
    if not storage.exists(""):
        raise DataError(f"data.root {config.root}: no such folder; check the path{_on_every_node(root)}")
    if "://" not in root and not Path(root).is_dir():
        raise DataError(f"data.root {config.root}: is a file; name the folder that holds the data set")
    if storage.exists(MANIFEST_FILE):
        return Manifest.load(f"{root}/{MANIFEST_FILE}")
    if storage.exists(PREPARE_FOLDER):
        raise DataError(
            f"data.root {config.root}: holds an unfinished `raytrain prepare`; run the same command again"
        )
    if config.source == "gtsrb" or (config.source == "auto" and find_base(storage) is not None):
        return read_gtsrb(config, storage)
    return read_folder(config, storage)


def _on_every_node(root: str) -> str:
    return "" if "://" in root else " (on a cluster: on every node)"


def _check_payload(manifest: Manifest, config: DataConfig) -> None:
    wanted = (config.canvas_px, config.fit)
    if manifest.payload == "uint8" and (manifest.canvas_px, manifest.fit) != wanted:
        raise ConfigError(
            f"data.root {config.root} was prepared as uint8 of {manifest.canvas_px} px, fit {manifest.fit}, "
            f"but data.canvas_px is {config.canvas_px}, data.fit {config.fit}; set them alike or prepare "
            "again"
        )


def _check_enough(manifest: Manifest, config: DataConfig) -> None:
    what = f"data.root {config.root}" if config.root else f"data.source {config.source}"
    if len(manifest) < 2:
        raise ConfigError(f"{what}: holds {len(manifest)} sample only; at least two are needed")
    if len(manifest.classes) == 1:
        raise ConfigError(
            f"{what}: holds one class only ({manifest.classes[0]}); a probe needs two or more; is data.root "
            "the folder above the class folders?"
        )
