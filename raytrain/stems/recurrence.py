"""One LSTM over many rows of events of any length: each row's last state, in the quickest of three ways.

padded: all rows at once, where that at most doubles the entries. buckets: rows of about the same length
together through torch's fused LSTM. scan: step by step over the rows that are still going.
"""

from typing import Literal

import torch
from torch import Tensor

from raytrain.stems.scan import scan_rows

Weights = tuple[Tensor, Tensor, Tensor, Tensor]
"""torch's LSTM weights: w_ih [4C, F], w_hh [4C, C], b_ih, b_hh [4C], gates in the order i, f, g, o"""
States = tuple[Tensor, Tensor]
"""hidden and cell states, f[R, C] each"""
Way = Literal["auto", "padded", "buckets", "scan"]

LONGEST = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""longest row of each bucket; what is longer shares one more"""
FEW_UNITS = 4
"""up to here a step over many rows is quicker unfused on a CPU, and keeps a tenth for the backward pass"""
FEW_ROWS = 128
"""with fewer rows still going a step costs its fixed time, which is a tenth of it when fused"""


def last_hidden(features: Tensor, lengths: Tensor, *, weights: Weights, way: Way = "auto") -> Tensor:
    """Return each row's hidden state after its last entry, from a state of zeros: f[R, C].

    `features` f[M, F]: entries row after row, row r has `lengths[r]` > 0 of them.
    """
    if not len(lengths):  # weights that met no event have gradients of 0, not none
        return features.new_zeros(0, weights[1].shape[1]) + sum(weight.sum() for weight in weights)
    falling, order = torch.sort(lengths, descending=True, stable=True)
    starts = (lengths.cumsum(0) - lengths)[order]
    parts = []
    first = 0
    for end in _bucket_ends(falling, weights[1].shape[1], num_entries=len(features), way=way):
        parts.append(_fused(features, falling[first:end], starts[first:end], weights))
        first = end
    if first < len(falling):
        parts.append(scan_rows(features, falling[first:], starts[first:], weights=weights)[0])
    return torch.cat(parts).index_select(0, _inverse(order))


def last_states(features: Tensor, lengths: Tensor, *, weights: Weights, initial: States) -> States:
    """Return each row's hidden and cell state after its last entry, from states f[R, C]: f[R, C] twice."""
    if not len(lengths):
        return initial
    falling, order = torch.sort(lengths, descending=True, stable=True)
    starts = (lengths.cumsum(0) - lengths)[order]
    ordered = (initial[0][order], initial[1][order])
    hiddens, cells = scan_rows(features, falling, starts, weights=weights, initial=ordered)
    back = _inverse(order)
    return hiddens.index_select(0, back), cells.index_select(0, back)


def _bucket_ends(falling: Tensor, channels: int, *, num_entries: int, way: Way) -> list[int]:
    """Return where each bucket of the fused LSTM ends in the rows of falling length; the rest is scanned."""
    if way == "scan":
        return []
    if way == "padded" or (way == "auto" and int(falling[0]) * len(falling) <= 2 * num_entries):
        return [len(falling)]
    if way == "auto" and channels <= FEW_UNITS and falling.device.type == "cpu":
        falling = falling[falling > falling[min(FEW_ROWS, len(falling)) - 1]]
    buckets = torch.bucketize(falling, torch.tensor(LONGEST, device=falling.device))
    _, num_rows = torch.unique_consecutive(buckets, return_counts=True)
    return num_rows.cumsum(0).tolist()  # type: ignore[no-any-return]


def _fused(features: Tensor, lengths: Tensor, starts: Tensor, weights: Weights) -> Tensor:
    """Return the last hidden states of rows, padded to the longest by their own last entries: f[R, C]."""
    num_rows, channels, longest = len(lengths), weights[1].shape[1], int(lengths[0])
    steps = torch.arange(longest, device=lengths.device)[:, None]
    entries = (starts + torch.minimum(steps, lengths - 1)).flatten()
    padded = features.index_select(0, entries).view(longest, num_rows, -1)
    zeros = features.new_zeros(1, num_rows, channels)
    train = torch.is_grad_enabled()
    # input, states, weights, biases, layers, dropout, training, bidirectional, batch first
    outputs, _, _ = torch.lstm(padded, (zeros, zeros), weights, True, 1, 0.0, train, False, False)
    places = (lengths - 1) * num_rows + torch.arange(num_rows, device=lengths.device)
    return outputs.reshape(longest * num_rows, channels).index_select(0, places)


def _inverse(order: Tensor) -> Tensor:
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return inverse
