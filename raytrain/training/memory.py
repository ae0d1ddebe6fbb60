"""Whether the memory there is can hold a step at all: counted from the settings, nothing is allocated."""

import os

from pipelines.modalities import modality_of
from pipelines.storage.manifest import Manifest
from raytrain.config import RunConfig
from raytrain.config.machine import usable_memory
from raytrain.errors import ConfigError

IN_A_STEP = 1 + 4
"""times a batch is held: as it is stored, and as numbers of single precision"""
IN_AN_ESTIMATE = 2
"""times the samples are held that operators are standardised by: one by one, and joined"""


def check_memory(config: RunConfig, manifest: Manifest) -> None:
    """Raise ConfigError where samples that are held at once take more than what is free.

    That is a rank's batch, and what operators are standardised by: the least that a run takes, what an
    encoder makes of it comes on top. Where a cluster is named its nodes have the memory, and nothing is said.
    """
    free = usable_memory()
    if free is None or os.environ.get("RAY_ADDRESS"):
        return
    kind, num_samples = modality_of(config), len(manifest.indices("pretrain"))
    sample = kind.sample_bytes(config, list(config.pathways), manifest)
    batch = -(-config.training.batch_size // config.training.workers)
    estimated = min(num_samples, kind.standardiser_samples)
    for count, times, what, advice in (
        (batch, IN_A_STEP, "a batch", " or training.batch_size"),
        (estimated, IN_AN_ESTIMATE, "the estimate of the standardisers", ""),
    ):
        needed = count * times * sample
        if needed > free:
            raise ConfigError(
                f"{what} of {count} samples of {sample / 2**20:,.1f} MiB takes at least "
                f"{needed / 2**30:,.1f} GiB of memory, but {free / 2**30:,.1f} GiB are free here; lower "
                f"data.canvas_px (now {config.data.canvas_px}){advice}"
            )
