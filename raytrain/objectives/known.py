"""The mean over the labelled samples of all ranks."""

from torch import Tensor

from raytrain.collectives import all_reduce_sum, world_size


def mean_over_known(total: Tensor, known: Tensor) -> Tensor:
    """Return this rank's share of the mean: over ranks, the mean of the shares is the joint batch's mean.

    `total`: sum of the losses of this rank's labelled samples; `known` bool[B]: which they are. 0 where no
    rank has any.
    """
    count = all_reduce_sum(known.sum().to(total.dtype)) / world_size()
    return total / count.clamp(min=1 / world_size())
