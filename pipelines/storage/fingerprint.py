"""What tells a data set from another one: its manifest, and a look at the files where that has no checksums.

`raytrain prepare` writes a checksum a sample: then the manifest says all. Without, names and sizes are not
enough (two folders of equally many PPM files of one size are alike), so three things count beside it:

- the size and the time of change, in ns, of every file that local samples lie in: this sees an edit in place,
  at the price of one look a file; on another file system, where a look is a request, of the sampled files
  only, and the size alone where it tells no time;
- the contents of up to 64 samples, spread over the manifest (of a large one its first and last 64 KiB, of a
  folder of frames the first, middle and last frame): this sees that other files lie in the same places.

An edit that keeps size and time of a file that is not sampled is not seen: `prepare` is the exact way. A copy
without times (`cp` without -p, `rsync` without -t) is other data by this measure, which nothing can know
better without reading all of it; the message says so. Generated samples are what their uris say, and need no
look.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.forms.quarantine import BadSample
from pipelines.storage.archive_members import ZIP_MARK
from pipelines.storage.columns import text_array
from pipelines.storage.frames import is_frames, list_frames
from pipelines.storage.places import FILE_SYSTEMS, Storage
from pipelines.storage.raw import is_raw
from pipelines.storage.rows import Row, Rows
from raytrain.errors import DataError

MAX_SAMPLED = 64
PIECE_BYTES = 2**16
"""of a sampled payload: its first and its last so many bytes"""
_BLOCK = 2**16
"""files that are looked at in one go"""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """SHA-256 of each thing that tells data apart, hex; empty where checksums make it unnecessary."""

    samples: str
    """the manifest: keys, sizes, checksums, labels, splits, groups, factors"""
    files: str = ""
    """sizes and times of change of the files"""
    contents: str = ""
    """sampled payloads"""

    @property
    def hash(self) -> str:
        """SHA-256 of all of them, hex."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def what_differs(self, former: dict[str, str]) -> str:
        """Say in words what differs from a fingerprint kept as a dict; {}: an earlier version kept none."""
        if not former:
            return "a version of raytrain began it that told data apart by other means"
        if former["samples"] != self.samples:
            return "other samples, sizes, labels, splits or groups"
        if former["contents"] != self.contents:
            return "the files hold something else"
        return (
            "only the files' times of change differ, as after an edit in place or a copy without them (cp "
            "without -p, rsync without -t; `raytrain prepare` once, and data are known by their contents)"
        )


def unchecked_rows(table: pa.Table) -> NDArray[np.int64]:
    """Return the rows of a manifest's table that are stored somewhere and have no checksum, i64[n]."""
    missing = pc.equal(table["checksum"].fill_null(""), "")
    if not pc.any(missing).as_py():
        return np.zeros(0, np.int64)
    uris = text_array(table["uri"])
    stored = pc.invert(pc.match_substring(uris, "://"))
    if not pc.all(stored).as_py():
        for scheme in FILE_SYSTEMS:
            stored = pc.or_(stored, pc.starts_with(uris, f"{scheme}://"))
    return np.flatnonzero(pc.and_(missing, stored).to_numpy())


def sampled(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at most `MAX_SAMPLED` of the rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, MAX_SAMPLED).round().astype(np.int64))]


def digest_files(table: pa.Table, chosen: Sequence[str], storage: Storage) -> str:
    """Return the SHA-256, hex, of size and time of change of the files: of the local ones, and of the chosen.

    A file counts by its place in the order of the uris, not by its name: data may be moved.

    Raises:
        DataError: files have another size than they were listed with.
    """
    digest, uris = hashlib.sha256(), table["uri"]
    places = text_array(pc.unique(text_array(uris)))
    if pc.any(pc.match_substring(places, ZIP_MARK)).as_py():  # the archive itself changes, not a member
        places = pc.unique(pc.replace_substring_regex(places, r"(?s)\.zip!/.*$", ".zip"))
    asked = set(chosen)
    for start in range(0, len(places), _BLOCK):
        block = places.slice(start, _BLOCK).to_pylist()
        looked_at = [uri for uri in block if storage.is_local(uri) or uri in asked]
        known = np.array(storage.sizes_and_times(looked_at), "<i8").reshape(-1, 2)
        if len(places) == len(table) and len(looked_at) == len(block):  # a file a sample
            _check_sizes(table.slice(start, _BLOCK), known[:, 0], storage)
        digest.update(known.tobytes())
    return digest.hexdigest()


def _check_sizes(table: pa.Table, sizes: NDArray[np.int64], storage: Storage) -> None:
    listed = table["bytes"].to_numpy()
    whole = (table["offset"].to_numpy() == 0) & (listed >= 0) & (sizes >= 0)
    changed = np.flatnonzero(whole & (listed != sizes))
    if len(changed):
        first = int(changed[0])
        uri = table["uri"][first].as_py()
        storage.forget_lists(uri)
        place = f"{storage.root}/{uri}" if storage.root else uri
        raise DataError(
            f"{place}: had {listed[first]} bytes when it was listed and has {sizes[first]} now: changed in "
            "place; run the same command again, which lists all anew"
        )


def digest_contents(rows: Rows, storage: Storage) -> str:
    """Return the SHA-256, hex, of what is looked at of each row's payload.

    Raises:
        StorageError: storage failed for longer than the retries.
    """
    digest = hashlib.sha256()
    for place in range(len(rows)):
        try:
            pieces = list(_pieces(rows[place], storage))
        except (BadSample, DataError):
            pieces = []  # missing: whoever decodes it says so
        for piece in pieces:
            digest.update(b"%d:" % len(piece))
            digest.update(piece)
        digest.update(b";")
    return digest.hexdigest()


def _pieces(row: Row, storage: Storage) -> Iterator[bytes]:
    if is_frames(row.payload):
        frames = list_frames(storage, row.uri)
        for place in sorted({0, len(frames) // 2, len(frames) - 1}) if frames else ():
            yield frames[place].rpartition("/")[2].encode()
            yield from _ends(frames[place], 0, -1, storage)
    else:
        whole = not (row.offset or is_raw(row.payload))
        yield from _ends(row.uri, row.offset, -1 if whole else row.size, storage)


def _ends(uri: str, offset: int, size: int, storage: Storage) -> Iterator[bytes]:
    """Yield the first and the last bytes of a payload; size -1: of the whole file."""
    if ZIP_MARK in uri:
        data = storage.read_bytes(uri)  # compressed: there is no reading in the middle
        yield data[:PIECE_BYTES]
        if len(data) > PIECE_BYTES:
            yield data[PIECE_BYTES:][-PIECE_BYTES:]
        return
    if size < 0:
        size = storage.sizes_and_times([uri])[0][0]
    length = PIECE_BYTES if size < 0 else min(size, PIECE_BYTES)
    yield storage.read_bytes(uri, offset=offset, length=length)
    if size > PIECE_BYTES:
        rest = min(size - PIECE_BYTES, PIECE_BYTES)
        yield storage.read_bytes(uri, offset=offset + size - rest, length=rest)
