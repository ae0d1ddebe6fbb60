"""Histograms of averaged time surfaces (HATS)."""

import math

import torch
from torch import Tensor

from pipelines.views.events import Events
from pipelines.views.operators.events.base import EventOperator
from pipelines.views.operators.events.exact_sums import fractions, scales
from pipelines.views.operators.events.local_memory import CellEvents, Surface, surface_sums
from pipelines.views.operators.events.places import durations, relative_stamps
from raytrain.config.operators import HatsConfig


class Hats(EventOperator):
    """Mean local-memory surface of the events of each cell and polarity.

    h(z) = sum over events i of the sum over events j of the same cell and polarity at x_i + z, with stamps in
    [t_i - window, t_i), of exp(-(t_i - t_j) / tau); divided by the number of events. Cells at the right and
    bottom may be cut off by the sensor's edge.

    Source: Sironi et al. 2018. tonic's ToAveragedTimesurface adds the event itself (1 at the centre) and
    counts equal stamps; this does not.
    """

    def __init__(self, config: HatsConfig) -> None:
        super().__init__(config)
        self.cell_px, self.side = config.cell_px, 2 * config.radius_px + 1
        self.surface = Surface(radius_px=config.radius_px, tau_us=config.tau_us, window_us=config.window_us)
        self.normalise, self.mosaic = config.normalise, config.layout == "mosaic"
        self.channels = 2 if self.mosaic else 2 * self.side**2
        self.value_range = (0.0, math.inf)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the maps: cells, or tiles of all cells."""
        down, across = self._cells(height, width)
        return (down * self.side, across * self.side) if self.mosaic else (down, across)

    def transform(self, events: Events, dtype: torch.dtype) -> Tensor:
        """Return the mean surfaces as maps [B, channels, H', W']."""
        surfaces = self.surfaces(events).to(dtype)
        order = (0, 3, 1, 4, 2, 5) if self.mosaic else (0, 3, 4, 5, 1, 2)
        shape = (len(events), self.channels, *self.size(events.height, events.width))
        return surfaces.permute(order).reshape(shape).contiguous()

    def surfaces(self, events: Events) -> Tensor:
        """Return the mean surfaces f64[B, cells down, cells across, 2, side, side]."""
        down, across = self._cells(events.height, events.width)
        cell = (events.sample * down + events.y // self.cell_px) * across + events.x // self.cell_px
        segment = cell.mul_(2).add_(events.p)
        counts = torch.zeros(len(events) * down * across * 2, dtype=torch.int64, device=events.device)
        counts.index_add_(0, segment, torch.ones_like(segment))
        narrow = len(counts) < 2**31
        segment, order = (segment.int() if narrow else segment).sort(stable=True)
        cells = CellEvents(
            segment=segment.long(),
            t=relative_stamps(events).index_select(0, order),
            row=(events.y % self.cell_px).index_select(0, order).long(),
            column=(events.x % self.cell_px).index_select(0, order).long(),
            counts=counts,
            cell_px=self.cell_px,
            last=int(durations(events).max()) if len(events) else 0,
        )
        scale = scales(counts.square())
        sums = surface_sums(cells, scale, self.surface)
        surfaces = fractions(sums, scale[:, None], torch.float64).clamp_(min=0)
        surfaces = surfaces.view(len(events), down, across, 2, self.side, self.side)
        if self.normalise == "none":
            return surfaces
        divisor = counts.view(len(events), down, across, 2, 1, 1)
        if self.normalise == "cell":
            divisor = divisor.sum(3, keepdim=True)
        return surfaces.div_(divisor.clamp(min=1))

    def _cells(self, height: int, width: int) -> tuple[int, int]:
        return -(-height // self.cell_px), -(-width // self.cell_px)
