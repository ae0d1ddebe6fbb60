"""The manifest: one row a sample, everything that is known of the data without opening it."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.forms.quarantine import BadSample
from pipelines.forms.randomness import hash_keys
from pipelines.storage.inside import check_inside
from pipelines.storage.places import Storage
from pipelines.storage.raw import RawLayout
from pipelines.storage.rows import Row, Rows
from raytrain.errors import DataError

Int64s = NDArray[np.int64]
UInt8s = NDArray[np.uint8]

MANIFEST_FILE = "manifest.parquet"
SPLITS = ("train", "pretrain", "probe_train", "select", "test")
RUN_SPLITS = {
    "pretrain": ("train", "pretrain"),
    "probe_train": ("train", "probe_train"),
    "select": ("select",),
    "test": ("test",),
}
"""which manifest splits feed each split of a run"""

_COLUMNS = {
    "key": pa.string(),
    "uri": pa.string(),
    "offset": pa.int64(),
    "bytes": pa.int64(),
    "checksum": pa.string(),
    "label": pa.int64(),
    "split": pa.string(),
    "group": pa.string(),
}
_OPTIONAL = ("labels", "payload", "num_events")
_HASHED = ("key", "bytes", "checksum", "label", "split", "group")
_METADATA = b"raytrain"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A data set's samples; see `table_from_columns` for the columns."""

    table: pa.Table
    root: str
    """folder or URI that each `uri` is relative to"""
    classes: tuple[str, ...] = ()
    modality: str = "image"
    payload: str = "encoded"
    """encoded: files as they were; uint8: raw u8[3, canvas, canvas]; a `payload` column overrides it"""
    canvas_px: int = 0
    """side of uint8 payloads"""
    fit: str = ""
    """how uint8 payloads were brought to the canvas"""
    sensor_width: int = 0
    """of event recordings, in px; 0: not known"""
    sensor_height: int = 0
    request: str = ""
    """what `prepare` was asked for; empty: not prepared"""
    notes: tuple[str, ...] = ()
    """what the source left out or did otherwise than might be expected, in words"""

    def __post_init__(self) -> None:
        missing = [name for name in _COLUMNS if name not in self.table.column_names]
        if missing:
            raise DataError(
                f"{self.root}: the manifest lacks the columns {', '.join(missing)}; prepare it again"
            )
        # One piece a column: rows are looked up one by one.
        object.__setattr__(self, "table", self.table.combine_chunks())
        unknown = set(self.table["split"].unique().to_pylist()) - set(SPLITS)
        if unknown:
            raise DataError(
                f"{self.root}: unknown split {min(unknown)!r} in the manifest; known: {', '.join(SPLITS)}"
            )
        counts = self.table["key"].value_counts()
        if len(counts) < len(self):
            key = next(item["values"] for item in counts.to_pylist() if item["counts"] > 1)
            raise DataError(
                f"{self.root}: {len(self) - len(counts)} duplicate keys in the manifest, e.g. {key!r}; "
                "every sample needs a key of its own"
            )
        if self.label_matrix is not None and self.label_matrix.shape[1] != len(self.classes):
            raise DataError(
                f"{self.root}: {self.label_matrix.shape[1]} labels a sample in the manifest, but "
                f"{len(self.classes)} class names; prepare it again"
            )

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the list of keys, which the table holds more compactly."""
        return {name: value for name, value in self.__dict__.items() if name != "keys"}

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Names of the factor columns, in their order."""
        known = (*_COLUMNS, *_OPTIONAL)
        return tuple(name for name in self.table.column_names if name not in known)

    @cached_property
    def keys(self) -> list[str]:
        """Every sample's key."""
        keys: list[str] = self.table["key"].to_pylist()
        return keys

    @cached_property
    def key_hashes(self) -> NDArray[np.uint64]:
        """64-bit hash of every key, u64[N]."""
        return hash_keys(self.keys)

    @cached_property
    def labels(self) -> Int64s:
        """Class number of every sample, i64[N]; -1: none; 0 where it has several labels."""
        labels = np.asarray(self.table["label"].to_numpy(), np.int64)
        return labels if self.label_matrix is None else np.where(labels < 0, -1, 0)

    @cached_property
    def label_matrix(self) -> UInt8s | None:
        """Whether each sample has each label, u8[N, L] of 0 and 1; None: at most one label a sample."""
        if "labels" not in self.table.column_names:
            return None
        column = self.table["labels"].combine_chunks()
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.uint8)
        return flat.reshape(len(self), column.type.list_size)

    @cached_property
    def label_sets(self) -> UInt8s:
        """The label matrix u8[N, L]; L = 0 where there is none."""
        return np.zeros((len(self), 0), np.uint8) if self.label_matrix is None else self.label_matrix

    def payload_of(self, row: int) -> str:
        """Return how a sample is stored: encoded, uint8, or a raw layout such as u8:chw:3x32x32."""
        if "payload" not in self.table.column_names:
            return self.payload
        return self.table["payload"][row].as_py() or self.payload

    def rows(self, numbers: Int64s) -> Rows:
        """Return some rows by plain values, in the order of their numbers i64[n]; the others cost nothing."""
        taken = self.table.take(pa.array(numbers))
        labels = np.asarray(taken["label"].to_numpy(), np.int64)
        label_sets = self.label_sets[numbers]
        factors = [np.asarray(taken[name].to_numpy(), np.float32) for name in self.factor_names]
        return Rows(
            numbers=np.asarray(numbers, np.int64),
            keys=taken["key"].to_pylist(),
            uris=taken["uri"].to_pylist(),
            offsets=np.asarray(taken["offset"].to_numpy(), np.int64),
            sizes=np.asarray(taken["bytes"].to_numpy(), np.int64),
            checksums=taken["checksum"].to_pylist(),
            payloads=self._payloads(taken),
            labels=labels if self.label_matrix is None else np.where(labels < 0, -1, 0),
            label_sets=label_sets,
            groups=self.group_ids[numbers],
            factors=np.stack(factors, axis=1) if factors else np.zeros((len(numbers), 0), np.float32),
            sensor=(self.sensor_width, self.sensor_height),
        )

    def row(self, number: int) -> Row:
        """Return one row by plain values."""
        return self.rows(np.array([number], np.int64))[0]

    def _payloads(self, taken: pa.Table) -> list[str]:
        """Return how each of some rows is stored, canvases as the raw pixels that they are."""
        own = self.payload
        if own == "uint8":
            own = str(RawLayout("chw", (3, self.canvas_px, self.canvas_px)))
        if "payload" not in taken.column_names:
            return [own] * len(taken)
        return [word or own for word in taken["payload"].to_pylist()]

    @cached_property
    def num_events(self) -> Int64s | None:
        """Events of every recording, i64[N], -1 where not known yet; None: no recordings of events.

        Before `prepare` it is what a file's size says, which counts marks of the clock as events.
        """
        if "num_events" not in self.table.column_names:
            return None
        return np.asarray(self.table["num_events"].to_numpy(), np.int64)

    @cached_property
    def group_ids(self) -> Int64s:
        """Dense number of every sample's group, i64[N], in the order of first appearance."""
        encoded = self.table["group"].combine_chunks().dictionary_encode()
        encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
        return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)

    @cached_property
    def factors(self) -> NDArray[np.float32]:
        """Known factors of every sample, f32[N, F]."""
        columns = [np.asarray(self.table[name].to_numpy(), np.float32) for name in self.factor_names]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self), 0), np.float32)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over what the samples are (not where they lie), hex."""
        digest = hashlib.sha256(json.dumps([self.classes, self.modality, self.factor_names]).encode())
        optional = [name for name in ("payload", "num_events") if name in self.table.column_names]
        for name in (*_HASHED, *optional):
            column = self.table[name]
            if pa.types.is_string(column.type):
                texts = [text.encode() for text in column.to_pylist()]
                digest.update(np.array([len(text) for text in texts], "<i8").tobytes() + b"".join(texts))
            else:
                digest.update(column.to_numpy().astype("<i8").tobytes())
        digest.update(self.factors.astype("<f4").tobytes())
        digest.update(self.label_sets.tobytes())
        return digest.hexdigest()

    def indices(self, run_split: str) -> Int64s:
        """Return the rows of a run's split, ascending, i64[n]; only `pretrain` has unlabelled samples."""
        if run_split not in RUN_SPLITS:
            raise ValueError(f"unknown split {run_split!r}; known: {', '.join(RUN_SPLITS)}")
        splits = self.table["split"].to_numpy()
        chosen = np.isin(splits.astype("U16"), RUN_SPLITS[run_split])
        if run_split != "pretrain":
            chosen &= self.labels >= 0
        return np.flatnonzero(chosen).astype(np.int64)

    def save(self, path: str) -> None:
        """Write the manifest as Parquet, whole or not at all.

        Raises:
            StorageError: the disk is full or the place cannot be written.
        """
        folder, _, name = path.rpartition("/")
        Storage(folder).write_atomic(name, self.to_bytes())

    def to_bytes(self, *, root: str | None = None) -> bytes:
        """Return the manifest as Parquet; root "": wherever the manifest will lie."""
        header = {
            "root": self.root if root is None else root,
            "classes": self.classes,
            "modality": self.modality,
            "payload": self.payload,
            "canvas_px": self.canvas_px,
            "fit": self.fit,
            "sensor_width": self.sensor_width,
            "sensor_height": self.sensor_height,
            "request": self.request,
            "notes": self.notes,
        }
        sink = pa.BufferOutputStream()
        table = self.table.replace_schema_metadata({_METADATA: json.dumps(header).encode()})
        pq.write_table(table, sink, compression="zstd")
        return bytes(sink.getvalue())

    @classmethod
    def load(cls, path: str, *, schemes: Collection[str] = ()) -> "Manifest":
        """Read a manifest.

        Args:
            schemes: of uris that name no file but a sample that is made.

        Raises:
            DataError: the file is missing, broken, not a manifest, or names files outside of its root.
        """
        folder, _, name = path.rpartition("/")
        try:
            data = Storage(folder).read_bytes(name)
            table = pq.read_table(pa.BufferReader(data))
            header = json.loads((table.schema.metadata or {})[_METADATA])
            header["root"] = header["root"] or folder or "."
            header["classes"] = tuple(header["classes"])
            header["notes"] = tuple(header.get("notes", ()))
        except BadSample as error:
            raise DataError(f"{path}: {error.reason}") from None
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise DataError(
                f"{path}: not a manifest of raytrain ({type(error).__name__}); run `raytrain prepare` again"
            ) from None
        manifest = cls(table=table.replace_schema_metadata(None), **header)
        check_inside(manifest.table["uri"], path, schemes=schemes)
        return manifest


def table_from_columns(
    *,
    key: list[str],
    uri: list[str],
    label: list[int] | Int64s,
    split: list[str],
    group: list[str],
    offset: list[int] | None = None,
    bytes_: list[int] | None = None,
    checksum: list[str] | None = None,
    factors: dict[str, NDArray[np.float32]] | None = None,
    label_sets: UInt8s | None = None,
    payload: list[str] | None = None,
    num_events: list[int] | Int64s | None = None,
) -> pa.Table:
    """Return a manifest's table.

    key: unique name of the sample; uri: relative to the root; offset, bytes: where the payload lies in the
    file (offset 0: the whole file; bytes -1: unknown); checksum: BLAKE2b-128, hex ("": unknown); label: -1
    none; split: one of SPLITS; group: track, source video or object, never divided between splits;
    label_sets: u8[N, L] of 0 and 1, where a sample has several labels (label is then 0, or -1 for none);
    payload: how the sample is stored where that is not the manifest's own (""); num_events: of recordings of
    events, -1 where not known.
    """
    count = len(key)
    columns = {
        "key": key,
        "uri": uri,
        "offset": [0] * count if offset is None else offset,
        "bytes": [-1] * count if bytes_ is None else bytes_,
        "checksum": [""] * count if checksum is None else checksum,
        "label": label,
        "split": split,
        "group": group,
    }
    arrays = {name: pa.array(columns[name], kind) for name, kind in _COLUMNS.items()}
    arrays |= {name: pa.array(values, pa.float32()) for name, values in (factors or {}).items()}
    if label_sets is not None:
        arrays["labels"] = labels_column(label_sets)
    if payload is not None and any(payload):
        arrays["payload"] = pa.array(payload, pa.string())
    if num_events is not None:
        arrays["num_events"] = pa.array(num_events, pa.int64())
    return pa.table(arrays)


def labels_column(label_sets: UInt8s) -> pa.Array:
    """Return a label matrix u8[N, L] as the fixed-size `labels` column."""
    flat = pa.array(np.ascontiguousarray(label_sets, np.uint8).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, label_sets.shape[1])
