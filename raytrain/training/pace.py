"""The pace of a training between its logged lines: samples a second, and events of recordings."""

import time

from pipelines.stream.batch import Batch, EventBatch


class Pace:
    """Counts what a pathway has trained on; batches need not be of one size."""

    def __init__(self) -> None:
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
        self._count("samples_per_s", len(batch) * num_ranks)
        if isinstance(batch, EventBatch):
            self._count("events_per_s", batch.events.num_events * num_ranks)

    def mark(self) -> None:
        """End a stretch and begin the next."""
        now, began = time.perf_counter(), self._began
        for name, count in self._counts.items():
            self.rates[name] = 0.0 if began is None else round(count / max(now - began, 1e-9), 1)
        self._began, self._counts = now, {}

    def _count(self, name: str, count: int) -> None:
        self._counts[name] = self._counts.get(name, 0) + count
