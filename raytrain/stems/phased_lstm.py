"""Phased LSTM: a recurrent baseline over the sequence of a recording's events."""

import math

import torch
from torch import Tensor, nn

from pipelines.views.events import Events
from raytrain.config.stems import PhasedLstmConfig
from raytrain.stems.base import Stem


class PhasedLstm(Stem):
    """An LSTM whose units listen in turns: each has a period, a shift, and a gate open for a share of it.

    Phase phi = ((t - s) mod tau) / tau; the gate rises to 1 and falls back over the open share of the period
    and leaks a little after it (not in evaluation). State = gate * LSTM's + (1 - gate) * state before.

    Source: Neil, Pfeiffer, Liu 2016, "Phased LSTM: Accelerating Recurrent Network Training for Long or
    Event-based Sequences".
    """

    def __init__(self, config: PhasedLstmConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.embedding = nn.Sequential(nn.Linear(3, config.embedding), nn.ReLU())
        self.cell = nn.LSTMCell(config.embedding, config.channels)
        log_shortest, log_longest = math.log(config.shortest_us), math.log(config.longest_us)
        periods = torch.rand(config.channels) * (log_longest - log_shortest) + log_shortest
        self.log_period_us = nn.Parameter(periods)
        # a share of the period: in microseconds the optimiser's steps would be below its last bit
        self.shift = nn.Parameter(torch.rand(config.channels))

    def forward(self, events: Events) -> Tensor:
        """Return the hidden state after each recording's last event, f[B, C, 1, 1]; without events 0."""
        taken, heard = _spread(events, self.config.max_events)
        kind = self.shift.dtype
        sizes = (max(1, events.width - 1), max(1, events.height - 1))
        x, y, p = (column[taken].to(kind) for column in (events.x, events.y, events.p))
        inputs = self.embedding(torch.stack([x / sizes[0], y / sizes[1], p], -1) * 2 - 1)
        gates = self._gates((events.t[taken] - events.first).to(kind)) * heard[..., None]
        hidden: Tensor = inputs.new_zeros(len(events), self.channels)
        cell = hidden
        for step, gate in zip(inputs, gates, strict=True):
            new_hidden, new_cell = self.cell(step, (hidden, cell))
            hidden, cell = torch.lerp(hidden, new_hidden, gate), torch.lerp(cell, new_cell, gate)
        return hidden[:, :, None, None]

    def _gates(self, stamps_us: Tensor) -> Tensor:
        """Return how far each unit's gate is open at stamps [T, B]: f[T, B, C] in 0 .. 1."""
        share, period = self.config.open_share, self.log_period_us.exp()
        phase = torch.remainder(stamps_us[..., None] / period - self.shift, 1.0)
        rising, falling = 2 * phase / share, 2 - 2 * phase / share
        closed = self.config.leak * phase if self.training else torch.zeros_like(phase)
        return torch.where(phase < share / 2, rising, torch.where(phase < share, falling, closed))


def _spread(events: Events, max_events: int) -> tuple[Tensor, Tensor]:
    """Return events taken evenly, the last among them, i64[T, B], and which of them count, bool[T, B]."""
    counts = events.counts
    lengths = counts.clamp(max=max_events)
    longest = int(lengths.max()) if len(lengths) else 0
    steps = torch.arange(longest, device=events.device)[:, None]
    heard = steps < lengths
    taken = events.offsets[:-1] + (steps + 1) * counts // lengths.clamp(min=1) - 1
    return torch.where(heard, taken, 0), heard
