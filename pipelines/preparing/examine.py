"""Open every sample once: its bytes, checksum, size and pixels, or why it is bad."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import numpy as np

from pipelines.forms.quarantine import BadSample
from pipelines.modalities import MODALITIES
from pipelines.modalities.base import Examined
from pipelines.storage.manifest import Manifest
from pipelines.storage.patience import PATIENCE
from pipelines.storage.places import Storage
from pipelines.storage.rows import Row
from raytrain.config.data import DataConfig
from raytrain.config.machine import usable_cpus

_BLOCK_ROWS = 1024
S = TypeVar("S")
T = TypeVar("T")


def examine_rows(
    manifest: Manifest, rows: Iterable[int], *, storage: Storage, config: DataConfig
) -> Iterator[Examined]:
    """Yield every row's sample in order, read and decoded by `data.decode_tasks` threads.

    Raises:
        StorageError: storage failed for longer than the retries.
    """

    def examine(numbered: tuple[int, Row]) -> Examined:
        number, row = numbered
        found = attempt(row)
        if found.fate == "missing":
            PATIENCE.pause()
            found = attempt(row)
        return replace(found, row=number)

    def attempt(row: Row) -> Examined:
        try:
            return MODALITIES[manifest.modality].examine(row, storage, config)
        except BadSample as bad:
            return Examined(reason=bad.reason, fate=bad.fate)

    workers = usable_cpus() if config.decode_tasks == "auto" else config.decode_tasks
    return _map_ordered(examine, _numbered(manifest, rows), workers=workers)


def _numbered(manifest: Manifest, numbers: Iterable[int]) -> Iterator[tuple[int, Row]]:
    """Yield each row with its number, taken from the manifest in blocks."""
    waiting = iter(numbers)
    while block := list(islice(waiting, _BLOCK_ROWS)):
        yield from zip(block, manifest.rows(np.array(block, np.int64)), strict=True)


def _map_ordered(function: Callable[[S], T], items: Iterable[S], *, workers: int) -> Iterator[T]:
    """Map in threads and in order, never more than a few results ahead of the reader."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
