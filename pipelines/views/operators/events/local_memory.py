"""Sums of local-memory surfaces over the events of a cell, exact, without a loop over events.

Wanted for each segment (a cell's events of one polarity, in the order of their stamps) and each offset z: the
sum over pairs (i, j), j at the place of i plus z, t_j in [t_i - window, t_i), of exp((t_j - t_i) / tau).

The window is the difference of two sums: of all j with t_j < t_i, less those with t_j + window < t_i. For
both, an event j counts from a first event `start` of its segment on. Segments are cut into blocks:

- within the block of `start` the pairs are written out: at most BLOCK for each j;
- for the blocks after it, j is remembered by its pixel in a map that fades from block to block, and every
  event reads the map of its block at its own neighbours: (2 radius + 1)^2 reads for each i.

So the work grows with the events alone, however crowded a cell or a single pixel is. All exponents are <= 0:
nothing overflows for a small tau.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.views.operators.events.exact_sums import fractions, scales, whole_terms

BLOCK = 16
"""events: fewer mean more maps, more mean more pairs"""
CHUNK_EVENTS = {"cpu": 2**15, "other": 2**21}
"""worked off together, some 0.5 kB each: on a CPU the maps should stay in its cache"""


@dataclass(frozen=True, kw_only=True)
class CellEvents:
    """Events sorted by segment, and by stamp within it."""

    segment: Tensor
    """i64[N], rising"""
    t: Tensor
    """i64[N], us from the recording's first, 0 .. last"""
    row: Tensor
    """i64[N], within the cell, 0 .. cell_px - 1"""
    column: Tensor
    counts: Tensor
    """i64[S], events of each segment"""
    cell_px: int
    last: int
    """largest stamp"""

    @cached_property
    def first(self) -> Tensor:
        """Number of the first event of each event's segment, i64[N]."""
        return (self.counts.cumsum(0) - self.counts).index_select(0, self.segment)

    @cached_property
    def rank(self) -> Tensor:
        """Place of each event within its segment, i64[N]."""
        return torch.arange(len(self.t), device=self.t.device) - self.first


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Events j as seen by later ones: from event `start` of the segment on they count `sign`."""

    start: Tensor
    """i64[M], number of the first event that sees j"""
    event: Tensor
    """i64[M], number of j itself"""
    sign: Tensor
    """f64[M], +1: enters, -1: leaves the window"""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Which neighbours an event sees, and how fast they fade."""

    radius_px: int
    tau_us: float
    window_us: int

    @property
    def side(self) -> int:
        """Pixels along a side."""
        return 2 * self.radius_px + 1


def surface_sums(events: CellEvents, scale: Tensor, surface: Surface) -> Tensor:
    """Return the sums i64[S, side^2] in units of 1 / scale[segment], offsets row by row."""
    # One more column takes the pairs that are too far apart.
    shape = (len(events.counts), surface.side**2 + 1)
    sums = torch.zeros(shape, dtype=torch.int64, device=events.t.device)
    size = CHUNK_EVENTS["cpu" if sums.device.type == "cpu" else "other"]
    for segments, inside in chunks(events.counts, size):
        chunk = replace(
            events,
            segment=events.segment[inside] - segments.start,
            t=events.t[inside],
            row=events.row[inside],
            column=events.column[inside],
            counts=events.counts[segments],
        )
        sources = window_sources(chunk, surface.window_us)
        _add_pairs(sums[segments], chunk, sources, scale[segments], surface=surface)
        _add_memory(sums[segments], chunk, sources, scale[segments], surface=surface)
    return sums[:, :-1]


def chunks(counts: Tensor, num_events: int) -> list[tuple[slice, slice]]:
    """Return runs of whole segments of about num_events events: their numbers, their events' numbers."""
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    wanted = torch.arange(num_events, total + num_events, num_events, device=counts.device).clamp_(max=total)
    cuts = torch.searchsorted(ends, wanted)
    limits = dict(zip((cuts + 1).tolist(), ends[cuts].tolist(), strict=True))
    found, segment, event = [], 0, 0
    for next_segment, next_event in limits.items():
        found.append((slice(segment, next_segment), slice(event, next_event)))
        segment, event = next_segment, next_event
    return found


def window_sources(events: CellEvents, window_us: int) -> Sources:
    """Return when each event enters and leaves the window of later events, where there are such."""
    base = events.segment * (events.last + 1)
    keys = base + events.t
    ends = events.first + events.counts.index_select(0, events.segment)
    starts, numbers, signs = [], [], []
    for delay, sign in ((0, 1.0), (window_us, -1.0)):
        if delay > events.last:
            continue
        if delay:
            start = torch.searchsorted(
                keys, (events.t + delay).clamp_(max=events.last).add_(base), right=True
            )
        else:
            start = following(keys)
        seen = (start < ends).nonzero().view(-1)
        starts.append(start.index_select(0, seen))
        numbers.append(seen)
        signs.append(torch.full(seen.shape, sign, dtype=torch.float64, device=seen.device))
    return Sources(start=torch.cat(starts), event=torch.cat(numbers), sign=torch.cat(signs))


def following(keys: Tensor) -> Tensor:
    """Return the place of the first key larger than each of rising i64[N], N > 0; N: there is none."""
    changed = keys[1:] != keys[:-1]
    run = functional.pad(changed.cumsum(0), (1, 0))
    return functional.pad(changed.nonzero().view(-1) + 1, (0, 1), value=len(keys)).index_select(0, run)


def _add_pairs(
    sums: Tensor, events: CellEvents, sources: Sources, scale: Tensor, *, surface: Surface
) -> None:
    """Add the pairs of each source with the events from its start to the end of that block."""
    table, stride = offset_table(events.cell_px, surface.radius_px, device=sums.device)
    place = events.row * stride + events.column
    block_end = (events.rank // BLOCK + 1).mul_(BLOCK)
    block_end = torch.minimum(block_end, events.counts.index_select(0, events.segment)).add_(events.first)
    left = block_end.index_select(0, sources.start).sub_(sources.start)
    # With the longest first, those that still have a pair are the first so many.
    left, order = left.to(torch.uint8).sort(descending=True, stable=True)
    event, number = sources.event.index_select(0, order), sources.start.index_select(0, order)
    segment = events.segment.index_select(0, event)
    shifted = place.index_select(0, event).add_(len(table) // 2)
    stamps = events.t.double()
    stamp, target = stamps.index_select(0, event), segment * sums.shape[1]
    factor = scale.index_select(0, segment).mul_(sources.sign.index_select(0, order))
    num_longer = len(left) - torch.bincount(left, minlength=BLOCK + 1).cumsum(0)
    for num in num_longer.tolist():
        if not num:
            break
        now = number[:num]
        index = table.index_select(0, shifted[:num] - place.index_select(0, now)).add_(target[:num])
        ages = stamp[:num] - stamps.index_select(0, now)
        terms = whole_terms(ages.div_(surface.tau_us).exp_(), factor[:num])
        sums.view(-1).index_add_(0, index, terms)
        now.add_(1)


def offset_table(cell_px: int, radius_px: int, *, device: torch.device) -> tuple[Tensor, int]:
    """Return the number of the offset between two pixels of a cell, and the stride of a pixel's place.

    The place is row * stride + column, the difference of two places points into the table from its middle;
    (2 radius_px + 1)^2 stands for offsets beyond the radius.
    """
    stride, side = 2 * cell_px - 1, 2 * radius_px + 1
    steps = torch.arange(1 - cell_px, cell_px, device=device)
    near = steps.abs() <= radius_px
    number = (steps[:, None] + radius_px) * side + steps + radius_px
    return torch.where(near[:, None] & near, number, side**2).view(-1), stride


def _add_memory(
    sums: Tensor, events: CellEvents, sources: Sources, scale: Tensor, *, surface: Surface
) -> None:
    """Add what the events of later blocks read from the maps of earlier ones."""
    num_maps = (events.counts - 1).clamp_(min=0).div_(BLOCK, rounding_mode="trunc")  # a first block has none
    late = (events.rank >= BLOCK).nonzero().view(-1)
    if not len(late):
        return
    first_map = num_maps.cumsum(0) - num_maps
    opening = late[events.rank[late] % BLOCK == 0]
    stamps = events.t[opening]
    maps = _deposited(
        events, sources, num_maps=num_maps, first_map=first_map, stamps=stamps, tau_us=surface.tau_us
    )
    add_faded(maps, stamps, events.rank[opening] // BLOCK - 1, tau_us=surface.tau_us)

    radius_px, side = surface.radius_px, surface.side
    maps = functional.pad(maps.view(-1, events.cell_px, events.cell_px), (radius_px,) * 4)
    width = maps.shape[2]
    segment, rank = events.segment.index_select(0, late), events.rank.index_select(0, late)
    number = first_map.index_select(0, segment).add_(rank // BLOCK).sub_(1)
    ages = stamps.index_select(0, number) - events.t.index_select(0, late)
    factor = ages.double().div_(surface.tau_us).exp_().mul_(scale.index_select(0, segment))
    corner = number.mul_(width).add_(events.row.index_select(0, late))
    corner.mul_(width).add_(events.column.index_select(0, late))
    target = segment * sums.shape[1]
    for down in range(side):
        for right in range(side):
            seen = maps.view(-1)[down * width + right :].index_select(0, corner)
            sums.view(-1)[down * side + right :].index_add_(0, target, whole_terms(seen, factor))


def _deposited(
    events: CellEvents,
    sources: Sources,
    *,
    num_maps: Tensor,
    first_map: Tensor,
    stamps: Tensor,
    tau_us: float,
) -> Tensor:
    """Return maps f64[M, cell_px^2]: each source faded to the opening of the block after its start's."""
    block = events.rank.index_select(0, sources.start).div_(BLOCK, rounding_mode="trunc")
    segment = events.segment.index_select(0, sources.event)
    kept = (block < num_maps.index_select(0, segment)).nonzero().view(-1)
    event, segment = sources.event.index_select(0, kept), segment.index_select(0, kept)
    number = first_map.index_select(0, segment).add_(block.index_select(0, kept))
    ages = events.t.index_select(0, event).sub_(stamps.index_select(0, number))
    terms = ages.double().div_(tau_us).exp_().mul_(sources.sign.index_select(0, kept))
    index = number.mul_(events.cell_px).add_(events.row.index_select(0, event))
    index.mul_(events.cell_px).add_(events.column.index_select(0, event))
    scale = scales(events.counts)
    maps = torch.zeros((len(stamps), events.cell_px**2), dtype=torch.int64, device=stamps.device)
    maps.view(-1).index_add_(0, index, whole_terms(terms, scale.index_select(0, segment)))
    owners = torch.repeat_interleave(num_maps, output_size=len(stamps))
    return fractions(maps, scale[owners][:, None], torch.float64)


def add_faded(maps: Tensor, stamps: Tensor, rank: Tensor, *, tau_us: float) -> None:
    """Add to each map f64[M, D] all earlier ones of its segment, faded to its stamp; in place.

    rank: place within the segment, i64[M]. Doubling: after step k each map holds the last 2^k.
    """
    step, longest = 1, int(rank.max())
    while step <= longest:
        rows = (rank >= step).nonzero().view(-1)
        fade = (stamps[rows - step] - stamps[rows]).double().div_(tau_us).exp_()
        maps.index_add_(0, rows, maps[rows - step].mul_(fade[:, None]))
        step *= 2
