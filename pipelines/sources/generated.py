"""What the generated data sets share: samples that are pure functions of their uris, and nothing stored."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.sources.splits import cut_splits
from pipelines.storage.manifest import table_from_columns
from raytrain.config.data import DataConfig


def numbered(settings: Any) -> list[tuple[str, int]]:
    """Return (split, number in it) of every sample that settings with `num_train` and `num_test` ask for."""
    counts = (("train", settings.num_train), ("test", settings.num_test))
    return [(split, number) for split, count in counts for number in range(count)]


def generated_table(
    config: DataConfig,
    uris: Sequence[str],
    *,
    scheme: str,
    splits: Sequence[str],
    labels: NDArray[np.int64],
    factors: Mapping[str, NDArray[Any]],
    num_events: list[int] | None = None,
) -> pa.Table:
    """Return the manifest's table: keys lack the scheme, each sample is a group, select is cut off."""
    keys = [uri.removeprefix(scheme) for uri in uris]
    cut = cut_splits(
        list(splits),
        groups=keys,
        labels=labels,
        seed=config.split_seed,
        select_fraction=config.select_fraction,
    )
    return table_from_columns(
        key=keys,
        uri=list(uris),
        label=labels,
        split=cut,
        group=keys,
        factors={name: values.astype(np.float32) for name, values in factors.items()},
        num_events=num_events,
    )
