"""Generated clips with known motion as a data set, see `pipelines.generated.clips`."""

import numpy as np

from pipelines.generated.clips import SCHEME, ClipName
from pipelines.generated.scenes import FACTORS, KINDS, draw_factors
from pipelines.sources.generated import generated_table, numbered
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig


def read_clips(config: DataConfig) -> Manifest:
    """Return the manifest of the generated clips; classes are balanced, in each of the two containers."""
    settings = config.generated
    names = [
        ClipName(
            settings.seed,
            settings.size_px,
            settings.num_frames,
            settings.rate_hz,
            split,
            number,
            "avi" if number // len(KINDS) % 2 else "mp4",
        )
        for split, number in numbered(settings)
    ]
    table = generated_table(
        config,
        [str(name) for name in names],
        scheme=SCHEME,
        splits=[name.split for name in names],
        labels=np.array([KINDS.index(name.kind) for name in names], np.int64),
        factors=dict(zip(FACTORS, draw_factors([name.scene_name for name in names]).T, strict=False)),
    )
    return Manifest(table=table, root=SCHEME, classes=KINDS, modality="clip")
