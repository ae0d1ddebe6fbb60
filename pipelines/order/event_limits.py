"""Where batches end that are bounded by events: a pure function of the manifest's counts, seed and epoch."""

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from pipelines.order.permutation import Int64s, epoch_order


@dataclass(frozen=True, kw_only=True, eq=False)
class EventLimits:
    """Batches of at most so many samples and so many events, in whole units of positions.

    A batch ends before the unit that would exceed either bound; a unit with more events than the bound is a
    batch of its own. What is left at the end of an epoch is a batch where it is full by either bound; else it
    is left out, as are positions that make no whole unit.
    """

    num_events: Int64s
    """of each sample of the split"""
    batch_size: int
    batch_events: int
    seed: int
    unit: int = 1
    """positions that stay together, so that every rank has equally many; divides batch_size"""
    _walked: dict[int, tuple[int, int]] = field(default_factory=dict, init=False, repr=False)
    """epoch -> (batches up to its end, positions that its own use); sent along: it is found once a run"""

    def num_steps(self, epoch: int) -> int:
        """Return the batches of an epoch, at least 1."""
        return self.steps_before(epoch + 1) - self.steps_before(epoch)

    def num_used(self, epoch: int) -> int:
        """Return the positions of an epoch that its batches hold."""
        return self._walk(epoch)[1]

    def steps_before(self, epoch: int) -> int:
        """Return the batches of all epochs before one."""
        return self._walk(epoch - 1)[0] if epoch else 0

    def epoch_of(self, step: int) -> int:
        """Return the epoch of a batch that is counted through all epochs."""
        epoch = 0
        # No epoch is walked before its first batch is done: behind the last one nobody trains.
        while self.steps_before(epoch) < step and self.steps_before(epoch + 1) <= step:
            epoch += 1
        return epoch

    def span(self, epoch: int, step: int) -> tuple[int, int]:
        """Return a batch's first position, and the one behind its last."""
        first, behind = _starts(self, epoch)[step : step + 2]
        return int(first), int(behind)

    def _walk(self, epoch: int) -> tuple[int, int]:
        walked = self._walked
        for number in range(len(walked), epoch + 1):
            starts = _starts(self, number)
            former = walked[number - 1][0] if number else 0
            walked[number] = former + len(starts) - 1, int(starts[-1])
        return walked[epoch]


@lru_cache(maxsize=4)
def _starts(limits: EventLimits, epoch: int) -> Int64s:
    """Return each batch's first position and, last, the first that is left out: i64[batches + 1]."""
    unit, most = limits.unit, limits.batch_size // limits.unit
    order = epoch_order(len(limits.num_events), limits.seed, epoch)
    num_units = len(limits.num_events) // unit
    samples = order.samples_at(np.arange(num_units * unit))
    of_units = limits.num_events[samples].reshape(num_units, unit).sum(axis=1)
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(of_units)])
    # By bisection at the batches' own starts: a million recordings are only some thousand batches.
    upto, starts, first = total.data, [0], 0
    while first < num_units:
        furthest = min(first + most, num_units)
        fitting = bisect_right(upto, upto[first] + limits.batch_events, first + 1, furthest + 1) - 1
        first = max(first + 1, fitting)
        starts.append(first)
    first, behind = starts[-2:]
    if behind - first < most and total[behind] - total[first] < limits.batch_events:
        starts.pop()
    found = np.asarray(starts, np.int64) * unit
    found.flags.writeable = False
    return found
