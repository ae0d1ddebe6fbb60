"""Whether the memory there is can hold a step at all: counted from the settings, nothing is allocated."""

from collections.abc import Sequence

import torch

from pipelines.modalities import modality_of
from pipelines.storage.manifest import Manifest
from raytrain.config import RunConfig
from raytrain.config.machine import usable_memory
from raytrain.encoders import ENCODERS
from raytrain.errors import ConfigError
from raytrain.training.allotment import Node

IN_A_STEP = 1 + 4
"""times a batch is held: as it is stored, and as numbers of single precision"""
BYTES_A_WEIGHT = 4 * 4
"""itself, its gradient and Adam's two moments"""
IN_AN_ESTIMATE = 2
"""times the samples are held that operators are standardised by: one by one, and joined"""


def check_estimate(config: RunConfig, manifest: Manifest) -> None:
    """Raise ConfigError where what operators are standardised by takes more memory than is free here.

    It is estimated in this process, whichever cluster trains.
    """
    count = min(len(manifest.indices("pretrain")), modality_of(config).standardiser_samples)
    what = f"the estimate of the standardisers of {count} samples"
    _check(config, manifest, what, held=count * IN_AN_ESTIMATE, free=usable_memory(), where="free here")


def check_training(config: RunConfig, manifest: Manifest, nodes: Sequence[Node], *, here: str = "") -> None:
    """Raise ConfigError where no machine has the memory for a rank's batch, or for a pathway's weights.

    That is the least that a step takes: what an encoder makes of a batch comes on top. Nothing is said where
    the memory of a machine is not known. here: what is done on this machine; empty: it trains.
    """
    known = [node.memory for node in nodes if node.memory is not None]
    if len(known) < len(nodes):
        return
    free = max(known)
    where = f"free on the largest of {len(nodes)} machines" if len(nodes) > 1 else f"free{here}"
    _check_weights(config, free, where)
    count = -(-config.training.batch_size // config.training.workers)
    what, advice = f"a batch of {count} samples", " or training.batch_size"
    _check(config, manifest, what, held=count * IN_A_STEP, free=free, where=where, advice=advice)


def _check_weights(config: RunConfig, free: float, where: str) -> None:
    for name, pathway in config.pathways.items():
        with torch.device("meta"):  # counted, not allocated
            encoder = ENCODERS[pathway.encoder.name](pathway.encoder, in_channels=1)
        held = BYTES_A_WEIGHT * sum(weights.numel() for weights in encoder.parameters())
        if held > free:
            raise ConfigError(
                f"the weights of pathways.{name}.encoder take at least {held / 2**30:,.1f} GiB of memory as "
                f"they are trained, but {free / 2**30:,.1f} GiB are {where}; lower its width"
            )


def _check(
    config: RunConfig,
    manifest: Manifest,
    what: str,
    *,
    held: int,
    free: float | None,
    where: str,
    advice: str = "",
) -> None:
    """Raise ConfigError where `held` samples are larger than the bytes that are free; None: not known."""
    sample = modality_of(config).sample_bytes(config, list(config.pathways), manifest)
    if free is not None and held * sample > free:
        raise ConfigError(
            f"{what} of {sample / 2**20:,.1f} MiB takes at least {held * sample / 2**30:,.1f} GiB of memory, "
            f"but {free / 2**30:,.1f} GiB are {where}; lower data.canvas_px (now {config.data.canvas_px})"
            f"{advice}"
        )
