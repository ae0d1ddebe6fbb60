"""A flat folder of images without labels: all of them for pretraining, wherever they lie below the root."""

from pipelines.sources.folder import EXTENSIONS, split_by_kind
from pipelines.sources.media import describe
from pipelines.sources.samples import Sample, build_manifest
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig
from raytrain.errors import DataError


def read_flat(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest of all images below the root, unlabelled, each a group of its own.

    Raises:
        DataError: no images.
    """
    files, others = split_by_kind(storage.all_files())
    if not files:
        raise DataError(f"data.root {storage.root}: no images ({', '.join(EXTENSIONS)}); {describe(others)}")
    samples = [Sample(file.path, file.path, file.size, "pretrain") for file in files]
    return build_manifest(samples, root=storage.root, classes=(), config=config)
