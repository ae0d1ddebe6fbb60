"""EST, the event spike tensor: stamps over bins of time through a kernel that is learnt."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from pipelines.views.events import Events
from raytrain.config.stems import LearntEstConfig
from raytrain.layers import keyed_initial_values
from raytrain.stems.base import Stem

FIT_STEPS = 1000
FIT_RATE = 1e-2


class Est(Stem):
    """For each polarity V(b, y, x) = sum over events of th * g(th - b / (B - 1)), th the stamp from 0 to 1.

    g is a network 1-30-30-1, LeakyReLU of slope .1, fitted to the trilinear kernel before training. By
    default it is asked on a grid over [-1, 1] alone and read off in between, differentiably: the grid is so
    spaced that all bins of an event read it at the same fraction. Where all stamps are equal, th = 0 and the
    maps are 0.

    Source: Gehrig, Loquercio, Derpanis, Scaramuzza 2019, "End-to-End Learning of Representations for
    Asynchronous Event-Based Data"; their code divides by the last stamp without taking off the first and
    numbers voxels in float32, which rounds in large batches.
    """

    def __init__(self, config: LearntEstConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.kernel = _network(config.units)
        self.kernel.load_state_dict(_trilinear(config.bins, config.units))

    def forward(self, events: Events) -> Tensor:
        """Return the maps of a batch, f[B, 2 * bins, H, W]: darker events' bins, then brighter's."""
        bins, height, width = self.config.bins, events.height, events.width
        with torch.autocast(events.device.type, enabled=False):
            stamps = self._stamps(events)
            kernel = self._tabulated(stamps) if self.config.table_points else self._exact(stamps)
            weights = stamps[:, None] * kernel
        place = ((events.sample * 2 + events.p) * height + events.y) * width + events.x
        voxel = place[:, None] * bins + torch.arange(bins, device=place.device)
        voxels = weights.new_zeros(len(events) * 2 * height * width * bins)
        voxels = voxels.index_add(0, voxel.flatten(), weights.flatten())
        return voxels.view(len(events), 2, height, width, bins).permute(0, 1, 4, 2, 3).flatten(1, 2)

    def _stamps(self, events: Events) -> Tensor:
        """Return the stamp of each event from 0 to 1 over its recording, f[N]."""
        kind = next(self.kernel.parameters()).dtype
        lasted = (events.last - events.first).clamp(min=1)
        sample = events.sample
        return (events.t - events.first[sample]).to(kind) / lasted.to(kind)[sample]

    def _exact(self, stamps: Tensor) -> Tensor:
        """Return g at each stamp's distance from each bin, f[N, bins]."""
        centres = torch.linspace(0, 1, self.config.bins, dtype=stamps.dtype, device=stamps.device)
        values: Tensor = self.kernel((stamps[:, None] - centres)[..., None])
        return values.squeeze(-1)

    def _tabulated(self, stamps: Tensor) -> Tensor:
        """Return g as `_exact` does, linear between points of a table of it."""
        spans = self.config.bins - 1
        per_span = max(1, round((self.config.table_points - 1) / 2 / spans))
        last = spans * per_span  # table points from 0 to 1, and from -1 to 0
        distances = torch.linspace(-1, 1, 2 * last + 1, dtype=stamps.dtype, device=stamps.device)
        table = self.kernel(distances[:, None]).squeeze(-1)
        by_bin = table.unfold(0, last + 1, per_span).flip(0).t()  # [last + 1, bins], bin 0 nearest to 0
        places = stamps * last
        below = places.long().clamp(max=last - 1)
        # embedding, because its backward pass adds in one order on any number of threads; indexing does not
        left, right = nn.functional.embedding(below, by_bin), nn.functional.embedding(below + 1, by_bin)
        return torch.lerp(left, right, (places - below)[:, None])


def _network(units: int) -> nn.Sequential:
    """Return g, one number to one number."""
    return nn.Sequential(
        nn.Linear(1, units),
        nn.LeakyReLU(0.1),
        nn.Linear(units, units),
        nn.LeakyReLU(0.1),
        nn.Linear(units, 1),
    )


@lru_cache(maxsize=8)
@torch.enable_grad()
def _trilinear(bins: int, units: int) -> dict[str, Tensor]:
    """Return the weights that fit g to max(0, 1 - (bins - 1) |distance|): Adam on one fixed grid.

    The same for every pathway and seed, so that it is fitted once a process, in two seconds.
    """
    with keyed_initial_values("est kernel"):
        work = _network(units).double()
    distances = torch.linspace(-1, 1, 1001, dtype=torch.float64)[:, None]
    target = (1 - (bins - 1) * distances.abs()).clamp(min=0)
    optimiser = torch.optim.Adam(work.parameters(), lr=FIT_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, FIT_STEPS)
    for _ in range(FIT_STEPS):
        optimiser.zero_grad()
        loss: Tensor = nn.functional.mse_loss(work(distances), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return work.to(torch.get_default_dtype()).state_dict()
