"""Which column of [N, 4] is what: told by the values, because nothing else of such an array says it.

Six orders are in use: x, y, t, p (the N-Caltech101 of Gehrig et al. 2019), x, y, p, t (DVS128 Gesture by
tonic), t, x, y, p (ESIM, v2e, texts of the DAVIS), and those with p in front or t before p. An order fits
where p holds only -1, 0 and 1, and x and y whole numbers within the sensor. Of those that fit, that one is
taken whose stamps fall least often; where two do so alike, the one whose stamps have far more values; else
none: a guess would train on wrong pixels without a word.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.quarantine import BadSample

ORDERS = ("xytp", "txyp", "xypt", "ptxy", "tpxy", "pxyt")
MOST_PX = 2**16
_CLEARLY = 2
"""times as many falls, or values, that decide between two columns of stamps"""


@dataclass(frozen=True)
class _Column:
    """What the values of one column, [N], allow it to be."""

    values: NDArray[Any]

    @cached_property
    def range(self) -> tuple[float, float]:
        """The least and the largest value; not finite where one is not."""
        if not len(self.values):
            return 0.0, 0.0
        return float(self.values.min()), float(self.values.max())

    @cached_property
    def is_whole(self) -> bool:
        return self.values.dtype.kind in "iub" or bool((self.values == np.floor(self.values)).all())

    @cached_property
    def falls(self) -> float:
        """At which share of the events the values fall."""
        return float((self.values[1:] < self.values[:-1]).mean()) if len(self.values) > 1 else 0.0

    @cached_property
    def num_values(self) -> int:
        return len(np.unique(self.values))

    @property
    def is_signs(self) -> bool:
        return self.range[0] >= -1 and self.range[1] <= 1 and self.is_whole

    def is_place(self, size: int) -> bool:
        """Return whether these may be pixels' numbers below a size."""
        return self.range[0] >= 0 and self.range[1] < size and self.is_whole


def column_order(table: NDArray[Any], *, width: int = 0, height: int = 0) -> str:
    """Return the order of the columns of [N, 4], e.g. "txyp"; width, height: of the sensor, 0: unknown.

    Where no order fits, the likeliest is returned: reading the columns so says what is wrong with them.

    Raises:
        BadSample: several orders fit alike.
    """
    columns = [_Column(table[:, place]) for place in range(4)]
    fitting = list(_fitting(columns, width or MOST_PX, height or MOST_PX))
    if not fitting:
        return min(ORDERS, key=lambda order: _faults(columns, order))
    fitting.sort(key=lambda order: _stamps(columns, order).falls)
    first, *others = fitting
    rivals = [order for order in others if not _beats(columns, first, order)]
    if not rivals or not len(table):
        return first
    best = max((first, *rivals), key=lambda order: _stamps(columns, order).num_values)
    most = _stamps(columns, best).num_values
    alike = [o for o in (first, *rivals) if _CLEARLY * _stamps(columns, o).num_values > most]
    if len(alike) > 1:
        shown = [", ".join(order) for order in ORDERS if order in alike]
        raise BadSample(
            f"the columns may be {' or '.join(shown)}; set data.events.columns, e.g. to {alike[0]}"
        )
    return best


def fits(table: NDArray[Any], *, width: int = 0, height: int = 0) -> bool:
    """Return whether the columns of [N, 4] can be read in some order."""
    columns = [_Column(table[:, place]) for place in range(4)]
    return any(_fitting(columns, width or MOST_PX, height or MOST_PX))


def _fitting(columns: list[_Column], width: int, height: int) -> Iterator[str]:
    for order in ORDERS:
        x, y, _, p = (columns[order.index(name)] for name in "xytp")
        if p.is_signs and x.is_place(width) and y.is_place(height):
            yield order


def _stamps(columns: list[_Column], order: str) -> _Column:
    return columns[order.index("t")]


def _beats(columns: list[_Column], order: str, other: str) -> bool:
    """Return whether the stamps of one order fall clearly less often than those of another."""
    falls, more = (_stamps(columns, name).falls for name in (order, other))
    return more > 0 and more >= _CLEARLY * falls


def _faults(columns: list[_Column], order: str) -> tuple[bool, float]:
    return not columns[order.index("p")].is_signs, _stamps(columns, order).falls
