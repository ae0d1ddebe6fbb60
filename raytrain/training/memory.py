"""Whether the memory there is can hold a step at all: counted from the settings, nothing is allocated."""

import os

from pipelines.modalities import modality_of
from pipelines.storage.manifest import Manifest
from raytrain.config import RunConfig
from raytrain.config.machine import usable_memory
from raytrain.errors import ConfigError

BYTES_A_VALUE = 1 + 4
"""as it is stored, and as a number of single precision"""


def check_memory(config: RunConfig, manifest: Manifest) -> None:
    """Raise ConfigError where a rank's batch alone, as bytes and as numbers, is larger than what is free.

    It is the least that a step takes: what an encoder makes of it comes on top. Where a cluster is named its
    nodes have the memory, and nothing is said.
    """
    free = usable_memory()
    if free is None or os.environ.get("RAY_ADDRESS"):
        return
    sample = modality_of(config).sample_bytes(config, list(config.pathways), manifest)
    count = -(-config.training.batch_size // config.training.workers)
    needed = count * sample * BYTES_A_VALUE
    if needed > free:
        raise ConfigError(
            f"a batch of {count} samples of {sample / 2**20:,.1f} MiB takes at least {needed / 2**30:,.1f} "
            f"GiB of memory, but {free / 2**30:,.1f} GiB are free here; lower data.canvas_px (now "
            f"{config.data.canvas_px}) or training.batch_size"
        )
