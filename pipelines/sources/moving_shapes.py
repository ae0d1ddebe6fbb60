"""Generated recordings of moving shapes as a data set, see `pipelines.generated.moving_shapes`."""

import numpy as np

from pipelines.generated.moving_shapes import FACTORS, MOTIONS, SCHEME, RecordingName, draw_factors
from pipelines.sources.generated import generated_table, numbered
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig


def read_moving_shapes(config: DataConfig) -> Manifest:
    """Return the manifest of the generated recordings; classes are balanced."""
    settings = config.moving_shapes
    names = [
        RecordingName(settings.seed, settings.size_px, settings.duration_ms, split, number)
        for split, number in numbered(settings)
    ]
    table = generated_table(
        config,
        [str(name) for name in names],
        scheme=SCHEME,
        splits=[name.split for name in names],
        labels=np.array([MOTIONS.index(name.motion) for name in names], np.int64),
        factors=dict(zip(FACTORS, draw_factors([name.scene for name in names]).T, strict=False)),
        num_events=[-1] * len(names),
    )
    return Manifest(
        table=table,
        root=SCHEME,
        classes=MOTIONS,
        modality="events",
        sensor_width=settings.size_px,
        sensor_height=settings.size_px,
    )
