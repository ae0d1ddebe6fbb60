"""Nearest neighbours of some samples by the cosine of their frozen features: exact, in blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raytrain.evaluation.features import Features, Mode, open_features

if TYPE_CHECKING:
    from torch import Tensor

Int64s = NDArray[np.int64]
Float64s = NDArray[np.float64]
QUERY_BYTES = 512 << 20
"""features of queries that share one pass over the candidates"""
BLOCK_BYTES = 256 << 20
"""a block of candidates and its cosines to these queries"""
STEPS = 1 << 30
"""Cosines are compared in steps of 1 / STEPS: far above float64's rounding, so that equal features tie."""
LOW_BITS = 32
"""of a key: the candidate, the others the cosine's number of steps"""
NOBODY = -(1 << 63)


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The k nearest of each of q queries, the best first.

    Shapes: `places` i64[q, k] among the candidates, `rows` i64[q, k] of the features files, `cosines` f64[q,
    k]. Where fewer than k candidates are of another group than the query's, the cosines of the missing ones
    are -inf, and their places say nothing.
    """

    places: Int64s
    rows: Int64s
    cosines: Float64s


def nearest(
    folder: Path, names: Sequence[str], queries: Int64s, candidates: Int64s, *, num: int, mode: Mode
) -> Nearest:
    """Return `find_nearest` by features files; a cosine is the mean of those of the `names`.

    Raises:
        DataError: features are missing or damaged.
    """
    features = [open_features(folder, name) for name in names]
    return find_nearest(features, mode, queries=queries, candidates=candidates, num=num)


def find_nearest(
    features: Sequence[Features],
    mode: Mode,
    *,
    queries: Int64s,
    candidates: Int64s,
    num: int,
    groups: tuple[Int64s, Int64s] | None = None,
    device: str = "cpu",
) -> Nearest:
    """Return the `num` candidates of the highest cosine, of equal ones the earlier among the candidates.

    The cosine of several features is the mean of theirs, that of a row of zeros is 0. The candidates are read
    once for all queries that fit into QUERY_BYTES.

    Args:
        groups: of the queries i64[q] and of the candidates i64[n]; those of a query's own group are left out.
        device: where cosines are taken.
    """
    search = _Search(features=features, mode=mode, candidates=candidates, num=num, device=device)
    step = max(1, QUERY_BYTES // (8 * sum(one.width(mode) for one in features)))
    found = [np.zeros((0, num), np.int64)]
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        found.append(search.keys(queries[part], None if groups is None else (groups[0][part], groups[1])))
    keys = np.concatenate(found)
    nobody, last = keys == NOBODY, (1 << LOW_BITS) - 1
    places = np.where(nobody, 0, last - (keys & last))
    return Nearest(
        places=places,
        rows=candidates[places],
        cosines=np.where(nobody, -np.inf, (keys >> LOW_BITS) / STEPS),
    )


@dataclass(frozen=True, kw_only=True)
class _Search:
    """One pass over the candidates for many queries.

    A key is a number that orders candidates by cosine, then by place; no two are equal, whatever the blocks.
    """

    features: Sequence[Features]
    mode: Mode
    candidates: Int64s
    num: int
    device: str

    def keys(self, queries: Int64s, groups: tuple[Int64s, Int64s] | None) -> Int64s:
        """Return the largest keys of each query, i64[q, num] from large to small."""
        import torch

        wanted = [self._unit_rows(one, queries) for one in self.features]
        own, others = (None, None) if groups is None else map(self._moved, groups)
        best = torch.full((len(queries), self.num), NOBODY, device=self.device)
        widest = max(one.width(self.mode) for one in self.features)
        step = max(1, BLOCK_BYTES // (16 * widest + 24 * len(queries)))
        for start in range(0, len(self.candidates), step):
            keys = self._block_keys(wanted, start, start + step)
            if own is not None and others is not None:
                keys[own[:, None] == others[start : start + step]] = NOBODY
            near = keys.topk(min(self.num, keys.shape[1]), dim=1).values
            best = torch.cat([best, near], dim=1).topk(self.num, dim=1).values
        found: Int64s = best.cpu().numpy()
        return found

    def _block_keys(self, wanted: Sequence["Tensor"], start: int, stop: int) -> "Tensor":
        """Return each query's keys of some candidates, i64[q, b]."""
        import torch

        block = self.candidates[start:stop]
        cosines = torch.zeros((len(wanted[0]), len(block)), dtype=torch.float64, device=self.device)
        for one, query in zip(self.features, wanted, strict=True):
            cosines.addmm_(query, self._unit_rows(one, block).T)
        keys = cosines.mul_(STEPS / len(self.features)).round_().long()
        places = torch.arange(start, start + len(block), device=self.device)
        return keys.bitwise_left_shift_(LOW_BITS).add_((1 << LOW_BITS) - 1 - places)

    def _unit_rows(self, features: Features, rows: Int64s) -> "Tensor":
        """Return features f64[n, D] of length one; a row of zeros stays zero."""
        import torch

        values = self._moved(features.read(rows, self.mode)).double()
        lengths = torch.linalg.vector_norm(values, dim=1, keepdim=True)
        return values.div_(lengths.clamp_min_(torch.finfo(torch.float64).tiny))

    def _moved(self, values: NDArray[Any]) -> "Tensor":
        import torch

        return torch.from_numpy(values).to(self.device)
