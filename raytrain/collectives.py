"""Exact sums over the ranks of one pathway: differentiable, and of gradients in the background.

Every function is the identity in a process without torch.distributed, or with one rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


def world_size() -> int:
    """Return the number of ranks; 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum over all ranks; the gradient is summed over all ranks as well.

    The gradient that reaches a rank is that of the SUM of all ranks' losses; averaged over the ranks by
    GradientAverager it is the gradient of the mean loss, as if one process held the joint batch.
    """
    if world_size() == 1:
        return values
    total: Tensor = _AllReduceSum.apply(values)  # type: ignore[no-untyped-call]
    return total


def share_of_ranks(counts: Tensor) -> Tensor:
    """Return W x counts / their sums over the W ranks: what means over so many values weigh here.

    The mean over the ranks of share x mean is the mean over the values of all ranks. 1 where all ranks count
    alike; 0 where none has any.
    """
    return counts * world_size() / all_reduce_sum(counts).clamp(min=1)


def means_over_ranks(rows: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean of each f[..., B] over the B of all ranks, f[..., 1]; no gradient.

    All ranks give as many tensors; their B may differ, and is the same for all tensors of a rank. 0 where no
    rank has any.
    """
    if world_size() == 1:
        return [part.mean(-1, keepdim=True) for part in rows]
    sums = [part.detach().sum(-1, keepdim=True) for part in rows]
    count = rows[0].new_full((1,), rows[0].shape[-1])
    totals = all_reduce_sum(torch.cat([*(part.flatten() for part in sums), count]))
    pieces = torch.split(totals[:-1] / totals[-1].clamp(min=1), [part.numel() for part in sums])
    return [piece.view_as(part) for piece, part in zip(pieces, sums, strict=True)]


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor) -> Tensor:
        grad = grad_total.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad


@dataclass
class _Bucket:
    parameters: list[Tensor]
    missing: bool
    """whether a parameter has no gradient on this rank"""
    scalars: Tensor
    flat: Tensor | None
    work: Any


class GradientAverager:
    """Averages gradients over the ranks while later layers are still being computed.

    One bucket a launch: the gradients of some parameters, flattened, and a few scalars (a loss, a stop flag).
    All ranks must launch the same parameters in the same order. With one rank nothing is copied or sent.
    A gradient that some ranks lack counts as 0 there; one that all lack stays missing, so that the optimiser
    leaves its parameter alone for any number of ranks.

    Example:
        averager.launch(layer.parameters(), scalars=loss.detach().reshape(1))
        mean_losses = averager.wait()
    """

    def __init__(self) -> None:
        self._buckets: list[_Bucket] = []

    def launch(self, parameters: Sequence[Tensor], *, scalars: Tensor) -> None:
        """Start averaging the gradients of `parameters` and the `scalars`, f[S]."""
        chosen = list(parameters)
        missing = any(parameter.grad is None for parameter in chosen)
        if world_size() == 1:
            self._buckets.append(_Bucket(chosen, missing, scalars, None, None))
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in chosen]
        held = scalars.new_ones(len(chosen))
        if missing:
            held = scalars.new_tensor([parameter.grad is not None for parameter in chosen])
        flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), scalars.reshape(-1), held])
        for parameter in chosen:
            parameter.grad = None
        work = dist.all_reduce(flat, async_op=True)
        self._buckets.append(_Bucket(chosen, missing, scalars, flat, work))

    def wait(self) -> Tensor:
        """Write the averaged gradients back; return the averaged scalars in order of launch, f[S]."""
        buckets, self._buckets = self._buckets, []
        return torch.cat([_finish(bucket) for bucket in buckets])


def _finish(bucket: _Bucket) -> Tensor:
    if bucket.flat is None:
        return bucket.scalars.reshape(-1)
    bucket.work.wait()
    bucket.flat.div_(world_size())
    sizes = [parameter.numel() for parameter in bucket.parameters]
    *pieces, scalars, held = torch.split(bucket.flat, [*sizes, bucket.scalars.numel(), len(sizes)])
    # what this rank has a gradient of need not be asked for: reading waits for the device
    anywhere = held.tolist() if bucket.missing else [1.0] * len(sizes)
    for parameter, piece, ranks in zip(bucket.parameters, pieces, anywhere, strict=True):
        if ranks == 0:
            continue
        # in the parameter's own layout: fused Adam walks both as one line and does not look at strides
        parameter.grad = torch.empty_like(parameter).copy_(piece.view_as(parameter))
    return scalars
