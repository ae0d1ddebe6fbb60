"""Batch normalisation whose statistics span the batch of all ranks."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raytrain.collectives import all_reduce_sum, world_size


class GlobalBatchNorm(_BatchNorm):
    """Normalise [N, C, ...] with mean and variance over the samples of every rank, gradients included.

    With one rank, or in evaluation mode, it is torch's own. A rank may hold no sample at all, and a channel a
    single value: it is normalised to 0. Base of the norms of 2-D and 3-D maps.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised maps, [N, C, ...] in the dtype of the input."""
        if not self.training or (world_size() == 1 and input.numel() > input.shape[1]):
            return super().forward(input)
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        count = wide.new_full((1,), wide.numel() // wide.shape[1])
        others = (0, *range(2, wide.dim()))
        totals = all_reduce_sum(torch.cat([wide.sum(others), count]))
        count = totals[-1:].detach()
        divisor = count.clamp(min=1)
        mean = totals[:-1] / divisor
        per_channel = (-1, *(1,) * (wide.dim() - 2))
        centred = wide - mean.view(per_channel)
        variance = all_reduce_sum(centred.square().sum(others)) / divisor
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1), count[0] > 0)
        normalised = centred * (variance + self.eps).rsqrt().view(per_channel)
        if self.affine:
            normalised = normalised * self.weight.view(per_channel) + self.bias.view(per_channel)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, seen: Tensor) -> None:
        """Move the running statistics; not at all where no rank has `seen` a sample, bool[]."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(seen)
        rate = self.momentum if self.momentum is not None else 1.0 / self.num_batches_tracked.clamp(min=1)
        rate = seen.to(mean.dtype) * rate
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance, rate)


class GlobalBatchNorm2d(GlobalBatchNorm, nn.BatchNorm2d):
    """`GlobalBatchNorm` of images, [N, C, h, w]."""


class GlobalBatchNorm3d(GlobalBatchNorm, nn.BatchNorm3d):
    """`GlobalBatchNorm` of volumes, [N, C, t, h, w]."""
