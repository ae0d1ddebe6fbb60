"""Batch normalisation whose statistics span the batch of all ranks."""

import torch
from torch import Tensor, nn

from raytrain.collectives import all_reduce_sum, world_size


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Normalise [N, C, h, w] with mean and variance over the samples of every rank, gradients included.

    With one rank, or in evaluation mode, it is plain `nn.BatchNorm2d`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised maps, [N, C, h, w] in the dtype of the input."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        count = wide.new_full((1,), wide.numel() // wide.shape[1])
        totals = all_reduce_sum(torch.cat([wide.sum((0, 2, 3)), count]))
        count = totals[-1:].detach()
        mean = totals[:-1] / count
        centred = wide - mean[:, None, None]
        variance = all_reduce_sum(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        normalised = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            normalised = normalised * self.weight[:, None, None] + self.bias[:, None, None]
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = self.momentum if self.momentum is not None else 1.0 / self.num_batches_tracked
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance, rate)
