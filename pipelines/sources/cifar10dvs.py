"""CIFAR10-DVS: <class>/*.aedat4 as tonic has it, or the original <class>/*.aedat; no split is published.

Shares are cut off for testing and selection. Sensor: 128 x 128 px.
Source: Li et al., "CIFAR10-DVS: an event-stream dataset for object classification", 2017.
"""

from pipelines.forms.media import extension
from pipelines.sources.event_files import find_base, read_layout
from pipelines.sources.records import join
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig

SENSOR = (128, 128)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
EXTENSIONS = (".aedat4", ".aedat")
_BASES = ("", "CIFAR10DVS", "CIFAR10-DVS")


def detect(storage: Storage) -> bool:
    """Return whether the root holds recordings of its first class."""
    base = find_base(storage, _BASES, CLASSES[:1])
    if base is None:
        return False
    folder = join(base, CLASSES[0])
    return any(extension(file.path) in EXTENSIONS for file in storage.list_files(folder, recursive=False))


def read_cifar10dvs(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest; each recording is a group of its own.

    Raises:
        DataError: no such recordings.
    """
    base = find_base(storage, _BASES, CLASSES)
    return read_layout(
        config,
        storage,
        _place,
        base=base,
        absent="no folder of a class of CIFAR-10; name the folder above airplane",
        extensions=EXTENSIONS,
        sensor=SENSOR,
        classes=CLASSES,
    )


def _place(path: str) -> tuple[str, str, str] | None:
    parts = path.split("/")
    return ("train", parts[0], "") if len(parts) == 2 and parts[0] in CLASSES else None
