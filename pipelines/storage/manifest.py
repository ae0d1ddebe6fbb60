"""The manifest: one row a sample, everything that is known of the data without opening it."""

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.forms.quarantine import BadSample
from pipelines.storage.columns import (
    TEXT,
    Texts,
    codes_of,
    compact,
    repeated,
    text_array,
    update_digest,
)
from pipelines.storage.fingerprint import (
    Fingerprint,
    digest_contents,
    digest_files,
    sampled,
    unchecked_rows,
)
from pipelines.storage.inside import check_inside
from pipelines.storage.places import Storage
from pipelines.storage.raw import RawLayout
from pipelines.storage.rows import Row, Rows
from raytrain.errors import DataError

Int64s = NDArray[np.int64]
Numbers: TypeAlias = list[int] | Int64s
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
    "key": TEXT,
    "uri": TEXT,
    "offset": pa.int64(),
    "bytes": pa.int64(),
    "checksum": TEXT,
    "label": pa.int64(),
    "split": TEXT,
    "group": TEXT,
}
_OPTIONAL = ("labels", "payload", "num_events")
_HASHED = ("key", "bytes", "checksum", "label", "split", "group")
_CODED = ("uri", "split", "group", "payload")
"""columns that are kept as numbers and a dictionary where few texts repeat"""
_LIKE_KEYS = ("uri", "group")
"""columns that are often the keys over again, as in a class folder: kept, sent and written once"""
_SHOWN_CLASSES = 10
_METADATA, _COPIES = b"raytrain", b"raytrain.copies"


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
        object.__setattr__(self, "table", pa.table(_compacted(self.table.column_names, self.table.column)))
        unknown = set(codes_of(self.table["split"])[1].to_pylist()) - set(SPLITS)
        if unknown:
            raise DataError(
                f"{self.root}: unknown split {min(unknown)!r} in the manifest; known: {', '.join(SPLITS)}"
            )
        if again := repeated(self.table["key"]):
            raise DataError(
                f"{self.root}: {again[0]} duplicate keys in the manifest, e.g. {again[1]!r}; "
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
        """Leave out what can be made of the table again, and columns that are the keys over again."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        looked = {name: self.__dict__[name] for name in ("fingerprint",) if name in self.__dict__}
        return kept | looked | {"table": _without_copies(self.table)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what `__getstate__` gave."""
        self.__dict__.update(state | {"table": _with_copies(state["table"])})

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Names of the factor columns, in their order."""
        known = (*_COLUMNS, *_OPTIONAL)
        return tuple(name for name in self.table.column_names if name not in known)

    def keys_of(self, rows: Int64s | None = None) -> list[str]:
        """Return the keys of some rows i64[n], in their order; None: of all, which may be many."""
        column = self.table["key"]
        keys: list[str] = (column if rows is None else column.take(pa.array(rows, pa.int64()))).to_pylist()
        return keys

    def rows_of(self, keys: Collection[str]) -> Int64s:
        """Return the rows of some keys, ascending, i64[n]; keys that are not there are left out."""
        found = pc.is_in(self.table["key"], pa.array(list(keys), TEXT))
        return np.flatnonzero(found.to_numpy())

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
        if self.table["group"].equals(self.table["key"]):
            return np.arange(len(self))
        return codes_of(self.table["group"])[0].astype(np.int64)

    @cached_property
    def factors(self) -> NDArray[np.float32]:
        """Known factors of every sample, f32[N, F]."""
        columns = [np.asarray(self.table[name].to_numpy(), np.float32) for name in self.factor_names]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self), 0), np.float32)

    @property
    def hash(self) -> str:
        """SHA-256 over what the samples are (not where they lie), hex; see `Fingerprint`."""
        return self.fingerprint.hash

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What identifies the data; looks at the files of samples without a checksum.

        Raises:
            StorageError: storage failed for longer than the retries.
        """
        samples, unchecked = self._digest(), unchecked_rows(self.table)
        if not len(unchecked):
            return Fingerprint(samples=samples)
        storage, looked_at = Storage(self.root), self.rows(sampled(unchecked))
        table = self.table.select(["uri", "offset", "bytes"])
        if len(unchecked) < len(self):
            table = table.take(pa.array(unchecked))
        return Fingerprint(
            samples=samples,
            files=digest_files(table, looked_at.uris, storage),
            contents=digest_contents(looked_at, storage),
        )

    def _digest(self) -> str:
        """Return the SHA-256 of what the table says of the samples, hex."""
        digest = hashlib.sha256(json.dumps([self.classes, self.modality, self.factor_names]).encode())
        optional = [name for name in ("payload", "num_events") if name in self.table.column_names]
        for name in (*_HASHED, *optional, *self.factor_names):
            update_digest(digest, name, self.table[name])
        digest.update(json.dumps(self.label_sets.shape).encode())
        digest.update(self.label_sets.tobytes())
        return digest.hexdigest()

    def indices(self, run_split: str) -> Int64s:
        """Return the rows of a run's split, ascending, i64[n]; only `pretrain` has unlabelled samples."""
        if run_split not in RUN_SPLITS:
            raise ValueError(f"unknown split {run_split!r}; known: {', '.join(RUN_SPLITS)}")
        if run_split not in self._masks:
            codes, names = codes_of(self.table["split"])
            wanted = [name in RUN_SPLITS[run_split] for name in names.to_pylist()]
            chosen = np.array(wanted, np.bool_)[codes]
            self._masks[run_split] = chosen if run_split == "pretrain" else chosen & (self.labels >= 0)
        return np.flatnonzero(self._masks[run_split])

    @cached_property
    def _masks(self) -> dict[str, NDArray[np.bool_]]:
        """Which rows each run's split has, bool[N], as far as anybody asked."""
        return {}

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
        table = _without_copies(self.table)
        metadata = (table.schema.metadata or {}) | {_METADATA: json.dumps(header).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
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
            table = _read_columns(pq.ParquetFile(pa.BufferReader(data)))
            header = json.loads((table.schema.metadata or {})[_METADATA])
            header["root"] = header["root"] or folder or "."
            header["classes"] = tuple(header["classes"])
            header["notes"] = tuple(header.get("notes", ()))
        except BadSample as error:
            raise DataError(f"{path}: {error.reason}") from None
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: not a manifest of raytrain ({type(error).__name__}); run `raytrain prepare` again"
            ) from None
        del data
        manifest = cls(table=table, **header)
        check_inside(manifest.table["uri"], path, schemes=schemes)
        return manifest


def class_names(classes: tuple[str, ...]) -> str:
    """Return the first ten classes in words, so that a folder that is none is seen."""
    more = f", ... ({len(classes)} in all)" if len(classes) > _SHOWN_CLASSES else ""
    return ", ".join(classes[:_SHOWN_CLASSES]) + more


def _read_columns(file: pq.ParquetFile) -> pa.Table:
    """Return a manifest's table, read column by column: no two are held in a form that is not kept."""
    schema = file.schema_arrow
    columns = _compacted(schema.names, lambda name: file.read([name], use_threads=False)[name])
    return _with_copies(pa.table(columns, metadata=schema.metadata))


def _compacted(names: list[str], column_of: Callable[[str], pa.ChunkedArray]) -> dict[str, pa.ChunkedArray]:
    """Return columns that take little memory, each in one piece; no two are held as they were before."""
    key = compact(column_of("key"), coded=False)
    others = {
        name: compact(column_of(name), coded=name in _CODED, like=key if name in _LIKE_KEYS else None)
        for name in names
        if name != "key"
    }
    columns = others | {"key": key}
    return {name: columns[name] for name in names}


def _without_copies(table: pa.Table) -> pa.Table:
    """Return a table without the columns that are the keys over again; its metadata name them."""
    again = [name for name in _LIKE_KEYS if table[name].equals(table["key"])]
    order = json.dumps([table.column_names, again])
    return table.drop_columns(again).replace_schema_metadata({_COPIES: order.encode()})


def _with_copies(table: pa.Table) -> pa.Table:
    """Undo `_without_copies`; a table of an earlier version has every column."""
    metadata = dict(table.schema.metadata or {})
    if _COPIES not in metadata:
        return table
    order, again = json.loads(metadata.pop(_COPIES))
    columns = {name: table["key" if name in again else name] for name in order}
    return pa.table(columns, metadata=metadata)


def table_from_columns(
    *,
    key: Texts,
    uri: Texts,
    label: Numbers,
    split: Texts,
    group: Texts,
    offset: Numbers | None = None,
    bytes_: Numbers | None = None,
    checksum: Texts | None = None,
    factors: dict[str, NDArray[np.float32]] | None = None,
    label_sets: UInt8s | None = None,
    payload: Texts | None = None,
    num_events: Numbers | None = None,
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
        "offset": np.zeros(count, np.int64) if offset is None else offset,
        "bytes": np.full(count, -1) if bytes_ is None else bytes_,
        "checksum": [""] * count if checksum is None else checksum,
        "label": label,
        "split": split,
        "group": group,
    }
    arrays = {
        name: text_array(columns[name]) if kind == TEXT else pa.array(columns[name], kind)
        for name, kind in _COLUMNS.items()
    }
    arrays |= {name: pa.array(values, pa.float32()) for name, values in (factors or {}).items()}
    if label_sets is not None:
        arrays["labels"] = labels_column(label_sets)
    if payload is not None and any(payload):
        arrays["payload"] = text_array(payload)
    if num_events is not None:
        arrays["num_events"] = pa.array(num_events, pa.int64())
    return pa.table(arrays)


def labels_column(label_sets: UInt8s) -> pa.Array:
    """Return a label matrix u8[N, L] as the fixed-size `labels` column."""
    flat = pa.array(np.ascontiguousarray(label_sets, np.uint8).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, label_sets.shape[1])
