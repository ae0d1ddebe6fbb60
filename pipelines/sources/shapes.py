"""Generated shapes with known factors as a data set, see `pipelines.generated.shapes`."""

import numpy as np

from pipelines.generated.shapes import FACTORS, SCHEME, SHAPES, draw_factors
from pipelines.sources.generated import generated_table, numbered
from pipelines.storage.manifest import Manifest
from raytrain.config.data import DataConfig


def read_shapes(config: DataConfig) -> Manifest:
    """Return the manifest of the generated data set; classes are balanced."""
    shapes = config.shapes
    samples = numbered(shapes)
    uris = [f"{SCHEME}{shapes.seed}/{shapes.size_px}/{split}/{number}" for split, number in samples]
    table = generated_table(
        config,
        uris,
        scheme=SCHEME,
        splits=[split for split, _ in samples],
        labels=np.array([number % len(SHAPES) for _, number in samples], np.int64),
        factors=dict(zip(FACTORS, draw_factors(uris).T, strict=False)),
    )
    return Manifest(table=table, root=SCHEME, classes=tuple(SHAPES))
