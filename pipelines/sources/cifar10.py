"""CIFAR-10: its binary batches (data_batch_1.bin, ..., test_batch.bin) read by offset, or images in folders.

A record is a label byte 0..9 and 3 x 32 x 32 bytes, row by row. As folders: train/<class>/ and test/<class>/.
Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

import numpy as np

from pipelines.sources.folder import read_folder
from pipelines.sources.records import (
    check_labels,
    class_names,
    count_records,
    file_sizes,
    find_base,
    join,
    read_file,
    record_samples,
)
from pipelines.sources.samples import Sample, build_manifest
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from pipelines.storage.raw import RawLayout
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

LAYOUT = RawLayout("chw", (3, 32, 32))
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_BASES = ("", "cifar-10-batches-bin")
_PICKLED = ("data_batch_1", "cifar-10-batches-py/data_batch_1")
_FILES = {f"data_batch_{number}.bin": "train" for number in range(1, 6)} | {"test_batch.bin": "test"}
_RECORD_BYTES = LAYOUT.num_bytes + 1


def detect(storage: Storage) -> bool:
    """Return whether the root holds the binary batches."""
    return find_base(storage, _BASES, tuple(_FILES)) is not None


def read_cifar10(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest of the binary batches, or of the class folders where there are none.

    Raises:
        DataError: a batch is missing or cut off, or holds a label that there is not; the Python version.
    """
    base = find_base(storage, _BASES, tuple(_FILES))
    if base is None:
        if any(storage.exists(name) for name in _PICKLED):
            raise DataError(
                f"data.root {storage.root}: holds CIFAR-10's Python version, whose pickles can run code when "
                "read; download cifar-10-binary.tar.gz instead"
            )
        return read_folder(config, storage)
    sizes = file_sizes(storage, base)
    missing = [name for name in _FILES if name not in sizes]
    if missing:
        raise DataError(
            f"{storage.root}/{base}: {len(missing)} of {len(_FILES)} batches are missing: "
            f"{', '.join(missing)}; download them too"
        )
    samples: list[Sample] = []
    for name, split in _FILES.items():
        path = join(base, name)
        what = "a label and 3 x 32 x 32"
        count_records(storage, path, size=sizes[name], record_bytes=_RECORD_BYTES, what=what)
        records = np.frombuffer(read_file(storage, path), np.uint8).reshape(-1, _RECORD_BYTES)
        labels = records[:, 0].astype(np.int64)
        check_labels(labels, len(CLASSES), f"{storage.root}/{path}")
        samples += record_samples(path, labels, split=split, layout=LAYOUT, label_bytes=1)
    classes = class_names(storage, join(base, "batches.meta.txt"), CLASSES)
    return build_manifest(samples, root=storage.root, classes=classes, config=config)
