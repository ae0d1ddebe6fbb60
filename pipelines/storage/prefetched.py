"""The ranges of many samples, read at one hand-over to the storage's reader thread."""

from collections.abc import Iterable

from pipelines.forms.quarantine import BadSample
from pipelines.storage.payload import range_of
from pipelines.storage.places import Storage
from pipelines.storage.ranges import Range
from pipelines.storage.rows import Row

MOST_BYTES = 32 * 2**20
"""read ahead; what is more is read when it is asked for"""


class PrefetchedStorage(Storage):
    """A storage that has already read the samples that lie within larger files, each to be asked for once.

    A hand-over takes some 100 us, a sample of a few thousand bytes a tenth of that.
    """

    def __init__(self, inner: Storage, rows: Iterable[Row]) -> None:
        """Read ahead.

        Raises:
            StorageError: time-outs and other failures outlived the retries.
        """
        super().__init__(inner.root, read_timeout_s=inner.read_timeout_s, read_retries=inner.read_retries)
        self._inner = inner
        wanted, left = [], MOST_BYTES
        for place in map(range_of, rows):
            if place is not None and 0 <= place.length <= left:
                wanted.append(place)
                left -= place.length
        self._held: dict[Range, bytes | BadSample] = {}
        if wanted:
            self._held = dict(zip(wanted, inner.read_ranges(wanted), strict=True))

    def read_bytes(self, uri: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a file's bytes, see Storage: from memory the first time, where they were read ahead."""
        held = None if length is None else self._held.pop(Range(uri, offset, length), None)
        if held is None:
            return self._inner.read_bytes(uri, offset=offset, length=length)
        if isinstance(held, BadSample):
            raise held
        return held
