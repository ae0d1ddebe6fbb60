"""Which sample stands at which position of an epoch, and back: perm(seed, e) behind one interface.

Below 2^24 samples the order is a shuffle that is made once an epoch and kept, 4 bytes a sample. From 2^24
samples on it is a keyed bijection: position and sample are computed from each other in O(1), with no table
and no state. The number of samples alone says which of the two it is: that is part of the stream's contract,
as is that both are pure functions of (number of samples, seed, epoch) that never change between versions.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache
from math import isqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.randomness import generator, hash_words, mix

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]

KEYED_FROM = 2**24
"""samples from which on an order is computed by position instead of kept"""
_ROUNDS = 8


class EpochOrder(Protocol):
    """The order of one epoch: a permutation of the numbers 0 .. N - 1."""

    def samples_at(self, positions: Int64s) -> Int64s:
        """Return the sample at each position, i64[n]."""

    def positions_of(self, samples: Int64s) -> Int64s:
        """Return the position of each sample, i64[n]."""


@lru_cache(maxsize=3)  # epoch 0, which later ones take cached samples from, and two that follow each other
def epoch_order(num_samples: int, seed: int, epoch: int) -> EpochOrder:
    """Return the order of an epoch."""
    kind = StoredOrder if num_samples < KEYED_FROM else KeyedOrder
    return kind(num_samples, seed, epoch)


class StoredOrder:
    """A shuffle of at most 2^32 samples."""

    def __init__(self, num_samples: int, seed: int, epoch: int) -> None:
        self._samples = generator("order", seed, epoch).permutation(num_samples).astype(np.uint32)

    @cached_property
    def _positions(self) -> NDArray[np.uint32]:
        positions = np.empty_like(self._samples)
        positions[self._samples] = np.arange(len(positions), dtype=np.uint32)
        return positions

    def samples_at(self, positions: Int64s) -> Int64s:
        """Return the sample at each position, i64[n]."""
        return self._samples[positions].astype(np.int64)

    def positions_of(self, samples: Int64s) -> Int64s:
        """Return the position of each sample, i64[n]."""
        return self._positions[samples].astype(np.int64)


class KeyedOrder:
    """A keyed bijection of 0 .. N - 1: a generalised Feistel network with cycle walking.

    A number is cut into a high and a low digit, to the base of about the root of N; in each round a keyed
    hash of one digit is added to the other, which can be undone whatever the hash is. The few numbers of the
    network that are none of 0 .. N - 1, about one in the root of N, are sent through again until they are.

    Source: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, method 3.
    """

    def __init__(self, num_samples: int, seed: int, epoch: int) -> None:
        self.num_samples = num_samples
        root = isqrt(num_samples - 1) + 1
        self._highs, self._lows = np.uint64(root), np.uint64(-(-num_samples // root))
        words = [hash_words("keyed order", seed, epoch, number) for number in range(_ROUNDS)]
        self._keys = np.array(words, np.uint64)

    def samples_at(self, positions: Int64s) -> Int64s:
        """Return the sample at each position, i64[n]."""
        return self._walk(positions, self._forth)

    def positions_of(self, samples: Int64s) -> Int64s:
        """Return the position of each sample, i64[n]."""
        return self._walk(samples, self._back)

    def _walk(self, numbers: Int64s, once: Callable[[UInt64s], UInt64s]) -> Int64s:
        found = once(np.asarray(numbers, np.int64).astype(np.uint64))
        while len(outside := np.flatnonzero(found >= self.num_samples)):
            found[outside] = once(found[outside])
        return found.astype(np.int64)

    def _forth(self, numbers: UInt64s) -> UInt64s:
        high, low = np.divmod(numbers, self._lows)
        for number in range(0, _ROUNDS, 2):
            high = (high + self._drawn(low, number, self._highs)) % self._highs
            low = (low + self._drawn(high, number + 1, self._lows)) % self._lows
        return high * self._lows + low

    def _back(self, numbers: UInt64s) -> UInt64s:
        high, low = np.divmod(numbers, self._lows)
        for number in reversed(range(0, _ROUNDS, 2)):
            low = (low + self._lows - self._drawn(high, number + 1, self._lows)) % self._lows
            high = (high + self._highs - self._drawn(low, number, self._highs)) % self._highs
        return high * self._lows + low

    def _drawn(self, digit: UInt64s, number: int, below: np.uint64) -> UInt64s:
        with np.errstate(over="ignore"):
            drawn: UInt64s = mix(digit + self._keys[number]) % below
        return drawn
