"""How much may come out of little: files that unpack to far more than they are are out to fill memory."""

from pipelines.forms.quarantine import BadSample

MAX_RATIO = 200
"""unpacked bytes a stored byte; images and events are compressed already, so honest files stay near 1"""
FREE_BYTES = 2**20
"""what unpacks to less is no bomb whatever its ratio"""


def most_bytes(stored: int) -> int:
    """Return how many bytes so many stored ones may unpack to."""
    return max(FREE_BYTES, MAX_RATIO * stored)


def refuse_bomb(size: int, stored: int, what: str) -> None:
    """Raise BadSample where so many stored bytes claim to unpack to too many."""
    if size > most_bytes(stored):
        raise BadSample(
            f"{what}: unpacks {stored} bytes to {size}, more than {MAX_RATIO} times; this looks like a "
            "decompression bomb"
        )
