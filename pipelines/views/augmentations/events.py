"""Random shift and mirror of a batch of event recordings."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.forms.randomness import UInt64s, uniforms
from pipelines.views.events import Events
from pipelines.views.transfer import to_device
from raytrain.config.pathway import AugmentationConfig


@dataclass(frozen=True, kw_only=True)
class EventDraws:
    """What was drawn for each recording of a batch."""

    right: NDArray[np.int64]
    """px that the events are moved to the right, [B]; below 0: to the left"""
    down: NDArray[np.int64]
    """px that the events are moved down, [B]; below 0: up"""
    flip: NDArray[np.bool_]
    """then mirrored left and right, [B]"""


class EventAugmentation(nn.Module):
    """Shift, drop what leaves the sensor, mirror; the sensor keeps its size.

    Source: Gehrig et al. 2019, whose code moves each recording by a whole number of px up to 20, both ways
    and along both axes, and mirrors half of them.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        super().__init__()
        self.config = config

    def draw(self, key_hashes: UInt64s, *, seed: int, epoch: int) -> EventDraws:
        """Return each recording's draws: a function of seed, epoch and sample alone.

        Equally likely shifts of -shift_px .. shift_px; the mirror is the one that images are drawn.
        """
        most = self.config.shift_px
        drawn = uniforms(key_hashes, seed=seed, epoch=epoch, draw="shift", count=2)
        shift = (drawn * (2 * most + 1)).astype(np.int64) - most
        flip = np.zeros(len(key_hashes), dtype=np.bool_)
        if self.config.flip:
            flip = uniforms(key_hashes, seed=seed, epoch=epoch, draw="flip")[:, 0] < 0.5
        return EventDraws(right=shift[:, 0], down=shift[:, 1], flip=flip)

    @torch.no_grad()
    def forward(self, events: Events, draws: EventDraws | None) -> Events:
        """Return the augmented recordings, in the order of their stamps; without draws the events themselves.

        The columns are never written to.
        Raises: ValueError for draws of another batch, or a sensor whose size is not known.
        """
        if draws is None:
            return events
        if not len(draws.right) == len(draws.down) == len(draws.flip) == len(events):
            raise ValueError(
                f"EventAugmentation got {len(events)} recordings but draws for {len(draws.flip)}; "
                "draw for the same batch"
            )
        if events.width < 1 or events.height < 1:
            raise ValueError(
                f"EventAugmentation: the sensor is {events.width} x {events.height} px; state its size"
            )
        if draws.right.any() or draws.down.any():
            events = _shifted(events, draws)
        return _mirrored(events, draws) if draws.flip.any() else events


def _shifted(events: Events, draws: EventDraws) -> Events:
    x = _wide(events.x) + _of_events(draws.right.astype(np.int32), events)
    y = _wide(events.y) + _of_events(draws.down.astype(np.int32), events)
    stays = (x >= 0) & (x < events.width) & (y >= 0) & (y < events.height)
    kept_before = torch.zeros(events.num_events + 1, dtype=torch.int64, device=events.device)
    torch.cumsum(stays, dim=0, out=kept_before[1:])
    places = stays.nonzero().flatten()
    return replace(
        events,
        x=x[places].to(events.x.dtype),
        y=y[places].to(events.y.dtype),
        t=events.t[places],
        p=events.p[places],
        offsets=kept_before[events.offsets.long()],
    )


def _mirrored(events: Events, draws: EventDraws) -> Events:
    x = _wide(events.x)
    mirrored = torch.where(_of_events(draws.flip, events), events.width - 1 - x, x)
    return replace(events, x=mirrored.to(events.x.dtype))


def _of_events(drawn: NDArray[np.generic], events: Events) -> Tensor:
    """Return what was drawn for the recording of each event, [N]."""
    return to_device(torch.from_numpy(drawn), events.device)[events.sample]


def _wide(column: Tensor) -> Tensor:
    """Return a column in which a shift beyond the sensor does not wrap."""
    return column if column.dtype in (torch.int32, torch.int64) else column.long()
