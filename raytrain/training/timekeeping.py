"""Where a training's time goes: samples a second between logged lines, and the waits with their causes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipelines.modalities.base import Modality
from pipelines.stream.batch import Batch
from pipelines.stream.window import DECODING, REPLAYING, STARTING


class Pace:
    """Counts what a pathway has trained on; batches need not be of one size."""

    def __init__(self, kind: Modality) -> None:
        self._kind = kind
        self._began: float | None = None
        self._counts: dict[str, int] = {}
        self.rates: dict[str, float] = {"samples_per_s": 0.0}
        """of all ranks between the last two marks; `events_per_s` only where the samples are recordings"""

    @property
    def begun(self) -> bool:
        """Whether there was a mark: what comes before the first is start-up."""
        return self._began is not None

    def take(self, batch: Batch, *, num_ranks: int) -> None:
        """Count a rank's share for all ranks: each has as many samples, and about as many events."""
        for what, amount in self._kind.amounts(batch.pixels).items():
            name = f"{what}_per_s"
            self._counts[name] = self._counts.get(name, 0) + amount * num_ranks

    def mark(self) -> None:
        """End a stretch and begin the next."""
        now, began = time.perf_counter(), self._began
        for name, count in self._counts.items():
            self.rates[name] = 0.0 if began is None else round(count / max(now - began, 1e-9), 1)
        self._began, self._counts = now, {}


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
        DECODING: "decoding is the slowest part; give it more CPUs (data.decode_tasks)"
        + (", or data.cache = 'memory'" if can_cache else ""),
        REPLAYING: "chunks were made again for a pathway that came back",
        STARTING: "another pathway was still starting",
    }
    if cause.startswith("broadcast"):
        return f"{waited}: the broadcast was restarted"
    return f"{waited}: {known.get(cause) or cause.split('/')[0] + ' is the slowest reader'}"
