"""Initial values as a pure function of words such as (seed, pathway name, part)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipelines.forms.randomness import hash_words


@contextmanager
def keyed_initial_values(*words: int | str) -> Iterator[None]:
    """Draw every initial value built inside (on the CPU) from the words alone, aside the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(hash_words("initial values", *words))
        yield
