"""STL-10: its binary files (train_X.bin, unlabeled_X.bin, ...) read by offset, or its images in folders.

An image is 3 x 96 x 96 bytes, each channel column by column; labels are 1..10. The unlabelled images are
for pretraining. As folders: train/<class>/, test/<class>/, unlabeled/; without these, no image has a label.
Source: Coates, Lee, Ng, "An analysis of single-layer networks", AISTATS 2011.
"""

import numpy as np

from pipelines.sources.flat import read_flat
from pipelines.sources.folder import has_ready_split, read_folder
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

LAYOUT = RawLayout("cwh", (3, 96, 96))
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
_BASES = ("", "stl10_binary")
_FILES = {"train_X.bin": "train", "test_X.bin": "test", "unlabeled_X.bin": "pretrain"}


def detect(storage: Storage) -> bool:
    """Return whether the root holds the binary files."""
    return find_base(storage, _BASES, tuple(_FILES)) is not None


def read_stl10(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest of the binary files, or of the folders where there are none.

    Raises:
        DataError: a file is cut off, lacks its labels, or holds other numbers than its labels; no images.
    """
    base = find_base(storage, _BASES, tuple(_FILES))
    if base is None:
        return read_folder(config, storage) if has_ready_split(storage) else read_flat(config, storage)
    sizes = file_sizes(storage, base)
    samples: list[Sample] = []
    for name, split in _FILES.items():
        if name in sizes:
            samples += _read_file(storage, base, name, split, sizes)
    classes = class_names(storage, join(base, "class_names.txt"), CLASSES)
    labelled = any(sample.label >= 0 for sample in samples)
    return build_manifest(samples, root=storage.root, classes=classes if labelled else (), config=config)


def _read_file(storage: Storage, base: str, name: str, split: str, sizes: dict[str, int]) -> list[Sample]:
    path = join(base, name)
    what = "3 x 96 x 96"
    count = count_records(storage, path, size=sizes[name], record_bytes=LAYOUT.num_bytes, what=what)
    if split == "pretrain":
        labels = np.full(count, -1, np.int64)
    else:
        list_name = name.replace("_X", "_y")
        if list_name not in sizes:
            raise DataError(f"{storage.root}/{path}: {list_name} is missing beside it; download it too")
        where = join(base, list_name)
        labels = np.frombuffer(read_file(storage, where), np.uint8).astype(np.int64) - 1
        if len(labels) != count:
            raise DataError(
                f"{storage.root}/{path}: {count} images, but {len(labels)} labels in {list_name}; one of "
                "them is cut off, download both again"
            )
        check_labels(labels, len(CLASSES), f"{storage.root}/{where}", first=1)
    return list(record_samples(path, labels, split=split, layout=LAYOUT))
