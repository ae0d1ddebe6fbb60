"""The wait ledger: where a pathway's time goes, and why, in words."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipelines.stream.window import DECODING, REPLAYING, STARTING


@dataclass
class Ledger:
    """Seconds spent waiting for data, stepping and checkpointing, from the first batch on."""

    data: float = 0.0
    step: float = 0.0
    checkpoint: float = 0.0
    causes: dict[str, float] = field(default_factory=dict)
    """seconds that the reader's fetching waited, by cause"""

    @contextmanager
    def time(self, account: str) -> Iterator[None]:
        """Add the time of a block to an account."""
        started = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, account, getattr(self, account) + time.perf_counter() - started)

    @property
    def total(self) -> float:
        """All seconds accounted for."""
        return self.data + self.step + self.checkpoint

    def shares(self) -> dict[str, float]:
        """Return each account's share of the total, three digits."""
        total = self.total or 1.0
        return {name: round(getattr(self, name) / total, 3) for name in ("data", "step", "checkpoint")}


def explain(name: str, shares: dict[str, float], causes: dict[str, float], *, can_cache: bool = True) -> str:
    """Say a pathway's wait for data and its cause, e.g. `lbp waited 31 %: dtcwt is the slowest reader`.

    can_cache: decoded samples can be kept, which clips cannot.
    """
    waited = f"{name} waited {100 * shares['data']:.0f} % for data"
    if shares["data"] < 0.05 or not causes:
        return waited
    cause = max(causes, key=lambda key: causes[key])
    known = {
        DECODING: "decoding is the slowest part; raise data.decode_tasks"
        + (", or data.cache = 'memory'" if can_cache else ""),
        REPLAYING: "chunks were made again for a pathway that came back",
        STARTING: "another pathway was still starting",
    }
    if cause.startswith("broadcast"):
        return f"{waited}: the broadcast was restarted"
    return f"{waited}: {known.get(cause) or cause.split('/')[0] + ' is the slowest reader'}"
