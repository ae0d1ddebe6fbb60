"""Max pooling and ReLU as one step that keeps less for the backward pass."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def max_pool_relu(maps: Tensor) -> Tensor:
    """Return ReLU, then 2 x 2 max pooling at stride 2: [N, C, h, w] -> [N, C, h // 2, w // 2].

    The two commute (ReLU is monotone), so the ReLU and its gate work on a quarter of the pixels, and the
    unpooled map, the largest tensor of a layer, is not kept for the backward pass.
    """
    if torch.compiler.is_compiling():
        return F.relu(F.max_pool2d(maps, 2))
    pooled: Tensor = _MaxPoolRelu.apply(maps)  # type: ignore[no-untyped-call]
    return pooled


class _MaxPoolRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        pooled, indices = torch.ops.aten.max_pool2d_with_indices(maps, [2, 2])
        pooled.relu_()
        ctx.save_for_backward(pooled, indices)
        ctx.shape = maps.shape
        ctx.channels_last = maps.is_contiguous(memory_format=torch.channels_last)
        return pooled  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_pooled: Tensor) -> Tensor:
        pooled, indices = ctx.saved_tensors
        gated = torch.ops.aten.threshold_backward(grad_pooled, pooled, 0)
        layout = torch.channels_last if ctx.channels_last else torch.contiguous_format
        # the operator asks for the unpooled map's shape and layout only: hand it memory that is never touched
        shape_only = torch.empty(ctx.shape, dtype=gated.dtype, device=gated.device, memory_format=layout)
        return torch.ops.aten.max_pool2d_with_indices_backward(  # type: ignore[no-any-return]
            gated, shape_only, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
        )
