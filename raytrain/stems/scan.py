"""The LSTM over rows of any length step by step: no padding, and little kept for the backward pass."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ENTRIES_AT_ONCE = 1 << 17
"""hidden units times entries of one part on a CPU: what its cache holds, forward and backward"""


def pack(lengths: Tensor, starts: Tensor, num_entries: int) -> tuple[Tensor, list[int]]:
    """Lay entries of rows out step by step: step t has entry t of each row longer than t, the first rows.

    `lengths` i64[R] > 0 and falling, `starts` i64[R] the first entry of each row. Returns the entry at each
    packed place, i64[M], and the number of rows of each step, never rising.
    """
    device = lengths.device
    sizes = len(lengths) - torch.bincount(lengths)[:-1].cumsum(0)
    steps = torch.arange(len(sizes), device=device)
    steps = torch.repeat_interleave(steps, sizes, output_size=num_entries)
    rows = torch.arange(num_entries, device=device) - (sizes.cumsum(0) - sizes)[steps]
    return starts[rows] + steps, sizes.tolist()


def scan_rows(
    features: Tensor,
    lengths: Tensor,
    starts: Tensor,
    *,
    weights: tuple[Tensor, ...],
    initial: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return each row's hidden and cell state after its last entry: f[R, C] twice.

    `features` f[M, F]; row r is the `lengths[r]` > 0 entries from `starts[r]` on, lengths falling. `weights`
    as in torch's LSTM. `initial`: states to start the rows from, f[R, C] twice; None: zeros.
    """
    w_ih, w_hh, b_ih, b_hh = weights
    bias = b_ih + b_hh
    ends: list[tuple[Tensor, Tensor]] = []
    first = 0
    for num_rows, num_entries in _parts(lengths, w_hh.shape[1]):
        rows = slice(first, first + num_rows)
        source, sizes = pack(lengths[rows], starts[rows], num_entries)
        packed = features.index_select(0, source).t().contiguous()
        if initial is None:
            hidden = cell = features.new_zeros(w_hh.shape[1], num_rows)
        else:
            hidden, cell = (state[rows].t().contiguous() for state in initial)
        ends.append(_Scan.apply(packed, hidden, cell, w_ih, w_hh, bias, sizes))  # type: ignore[no-untyped-call]
        first += num_rows
    hiddens, cells = (torch.cat(states, 1).t() for states in zip(*ends, strict=True))
    return hiddens, cells


def _parts(lengths: Tensor, channels: int) -> list[tuple[int, int]]:
    """Return rows and entries of each part of consecutive rows; on a GPU one part, for the fewest steps."""
    if lengths.device.type != "cpu":
        return [(len(lengths), int(lengths.sum()))]
    upto = lengths.cumsum(0)
    numbers = (upto - 1) // max(1, ENTRIES_AT_ONCE // channels)
    _, rows = torch.unique_consecutive(numbers, return_counts=True)
    entries = upto[rows.cumsum(0) - 1].diff(prepend=upto.new_zeros(1))
    return list(zip(rows.tolist(), entries.tolist(), strict=True))


class _Scan(torch.autograd.Function):
    """The recurrence step by step; keeps the hidden and the cell state of each entry and nothing else.

    Arrays are [channels, entries], so that a step's rows lie side by side and each operation is one sweep.
    """

    @staticmethod
    def forward(
        ctx: Any,
        packed: Tensor,
        hidden: Tensor,
        cell: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        bias: Tensor,
        sizes: list[int],
    ) -> tuple[Tensor, Tensor]:
        channels = w_hh.shape[1]
        with torch.autocast(packed.device.type, enabled=False):
            sigmoids = _sigmoids_first(channels, w_hh.device)
            gates = torch.addmm(bias[sigmoids, None], w_ih[sigmoids], packed)
            hiddens, cells = _forward_steps(gates, w_hh[sigmoids], hidden, cell, sizes)
        ctx.save_for_backward(packed, hidden, cell, w_ih, w_hh, bias, hiddens, cells)
        ctx.sizes = sizes
        return _at_the_end(hiddens, hidden, sizes), _at_the_end(cells, cell, sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor, grad_cell: Tensor) -> tuple[Tensor | None, ...]:
        packed, hidden, cell, w_ih, w_hh, bias, hiddens, cells = ctx.saved_tensors
        before = _places_before(ctx.sizes, packed.device)
        with torch.autocast(packed.device.type, enabled=False):
            # all gates at once: unlike in the forward pass every state before is known
            hiddens_before = torch.cat([hidden, hiddens.index_select(1, before)], 1)
            cells_before = torch.cat([cell, cells.index_select(1, before)], 1)
            gates = torch.addmm(bias[:, None], w_ih, packed).addmm_(w_hh, hiddens_before)
            grad_hidden, grad_cell = grad_hidden.clone(), grad_cell.clone()
            slopes, by_hidden, forget = _slopes(gates, cells, cells_before)
            _backward_steps(
                slopes, by_hidden, forget, w_hh=w_hh, grads=(grad_hidden, grad_cell), sizes=ctx.sizes
            )
            grad_packed = w_ih.t() @ slopes if ctx.needs_input_grad[0] else None
            return (
                grad_packed,
                grad_hidden,
                grad_cell,
                slopes @ packed.t(),
                slopes @ hiddens_before.t(),
                slopes.sum(1),
                None,
            )


def _places_before(sizes: list[int], device: torch.device) -> Tensor:
    """Return the packed place of the entry one step before, for all after the first step's."""
    counts = torch.tensor(sizes, device=device)
    places = torch.arange(sizes[0], sum(sizes), device=device)
    return places - torch.repeat_interleave(counts[:-1], counts[1:], output_size=len(places))


def _sigmoids_first(channels: int, device: torch.device) -> Tensor:
    """Return the rows of i, f, o, g: the three gates with a sigmoid side by side."""
    rows = torch.arange(4 * channels, device=device).view(4, channels)
    return rows[[0, 1, 3, 2]].flatten()


def _forward_steps(
    gates: Tensor, w_hh: Tensor, hidden: Tensor, cell: Tensor, sizes: list[int]
) -> tuple[Tensor, Tensor]:
    """Return hidden and cell states of all entries, f[C, M]; `gates` i, f, o, g lack the recurrent part."""
    channels = len(hidden)
    hiddens, cells = hidden.new_empty(channels, gates.shape[1]), hidden.new_empty(channels, gates.shape[1])
    parts = (gates, gates[: 3 * channels], gates[3 * channels :], *gates.chunk(4)[:3], hiddens, cells)
    steps = zip(*(torch.split(part, sizes, 1) for part in parts), strict=True)
    for all_gates, sigmoids, candidate, input_gate, forget, output, new_hidden, new_cell in steps:
        if hidden.shape[1] != all_gates.shape[1]:
            hidden, cell = hidden[:, : all_gates.shape[1]], cell[:, : all_gates.shape[1]]
        all_gates.addmm_(w_hh, hidden)
        sigmoids.sigmoid_()
        candidate.tanh_()
        torch.mul(forget, cell, out=new_cell)
        new_cell.addcmul_(input_gate, candidate)
        torch.tanh(new_cell, out=new_hidden)
        new_hidden.mul_(output)
        hidden, cell = new_hidden, new_cell
    return hiddens, cells


def _at_the_end(states: Tensor, initial: Tensor, sizes: list[int]) -> Tensor:
    """Return the states after the last step of each row, rows by falling length: f[C, R]."""
    counts = torch.tensor([*sizes, 0])
    starts = counts.cumsum(0) - counts
    steps = torch.repeat_interleave(torch.arange(len(sizes)), -counts.diff()).flip(0)  # last step of each row
    places = starts[steps] + torch.arange(sizes[0])
    return states.index_select(1, places.to(initial.device))


def _slopes(gates: Tensor, cells: Tensor, cells_before: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return d gates by d cell (i, f, g) or d hidden (o), f[4C, M], d cell by d hidden, forget gates."""
    slopes = torch.empty_like(gates)
    input_gate, forget, candidate, output = gates.chunk(4)
    by_input, by_forget, by_candidate, by_output = slopes.chunk(4)
    gates[: 2 * len(cells)].sigmoid_()
    candidate.tanh_()
    output.sigmoid_()
    squashed = cells.tanh()
    torch.mul(squashed, _sigmoid_slope(output), out=by_output)
    torch.mul(candidate, _sigmoid_slope(input_gate), out=by_input)
    torch.mul(cells_before, _sigmoid_slope(forget), out=by_forget)
    torch.addcmul(input_gate, input_gate * candidate, candidate, value=-1, out=by_candidate)
    by_hidden = torch.addcmul(output, output * squashed, squashed, value=-1)
    return slopes, by_hidden, forget


def _sigmoid_slope(gate: Tensor) -> Tensor:
    return torch.addcmul(gate, gate, gate, value=-1)


def _backward_steps(
    slopes: Tensor,
    by_hidden: Tensor,
    forget: Tensor,
    *,
    w_hh: Tensor,
    grads: tuple[Tensor, Tensor],
    sizes: list[int],
) -> None:
    """Turn slopes into the gates' gradients, and `grads` of the last states into the initial ones', in place.

    A row that has not begun yet (seen from its end) still holds the gradient of its last state.
    """
    channels, transposed = w_hh.shape[1], w_hh.t().contiguous()
    by_cell = slopes.view(4, channels, -1)[:3]
    parts = (slopes, by_cell, slopes[3 * channels :], by_hidden, forget)
    steps = zip(*(torch.split(part, sizes, -1) for part in parts), strict=True)
    grad_hidden, grad_cell = (grad[:, :0] for grad in grads)
    for all_gates, cell_gates, output, cell_by_hidden, forget_gate in reversed(list(steps)):
        if grad_hidden.shape[1] != all_gates.shape[1]:
            grad_hidden, grad_cell = (grad[:, : all_gates.shape[1]] for grad in grads)
        grad_cell.addcmul_(grad_hidden, cell_by_hidden)
        cell_gates.mul_(grad_cell)
        output.mul_(grad_hidden)
        torch.mm(transposed, all_gates, out=grad_hidden)
        grad_cell.mul_(forget_gate)
