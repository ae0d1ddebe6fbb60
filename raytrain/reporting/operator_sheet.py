"""The contact sheet of a data set: what each operator of some pathways makes of its first samples."""

from pathlib import Path
from typing import Any

import torch

from pipelines.manifest import Manifest
from pipelines.operators import build_operator
from pipelines.stream import first_samples
from raytrain.config import RunConfig
from raytrain.reporting.contact_sheet import contact_sheet

MAX_TITLE = 16  # characters beside a row


def operator_sheet(config: RunConfig, manifest: Manifest, path: Path, *, num_samples: int) -> None:
    """Draw the first samples of the pretrain split, and what each pathway's operator makes of them."""
    chunk = first_samples(manifest, config.data, seed=config.seed, count=num_samples)
    images = torch.from_numpy(chunk.images)
    operators = {pathway.operator.name: pathway.operator for pathway in config.pathways.values()}
    columns: dict[str, Any] = {
        name: build_operator(operator)(images).numpy() for name, operator in operators.items()
    }
    titles = [Path(key).stem[-MAX_TITLE:] for key in chunk.keys]
    contact_sheet(chunk.images, columns, str(path), row_titles=titles)
