"""Events shared between the two nearest of B instants: what voxel grid and EST have in common."""

import torch
from torch import Tensor

from pipelines.views.events import Events
from pipelines.views.operators.events.exact_sums import fractions, scales
from pipelines.views.operators.events.places import durations, places, relative_stamps


def trilinear(
    events: Events,
    values: Tensor | None,
    *,
    num_bins: int,
    first_bin: Tensor,
    num_channels: int,
    dtype: torch.dtype,
) -> Tensor:
    """Return the sums [B, num_channels, H, W] of v max(0, 1 - |b - (num_bins - 1) th|).

    th = (t - first) / (last - first). values: v f64[N] in -1..1, None: th itself. first_bin: channel i64[N]
    of bin 0 for each event. Without any duration all stand at bin 0.
    """
    stamps, whole = relative_stamps(events), durations(events).index_select(0, events.sample)
    if values is None:
        values = stamps.double().div_(whole)
    scale = scales(events.counts)
    values = values * scale.index_select(0, events.sample)
    steps = stamps * (num_bins - 1)
    lower = steps.div(whole, rounding_mode="trunc")
    share = steps.sub_(lower * whole).double().div_(whole)
    terms = values.round().to(torch.int64)
    above = values.mul_(share).round_().to(torch.int64)

    shape = (len(events), num_channels, events.height, events.width)
    sums = torch.zeros(shape, dtype=torch.int64, device=events.device)
    index = places(events, first_bin + lower, num_channels=num_channels)
    sums.view(-1).index_add_(0, index, terms.sub_(above))
    # The last stamp stands exactly on the last bin: its upper neighbour gets 0, wherever that is put.
    plane = events.height * events.width
    index.add_(torch.where(lower < num_bins - 1, plane, 0))
    sums.view(-1).index_add_(0, index, above)
    return fractions(sums, scale.view(-1, 1, 1, 1), dtype)
