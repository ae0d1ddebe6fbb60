"""Counter-based random draws: pure functions of words such as (seed, epoch, sample key, draw name).

No draw depends on what was drawn before, so any number of workers, any restart and any pathway sees the same
values.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

UInt64s = NDArray[np.uint64]


def hash_words(*words: int | str) -> int:
    """Return a 64-bit hash of the words; order and type matter, the platform does not."""
    digest = hashlib.blake2b(digest_size=8)
    _update(digest, words)
    return int.from_bytes(digest.digest(), "little")


def _update(digest: Any, words: tuple[int | str, ...]) -> None:
    for word in words:
        data = word.encode() if isinstance(word, str) else str(int(word)).encode()
        digest.update(f"{type(word).__name__[0]}{len(data)}:".encode() + data)


def hasher(*words: int | str) -> Callable[[str], int]:
    """Return what makes `hash_words(*words, name)` of many names, in half the time."""
    begun = hashlib.blake2b(digest_size=8)
    _update(begun, words)

    def hash_name(name: str) -> int:
        digest, data = begun.copy(), name.encode()
        digest.update(b"s%d:%b" % (len(data), data))
        return int.from_bytes(digest.digest(), "little")

    return hash_name


def hash_keys(keys: list[str]) -> UInt64s:
    """Return the 64-bit hash of each sample key, u64[N]."""
    return np.array(list(map(hasher(), keys)), dtype=np.uint64)


def hash_sequence(key_hashes: UInt64s, positions: NDArray[np.int64]) -> int:
    """Return a 64-bit hash of which sample stands at which position.

    Hashes of a sequence's parts add up to its own, modulo 2^64: ranks need not hold what they hash together.
    """
    with np.errstate(over="ignore"):
        places = mix((positions.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
        return int(mix(places ^ mix(key_hashes.astype(np.uint64))).sum(dtype=np.uint64))


def generator(*words: int | str) -> np.random.Generator:
    """Return a numpy generator (Philox) keyed by the words."""
    key = np.array([hash_words(0, *words), hash_words(1, *words)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def uniforms(key_hashes: UInt64s, *, seed: int, epoch: int, draw: str, count: int = 1) -> NDArray[np.float64]:
    """Return `count` draws in [0, 1) for each sample: f64[N, count].

    Source: the splitmix64 finaliser (Steele, Lea, Flood 2014), chained over stream, sample and counter.
    """
    stream = np.uint64(hash_words(seed, epoch, draw))
    with np.errstate(over="ignore"):
        state = mix(mix(key_hashes.astype(np.uint64) ^ stream) + stream)
        counters = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        words = mix(state[:, None] + counters[None, :])
    drawn: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn


def mix(words: Any) -> Any:
    """Return 64-bit words hashed one by one, u64 of any shape: a bijection; it overflows as it must.

    Source: the splitmix64 finaliser (Steele, Lea, Flood 2014).
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
