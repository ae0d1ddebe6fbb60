"""The four splits of a run from different roots, as one manifest: data.splits.

A root that has the asked split itself gives it; a root without any division gives all of its samples to the
one split that asks for it. Keys and groups get the split's name before them, so that none is shared by
chance; classes are matched by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.forms.randomness import mix
from pipelines.storage.columns import TEXT, codes_of, text_array, text_hashes
from pipelines.storage.manifest import RUN_SPLITS, Manifest, table_from_columns
from pipelines.storage.raw import RawLayout
from raytrain.config.data import DataConfig, SplitRootsConfig
from raytrain.errors import ConfigError, DataError

_ROLES = tuple(RUN_SPLITS)
_TRAINING = ("train", "pretrain", "probe_train")
"""manifest splits that are trained on; the others are measured on"""


@dataclass(frozen=True)
class _Part:
    """The samples that one root gives, with the run's split of each."""

    root: str
    manifest: Manifest
    rows: NDArray[np.int64]
    splits: pa.Array
    prefix: str

    @property
    def roles(self) -> set[str]:
        """The run's splits that have samples."""
        return set(self.splits.unique().to_pylist())


def roles_by_root(config: DataConfig) -> dict[str, tuple[str, ...]]:
    """Return the run's splits that each root is asked for, in their order; {} where there is no root."""
    roles: dict[str, tuple[str, ...]] = {}
    for role in _ROLES:
        root = (getattr(config.splits, role) or config.root).rstrip("/")
        if root:
            roles[root] = (*roles.get(root, ()), role)
    return roles


def join_manifests(
    config: DataConfig, roles: dict[str, tuple[str, ...]], read: Callable[[DataConfig], Manifest]
) -> Manifest:
    """Return one manifest of the splits of several roots.

    Raises:
        ConfigError: a root lacks the split it is named for, or has other settings than the rest.
        DataError: one file is trained on and tested on, or labels that do not go together.
    """
    parts = [_part(config, root, asked, read) for root, asked in roles.items()]
    modalities = {part.manifest.modality for part in parts}
    if len(modalities) > 1:
        raise DataError(f"data.splits: {' and '.join(sorted(modalities))} cannot be mixed; name roots of one")
    classes, several = _classes(parts)
    tables = [_table(part, classes, several=several) for part in parts]
    _check_apart(tables)
    sensors = {(part.manifest.sensor_width, part.manifest.sensor_height) for part in parts}
    if len(sensors) > 1:
        shown = " and ".join(f"{width}x{height}" for width, height in sorted(sensors))
        raise DataError(f"data.splits: sensors of {shown} px cannot be mixed; set data.events.sensor_width")
    width, height = sensors.pop()
    names = set.intersection(*(set(table.column_names) for table in tables))
    shared = [name for name in tables[0].column_names if name in names]
    return Manifest(
        table=pa.concat_tables([table.select(shared) for table in tables]),
        root="",
        classes=classes,
        modality=modalities.pop(),
        sensor_width=width,
        sensor_height=height,
        notes=tuple(note for part in parts for note in part.manifest.notes),
    )


def _part(
    config: DataConfig, root: str, asked: tuple[str, ...], read: Callable[[DataConfig], Manifest]
) -> _Part:
    alone = len(asked) == 1
    own = replace(
        config,
        root=root,
        splits=SplitRootsConfig(),
        source=config.source if root == config.root.rstrip("/") else "auto",
        select_fraction=config.select_fraction if "select" in asked and not alone else 0.0,
        test_fraction=config.test_fraction if "test" in asked and not alone else 0.0,
    )
    manifest = read(own)
    # Whoever asks for one split of data without any division means all of it.
    whole = alone and set(manifest.table["split"].unique().to_pylist()) <= {"train", "pretrain"}
    names = ("", "train", *asked)
    chosen = np.zeros(len(manifest), np.int8)
    for number, role in enumerate(asked, start=2):
        rows = _rows(manifest, role, whole=whole)
        named = getattr(config.splits, role)
        if named and not len(rows):
            raise ConfigError(f"data.splits.{role} {named}: {_lacks(manifest, role)}; name another root")
        # The one way to have two of the run's splits: pretrained on and probed with.
        chosen[rows] = np.where(chosen[rows] > 0, names.index("train"), number)
    rows = np.flatnonzero(chosen)
    splits = pa.array(names, TEXT).take(pa.array(chosen[rows]))
    return _Part(root, manifest, rows, splits, f"{asked[0]}:")


def _rows(manifest: Manifest, role: str, *, whole: bool) -> NDArray[np.int64]:
    if not whole:
        return manifest.indices(role)
    return np.flatnonzero((manifest.labels >= 0) | (role == "pretrain")).astype(np.int64)


def _lacks(manifest: Manifest, role: str) -> str:
    if role != "pretrain" and not (manifest.labels >= 0).any():
        return f"holds no labels, which {role} needs"
    splits = ", ".join(sorted(manifest.table["split"].unique().to_pylist()))
    return f"holds no samples for {role}, only {splits}"


def _classes(parts: list[_Part]) -> tuple[tuple[str, ...], bool]:
    """Return the class names of what is probed, or of all where nothing is, and whether a sample has several.

    Samples that are only pretrained on and have other labels count as unlabelled.
    """
    labelled = [part for part in parts if part.manifest.classes and part.roles - {"pretrain"}]
    labelled = labelled or [part for part in parts if part.manifest.classes]
    kinds = {part.manifest.label_matrix is not None for part in labelled}
    if len(kinds) > 1:
        raise DataError(
            f"data.splits: {' and '.join(part.root for part in labelled)} have one label a sample here, "
            "several there; name roots of one kind"
        )
    first = labelled[0] if labelled else None
    for part in labelled[1:]:
        assert first is not None
        shared = set(part.manifest.classes) & set(first.manifest.classes)
        different = set(part.manifest.classes) != set(first.manifest.classes)
        if not shared or (kinds == {True} and different):
            raise DataError(
                f"data.splits: the classes of {part.root} ({_shown(part)}) are not those of {first.root} "
                f"({_shown(first)}); classes are matched by name, rename them"
            )
    names = list(first.manifest.classes) if first else []
    for part in labelled[1:]:
        names += [name for name in part.manifest.classes if name not in names]
    return tuple(names), kinds == {True}


def _shown(part: _Part) -> str:
    classes = part.manifest.classes
    return ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")


def _labels(
    part: _Part, classes: tuple[str, ...], *, several: bool
) -> tuple[NDArray[np.int64], NDArray[np.uint8] | None]:
    """Return a part's labels in the joined classes, i64[n], and its label matrix u8[n, L] if any."""
    manifest, labels = part.manifest, part.manifest.labels[part.rows]
    none = np.full(len(labels), -1, np.int64)
    if not several:
        numbers = [classes.index(name) if name in classes else -1 for name in manifest.classes]
        return (np.array([*numbers, -1])[labels] if manifest.label_matrix is None else none), None
    if manifest.label_matrix is None or set(manifest.classes) != set(classes):
        return none, np.zeros((len(labels), len(classes)), np.uint8)
    columns = [manifest.classes.index(name) for name in classes]
    return labels, manifest.label_matrix[part.rows][:, columns]


def _table(part: _Part, classes: tuple[str, ...], *, several: bool) -> pa.Table:
    """Return a part's rows with places that need no root, and labels in the joined classes."""
    manifest = part.manifest
    table = manifest.table.take(pa.array(part.rows))
    labels, label_sets = _labels(part, classes, several=several)
    uris = text_array(table["uri"])
    joined = table_from_columns(
        key=_behind(part.prefix, table["key"]),
        uri=pc.if_else(pc.match_substring(uris, "://"), uris, _behind(manifest.root.rstrip("/") + "/", uris)),
        offset=table["offset"].to_numpy(),
        bytes_=table["bytes"].to_numpy(),
        checksum=table["checksum"],
        label=labels,
        split=part.splits,
        group=_behind(part.prefix, table["group"]),
        factors={name: table[name].to_numpy() for name in manifest.factor_names},
        label_sets=label_sets,
        num_events=None if manifest.num_events is None else manifest.num_events[part.rows],
    )
    return joined.append_column("payload", _payloads(manifest, table))


def _behind(prefix: str, texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(pa.scalar(prefix, TEXT), text_array(texts), pa.scalar("", TEXT))


def _payloads(manifest: Manifest, table: pa.Table) -> pa.Array:
    """Return how each sample is stored, in words that need no manifest."""
    if "payload" not in table.column_names:
        return pa.array([_kind(manifest, "")] * len(table), TEXT)
    codes, words = codes_of(text_array(table["payload"]).fill_null(""))
    kinds = [_kind(manifest, word) for word in words.to_pylist()]
    return pa.array(kinds, TEXT).take(pa.array(codes))


def _kind(manifest: Manifest, payload: str) -> str:
    kind = payload or manifest.payload
    if kind == "uint8":
        return str(RawLayout("chw", (3, manifest.canvas_px, manifest.canvas_px)))
    return "" if kind == "encoded" else kind


def _check_apart(tables: list[pa.Table]) -> None:
    """Raise DataError where one stored sample is trained on and measured on."""
    places = pa.concat_tables([table.select(["uri", "offset", "split"]) for table in tables])
    hashes = text_hashes(places["uri"]) ^ mix(places["offset"].to_numpy().astype(np.uint64))
    ordered = np.sort(hashes)
    shared = np.isin(hashes, ordered[1:][ordered[1:] == ordered[:-1]])
    homes: dict[tuple[str, int], str] = {}
    columns = (column.to_pylist() for column in places.filter(pa.array(shared)).columns)
    for uri, offset, split in zip(*columns, strict=True):
        former = homes.setdefault((uri, offset), split)
        if former != split and not {former, split} <= set(_TRAINING):
            raise DataError(
                f"data.splits: {uri} is in {former} and in {split}; name roots without common files"
            )


assert tuple(field.name for field in fields(SplitRootsConfig)) == _ROLES
