"""Voxel grid: signed events, linear in time between bins."""

import math

import torch
from torch import Tensor

from pipelines.views.events import Events
from pipelines.views.operators.events.base import EventOperator
from pipelines.views.operators.events.trilinear import trilinear
from raytrain.config.operators import VoxelGridConfig


class VoxelGrid(EventOperator):
    """Sum of (2p - 1) max(0, 1 - |b - t*|), t* = (B - 1) (t - first) / (last - first); num_bins channels.

    Source: Zhu et al. 2019, as in E2VID. tonic's ToVoxelGrid scales by B and drops what falls off the end.
    """

    num_polarities = 1

    def __init__(self, config: VoxelGridConfig) -> None:
        super().__init__(config)
        self.channels = config.num_bins
        self.normalise = config.normalise == "nonzero"
        self.value_range = (-math.inf, math.inf)

    def transform(self, events: Events, dtype: torch.dtype) -> Tensor:
        """Return the voxels [B, num_bins, H, W]."""
        grid = trilinear(
            events,
            events.p.double().mul_(2).sub_(1),
            num_bins=self.channels,
            first_bin=torch.zeros((), dtype=torch.int64, device=events.device),
            num_channels=self.channels,
            dtype=torch.float64 if self.normalise else dtype,
        )
        if not self.normalise:
            return grid
        for voxels in grid:  # one by one: sums of a whole batch may be grouped otherwise
            normalise_nonzero(voxels)
        return grid.to(dtype)


def normalise_nonzero(voxels: Tensor) -> None:
    """Give the values other than 0 mean 0 and standard deviation 1, in place; equal ones get 0."""
    filled = voxels != 0
    num = filled.sum().clamp(min=1)
    voxels.sub_(voxels.sum() / num).mul_(filled)
    deviation = (voxels.square().sum() / num).sqrt()
    # Equal values leave a rounding error of their mean, not a spread.
    voxels.mul_(torch.where(deviation > 1e-9, deviation.reciprocal(), 0))
