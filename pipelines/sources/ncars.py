"""N-CARS: n-cars_train and n-cars_test, each with cars/*.dat and background/*.dat; or train, test of .npy.

Sensor: 120 x 100 px. Recordings last 100 ms.
Source: Sironi et al., "HATS: histograms of averaged time surfaces for robust event-based object
classification", CVPR 2018.
"""

from pipelines.forms.media import extension
from pipelines.sources.event_files import find_base, first_file, read_layout
from pipelines.sources.records import join
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig

SENSOR = (120, 100)
CLASSES = ("background", "cars")
EXTENSIONS = (".dat", ".npy")
_BASES = ("", "Prophesee_Dataset_n_cars", "N-Cars", "NCARS")
_SPLITS = {"n-cars_train": "train", "n-cars_test": "test", "train": "train", "test": "test"}


def detect(storage: Storage) -> bool:
    """Return whether the root holds cars beside background, as recordings."""
    base = _base(storage)
    if base is None:
        return False
    top = next(name for name in _SPLITS if storage.exists(join(base, f"{name}/cars")))
    return extension(first_file(storage, join(base, top))) in EXTENSIONS


def read_ncars(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest; each recording is a group of its own.

    Raises:
        DataError: no such recordings.
    """
    base = _base(storage)
    return read_layout(
        config,
        storage,
        _place,
        base=base,
        absent="no n-cars_train/cars or n-cars_test/cars; name the folder above them",
        extensions=EXTENSIONS,
        sensor=SENSOR,
        classes=CLASSES,
    )


def _base(storage: Storage) -> str | None:
    return find_base(storage, _BASES, (f"{name}/cars" for name in _SPLITS))


def _place(path: str) -> tuple[str, str, str] | None:
    parts = path.split("/")
    if len(parts) != 3 or parts[0] not in _SPLITS or parts[1] not in CLASSES:
        return None
    return _SPLITS[parts[0]], parts[1], ""
