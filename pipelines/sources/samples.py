"""From the samples that a source found to a manifest: splits cut, groups kept whole."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.sources.splits import cut_splits, divided_groups, pattern_numbers
from pipelines.storage.manifest import Manifest, table_from_columns
from raytrain.config.data import DataConfig
from raytrain.errors import DataError


@dataclass(frozen=True)
class Sample:
    """One sample as a source found it; `uri` is relative to the storage's root."""

    key: str
    uri: str
    size: int
    split: str
    label: int = -1
    group: str = ""
    """empty: the sample is a group of its own"""
    offset: int = 0
    payload: str = ""


def build_manifest(
    samples: Sequence[Sample],
    *,
    root: str,
    classes: tuple[str, ...],
    config: DataConfig,
    label_sets: NDArray[np.uint8] | None = None,
    modality: str = "image",
    notes: tuple[str, ...] = (),
) -> Manifest:
    """Return the manifest; shares of the training groups become the select and test splits that are missing.

    Shapes: `label_sets` u8[N, L] where a sample has several labels.

    Raises:
        DataError: a group lies on both sides of a split, unless data.shared_groups = drop.
    """
    groups = [sample.group or sample.key for sample in samples]
    splits = [sample.split for sample in samples]
    dropped = _check_groups(groups, splits, root=root, config=config)
    if dropped.any():
        kept = np.flatnonzero(~dropped).tolist()
        samples = [samples[row] for row in kept]
        label_sets = None if label_sets is None else label_sets[kept]
        groups, splits = [groups[row] for row in kept], [splits[row] for row in kept]
    labels = np.array([sample.label for sample in samples], np.int64)
    patterns = labels if label_sets is None else np.where(labels < 0, -1, pattern_numbers(label_sets))
    has_labels = {sample.split for sample in samples if sample.label >= 0}
    splits = cut_splits(
        splits,
        groups=groups,
        labels=patterns,
        seed=config.split_seed,
        select_fraction=0.0 if "select" in has_labels else config.select_fraction,
        test_fraction=0.0 if "test" in has_labels else config.test_fraction,
    )
    table = table_from_columns(
        key=[sample.key for sample in samples],
        uri=[sample.uri for sample in samples],
        offset=[sample.offset for sample in samples],
        bytes_=[sample.size for sample in samples],
        label=labels,
        split=splits,
        group=groups,
        label_sets=label_sets,
        payload=[sample.payload for sample in samples],
    )
    return Manifest(table=table, root=root, classes=classes, modality=modality, notes=notes)


def _check_groups(
    groups: list[str], splits: list[str], *, root: str, config: DataConfig
) -> NDArray[np.bool_]:
    """Return which samples to leave out, bool[N]: those whose group has samples to be tested on too."""
    divided, surplus = divided_groups(groups, splits)
    if divided and config.shared_groups == "refuse":
        name, homes = next(iter(divided.items()))
        raise DataError(
            f"data.root {root}: {len(divided)} groups lie in more than one split, e.g. {name} in "
            f"{' and '.join(homes)}; give each group one split, or set data.shared_groups = drop to leave "
            f"{int(surplus.sum())} samples out"
        )
    return surplus
