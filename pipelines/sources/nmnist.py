"""N-MNIST: Train/<digit>/*.bin and Test/<digit>/*.bin, and Valid/<digit>/*.bin where some were set aside.

Test and Valid together are the test split. The root may be the folder above NMNIST too. Sensor: 34 x 34.
Source: Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using saccades",
2015.
"""

from pipelines.sources.event_files import find_base, read_layout
from pipelines.sources.records import join
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig

SENSOR = (34, 34)
CLASSES = tuple("0123456789")
_BASES = ("", "NMNIST", "N-MNIST")
_SPLITS = {"Train": "train", "Test": "test", "Valid": "test"}


def detect(storage: Storage) -> bool:
    """Return whether the root holds a digit's folder of recordings."""
    base = _base(storage)
    if base is None:
        return False
    files = (
        storage.list_files(folder, recursive=False)
        for split in _SPLITS
        for digit in CLASSES
        if storage.exists(folder := join(base, f"{split}/{digit}"))
    )
    first = next((file.path for found in files for file in found), "")
    return first.endswith(".bin")


def read_nmnist(config: DataConfig, storage: Storage) -> Manifest:
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
        absent="no Train/<digit> or Test/<digit>; name the folder above Train",
        extensions=(".bin",),
        sensor=SENSOR,
        classes=CLASSES,
    )


def _base(storage: Storage) -> str | None:
    return find_base(storage, _BASES, (f"{split}/{digit}" for split in _SPLITS for digit in CLASSES))


def _place(path: str) -> tuple[str, str, str] | None:
    parts = path.split("/")
    if len(parts) != 3 or parts[0] not in _SPLITS or parts[1] not in CLASSES:
        return None
    return _SPLITS[parts[0]], parts[1], ""
