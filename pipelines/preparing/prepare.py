"""`raytrain prepare`: walk a data set once, check every sample, write a manifest and, if asked, shards.

The work is kept in parts below out/.prepare, and the manifest is written last: a folder with a manifest is
complete, and the same command goes on where it stopped.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.decode.read_events import sensor_size
from pipelines.forms.quarantine import QuarantineEntry, allowed, to_lines
from pipelines.generated import MAKERS, is_generated
from pipelines.modalities import MODALITIES
from pipelines.modalities.base import Examined
from pipelines.preparing.entry import PART_SCHEMA, Entry
from pipelines.preparing.events import (
    event_entries,
    name_pieces,
    pack_part,
    whole_recordings,
)
from pipelines.preparing.examine import examine_rows
from pipelines.sources import PREPARE_FOLDER, absolute_root, open_manifest, open_storage
from pipelines.storage.archive import is_gzipped, unpack_gzip
from pipelines.storage.columns import text_array
from pipelines.storage.inside import under_one_root
from pipelines.storage.manifest import MANIFEST_FILE, Manifest
from pipelines.storage.payload import checksum
from pipelines.storage.places import Storage
from pipelines.storage.shards import write_shard
from raytrain.config.checks import positive
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError, DataError, did_you_mean

Shards = Literal["none", "encoded", "uint8"]
Progress = Callable[[int, int], None]

QUARANTINE_FILE = "quarantine.jsonl"
_REQUEST = f"{PREPARE_FOLDER}/request.json"
# Small enough that little is lost, large enough that a million samples make no crowd of files.
_PART_SAMPLES = 4096


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What `prepare` did; `quarantined` lists the samples left out of the manifest."""

    out: str
    num_samples: int
    num_shards: int
    num_bytes: int
    """bytes of all payloads"""
    num_resumed: int = 0
    """samples that an earlier call had done"""
    already_done: bool = False
    quarantined: tuple[QuarantineEntry, ...] = ()


def prepare(
    config: DataConfig,
    out: str,
    *,
    shards: Shards = "none",
    shard_mib: float = 64,
    progress: Progress | None = None,
) -> PrepareReport:
    """Write a prepared folder: manifest with checksums, list of bad samples, shards if asked for.

    shards: none leaves the files where they are; encoded packs them as they are; uint8 packs canvases.
    progress: called with (samples done, samples in all).

    Raises:
        ConfigError: `out` holds something else, or a wrong argument.
        DataError: no usable data, or more bad samples than data.quarantine_budget allows.
        StorageError: the disk is full or storage failed for longer than the retries.
    """
    _check_arguments(config, out, shards, shard_mib)
    if is_gzipped(config.root):
        with _unpacked(config, out, shards) as unpacked:
            return _prepare(unpacked, out, shards, shard_mib, progress, origin=absolute_root(config.root))
    return _prepare(config, out, shards, shard_mib, progress)


def _prepare(
    config: DataConfig,
    out: str,
    shards: Shards,
    shard_mib: float,
    progress: Progress | None,
    *,
    origin: str = "",
) -> PrepareReport:
    """Prepare data that can be read at random; `origin`: the root by name where `config` has another."""
    source = open_manifest(whole_recordings(config))
    if shards == "none" and not source.root:
        # What is written may be read elsewhere, where a manifest names nothing outside of its root.
        root, uris = under_one_root(source.table["uri"].to_pylist(), schemes=MAKERS)
        column = text_array(uris)
        table = source.table.set_column(source.table.column_names.index("uri"), "uri", column)
        source = replace(source, root=root, table=table)
    request = _request(source, config, shards, shard_mib, origin)
    if source.payload == "uint8":
        raise ConfigError(
            f"data.root {config.root}: already holds uint8 shards; prepare the original data instead"
        )
    target = open_storage(out if "://" in out else str(Path(out).expanduser().absolute()), config)
    finished = _finished(target, request)
    if finished is not None:
        return finished
    task = _Task(source, config, target, shards, int(shard_mib * 2**20))
    parts = task.load_parts(request)
    resumed = sum(len(part) for part in parts)
    bad = [entry for part in parts for entry in task.bad_of(part)]
    for part in task.remaining(_rows_done(parts)):
        parts.append(task.store(part, len(parts)))
        bad += task.bad_of(parts[-1])
        task.check_budget(bad)
        if progress:
            progress(_rows_done(parts), len(source))
    return task.finish(parts, bad, request, resumed)


@dataclass(frozen=True)
class _Task:
    source: Manifest
    config: DataConfig
    target: Storage
    shards: Shards
    shard_bytes: int

    def load_parts(self, request: str) -> list[pa.Table]:
        """Return the parts of an earlier call of the same request."""
        if not self.target.exists(_REQUEST):
            self.target.write_atomic(_REQUEST, request.encode())
        elif self.target.read_bytes(_REQUEST).decode() != request:
            raise ConfigError(
                f"{self.target.root}: holds an unfinished prepare of other data or settings; repeat those, "
                "remove the folder, or choose another one"
            )
        parts: list[pa.Table] = []
        while self.target.exists(_part_path(len(parts))):
            data = self.target.read_bytes(_part_path(len(parts)))
            parts.append(pq.read_table(pa.BufferReader(data)))
            if parts[-1].schema.names != PART_SCHEMA.names:
                raise ConfigError(
                    f"{self.target.root}: holds an unfinished prepare of another version of raytrain; remove "
                    "the folder, or choose another one"
                )
        return parts

    def remaining(self, start: int) -> Iterator[list[Entry]]:
        """Yield the samples from a row on, in parts of one shard each."""
        storage = open_storage(self.source.root, self.config)
        rows = range(start, len(self.source))
        part: list[Entry] = []
        size = 0
        for sample in examine_rows(self.source, rows, storage=storage, config=self.config):
            entries = [self._entry(sample)]
            if sample.recording is not None:
                entries = event_entries(sample, entries[0], self.config, shards=self.shards)
            part += entries
            size += sum(max(0, entry.size) for entry in entries)
            if size >= self.shard_bytes if self.shards != "none" else len(part) >= _PART_SAMPLES:
                yield part
                part, size = [], 0
        if part:
            yield part

    def _entry(self, sample: Examined) -> Entry:
        if sample.reason or sample.image is None:
            return Entry(row=sample.row, reason=sample.reason, fate=sample.fate)
        if self.shards == "uint8":
            payload = sample.image.tobytes()
            return Entry(row=sample.row, size=len(payload), checksum=checksum(payload), payload=payload)
        if self.shards == "encoded":
            payload = sample.payload
            return Entry(row=sample.row, size=len(payload), checksum=sample.checksum, payload=payload)
        table, row = self.source.table, sample.row
        uri, offset = table["uri"][row].as_py(), table["offset"][row].as_py()
        if is_generated(uri):  # generated: nothing is stored that could be checked
            return Entry(row=row, uri=uri)
        return Entry(row=row, uri=uri, offset=offset, size=len(sample.payload), checksum=sample.checksum)

    def store(self, part: list[Entry], number: int) -> pa.Table:
        """Write one part, after its shard; return its table."""
        good = [entry for entry in part if not entry.reason]
        path = f"shards/{number:05d}.parquet"
        if self.shards != "none" and any(entry.recording is not None for entry in good):
            part = pack_part(self.target, path, self.source, part, codec=self.config.events.compression)
        elif self.shards != "none" and good:
            rows = [entry.row for entry in good]
            offsets = write_shard(
                self.target,
                path,
                keys=self.source.keys_of(np.array(rows)),
                labels=self.source.labels[rows],
                payloads=[entry.payload for entry in good],
            )
            placed = dict(zip(rows, offsets, strict=True))
            part = [
                replace(entry, uri=path, offset=placed[entry.row]) if entry.row in placed else entry
                for entry in part
            ]
        columns = {name: [getattr(entry, name) for entry in part] for name in PART_SCHEMA.names}
        table = pa.table(columns, schema=PART_SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        self.target.write_atomic(_part_path(number), bytes(sink.getvalue()))
        return table

    def check_budget(self, bad: list[QuarantineEntry]) -> None:
        """Stop when more samples are bad than the budget allows, after writing down which."""
        limit = allowed(self.config.quarantine_budget, len(self.source))
        if len(bad) <= limit:
            return
        self.target.write_atomic(QUARANTINE_FILE, to_lines(bad))
        raise DataError(
            f"{len(bad)} of {len(self.source)} samples are bad, data.quarantine_budget "
            f"{self.config.quarantine_budget:g} allows {limit}: {bad[0].key}: {bad[0].reason}; all in "
            f"{self.target.root}/{QUARANTINE_FILE}; repair them or raise the budget and run the same command "
            "again"
        )

    def finish(
        self, parts: list[pa.Table], bad: list[QuarantineEntry], request: str, resumed: int
    ) -> PrepareReport:
        """Write the list of bad samples and then the manifest; drop the parts."""
        done = pa.concat_tables(parts)
        good = done.filter(pc.equal(done["reason"], ""))
        if not len(good):
            raise DataError(f"data.root {self.config.root}: none of the {len(bad)} samples can be decoded")
        table = self.source.table.take(good["row"])
        if self.shards == "uint8" and "payload" in table.column_names:
            table = table.drop_columns(["payload"])
        for name in ("uri", "offset", "bytes", "checksum"):
            column = good["size" if name == "bytes" else name]
            table = table.set_column(table.column_names.index(name), name, column)
        if pc.max(good["num_events"]).as_py() >= 0:
            table = name_pieces(table, good, packed=self.shards != "none")
        packed = self.shards != "none"
        raw = self.shards == "uint8"
        manifest = replace(
            self.source,
            table=table,
            root=self.target.root if packed else self.source.root,
            payload="uint8" if raw else "encoded",
            canvas_px=self.config.canvas_px if raw else 0,
            fit=self.config.fit if raw else "",
            sensor_width=sensor_size(self.source, self.config)[0],
            sensor_height=sensor_size(self.source, self.config)[1],
            request=request,
        )
        self.target.write_atomic(QUARANTINE_FILE, to_lines(bad))
        self.target.write_atomic(MANIFEST_FILE, manifest.to_bytes(root="" if packed else None))
        self.target.remove_folder(PREPARE_FOLDER)
        return _report(self.target.root, manifest, bad, resumed=resumed)

    def bad_of(self, part: pa.Table) -> list[QuarantineEntry]:
        """Return the bad samples of a part."""
        bad = part.filter(pc.not_equal(part["reason"], ""))
        known = self.source.table.select(["key", "uri"]).take(bad["row"])
        columns = (known["key"], known["uri"], bad["reason"], bad["fate"])
        return [
            QuarantineEntry(*entry) for entry in zip(*(column.to_pylist() for column in columns), strict=True)
        ]


def _check_arguments(config: DataConfig, out: str, shards: str, shard_mib: float) -> None:
    if not out:
        raise ConfigError("prepare needs --out; name the folder that the manifest is written to")
    if shards not in get_args(Shards):
        raise ConfigError(f"unknown kind of shards {shards!r}{did_you_mean(shards, get_args(Shards))}")
    positive("shard_mib", shard_mib)
    if config.root and Path(out).absolute() == Path(config.root).absolute():
        raise ConfigError(f"--out {out} is data.root itself; choose a folder of its own")


@contextmanager
def _unpacked(config: DataConfig, out: str, shards: Shards) -> Iterator[DataConfig]:
    """Yield the settings with a plain tar for a root that is compressed as a whole; removed afterwards."""
    path = Path(absolute_root(config.root))
    if shards == "none":
        raise ConfigError(
            f"data.root {config.root}: is compressed as a whole, so that its samples must be packed; add "
            "--shards encoded"
        )
    if "://" in config.root:
        raise ConfigError(f"data.root {config.root}: copy the archive to a local disk first")
    if not path.is_file():
        raise DataError(f"data.root {config.root}: no such file; check the path")
    # Beside the result, where there must be room anyway.
    home = None if "://" in out else Path(out).expanduser().absolute().parent
    if home is not None:
        home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=home) as folder:
        target = Path(folder) / f"{path.name.removesuffix('.tgz').removesuffix('.tar.gz')}.tar"
        unpack_gzip(path, target)
        yield replace(config, root=str(target))


def _request(source: Manifest, config: DataConfig, shards: Shards, shard_mib: float, origin: str = "") -> str:
    """Return what makes two calls the same work; the budget and the number of threads do not."""
    request: dict[str, Any] = {"data": source.hash, "root": origin or source.root, "shards": shards}
    request |= MODALITIES[source.modality].prepared_by(source, config, shards)
    if shards != "none":
        request["shard_mib"] = float(shard_mib)
    if shards == "uint8":
        request |= {"canvas_px": config.canvas_px, "fit": config.fit}
    return json.dumps(request, sort_keys=True)


def _finished(target: Storage, request: str) -> PrepareReport | None:
    if not target.exists(MANIFEST_FILE):
        return None
    manifest = Manifest.load(f"{target.root}/{MANIFEST_FILE}", schemes=MAKERS)
    if manifest.request != request:
        raise ConfigError(
            f"{target.root}: already holds a manifest of other data or settings; choose another folder or "
            "remove it"
        )
    lines = target.read_bytes(QUARANTINE_FILE).decode().splitlines()
    bad = [QuarantineEntry(**json.loads(line)) for line in lines]
    return _report(target.root, manifest, bad, resumed=len(manifest) + len(bad), already_done=True)


def _report(
    out: str, manifest: Manifest, bad: list[QuarantineEntry], *, resumed: int, already_done: bool = False
) -> PrepareReport:
    sizes = manifest.table["bytes"].to_numpy()
    places = text_array(pc.unique(manifest.table["uri"]))
    return PrepareReport(
        out=out,
        num_samples=len(manifest),
        num_shards=pc.sum(pc.starts_with(places, "shards/")).as_py() if manifest.root == out else 0,
        num_bytes=int(sizes[sizes > 0].sum()),
        num_resumed=resumed,
        already_done=already_done,
        quarantined=tuple(bad),
    )


def _rows_done(parts: list[pa.Table]) -> int:
    """Return how many of the source's rows are in the parts; a recording may be several samples."""
    return parts[-1]["row"][-1].as_py() + 1 if parts else 0


def _part_path(number: int) -> str:
    return f"{PREPARE_FOLDER}/part-{number:05d}.parquet"
