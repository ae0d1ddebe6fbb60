"""Some of a manifest's rows as plain values: all that decoding them needs, small enough to travel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.randomness import hash_keys

Int64s = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Where one sample lies, and how."""

    key: str
    uri: str
    """relative to the root of the storage, or with a scheme of its own"""
    offset: int = 0
    """of the payload in the file; 0: the whole file"""
    size: int = -1
    """of the payload in bytes; -1: not known"""
    checksum: str = ""
    """BLAKE2b-128, hex; empty: not known"""
    payload: str = "encoded"
    """how the sample is stored: encoded, or in words such as u8:chw:3x32x32, frames:120, events:window:0:9"""
    sensor: tuple[int, int] = (0, 0)
    """width and height in px of the sensor of a recording; 0: not known"""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of n samples, column by column."""

    numbers: Int64s
    """of the manifest's rows, i64[n]"""
    keys: Sequence[str]
    uris: Sequence[str]
    offsets: Int64s
    sizes: Int64s
    checksums: Sequence[str]
    payloads: Sequence[str]
    labels: Int64s
    """i64[n], -1: none"""
    label_sets: NDArray[np.uint8]
    """u8[n, L] of 0 and 1; L = 0 where a sample has one class at most"""
    groups: Int64s
    """i64[n], dense numbers"""
    factors: NDArray[np.float32]
    """f32[n, F]"""
    sensor: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Row:
        return Row(
            key=self.keys[place],
            uri=self.uris[place],
            offset=int(self.offsets[place]),
            size=int(self.sizes[place]),
            checksum=self.checksums[place],
            payload=self.payloads[place],
            sensor=self.sensor,
        )

    def __iter__(self) -> Iterator[Row]:
        return (self[place] for place in range(len(self)))

    @property
    def key_hashes(self) -> NDArray[np.uint64]:
        """64-bit hash of every key, u64[n]."""
        return hash_keys(list(self.keys))
