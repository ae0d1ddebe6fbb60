"""Matrix-LSTM: a learnt event surface from one LSTM shared by all receptive fields."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.views.events import Events
from raytrain.config.stems import MatrixLstmConfig
from raytrain.errors import ConfigError
from raytrain.stems.base import Stem
from raytrain.stems.features import Spans, bins_of, features_of, num_features, spans_of_bins
from raytrain.stems.fields import Fields, Geometry, bound, group
from raytrain.stems.recurrence import Way, Weights, last_hidden, last_states


@dataclass(frozen=True, kw_only=True)
class SurfaceState:
    """What is carried from one part of a recording to the next, for each receptive field."""

    hidden: Tensor
    """f[B, H, W, C]"""
    cell: Tensor
    """f[B, H, W, C]"""
    stamp: Tensor
    """i64[B, H, W], us of the newest event; -1: none yet"""

    def detach(self) -> "SurfaceState":
        """Return the state cut off from what it was computed from."""
        return SurfaceState(hidden=self.hidden.detach(), cell=self.cell.detach(), stamp=self.stamp)


class SqueezeExcite(nn.Module):
    """Scale channels by what the whole map holds of them; reduction 1, no biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels, bias=False)
        self.excite = nn.Linear(channels, channels, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the scaled maps, [B, C, H, W]."""
        scales: Tensor = self.excite(self.squeeze(maps.mean((2, 3))).relu()).sigmoid()
        return maps * scales[:, :, None, None]


class MatrixLstm(Stem):
    """The last hidden state of each receptive field after its events in order of arrival, 0 where none came.

    Example: `MatrixLstm(MatrixLstmConfig(hidden=3))(events)` is f[B, 3, H, W].

    Source: Cannici, Ciccone, Romanoni, Matteucci 2020, "A Differentiable Recurrent Surface for Asynchronous
    Event-Based Data". The features, bounds and bins are the authors'; their largest delay, first and last
    stamps are taken over the events alone, where theirs also saw the padding of shorter rows.
    """

    way: Way = "auto"
    """how the recurrence is computed; all ways agree to rounding"""

    def __init__(self, config: MatrixLstmConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.lstm = nn.LSTM(num_features(config), config.hidden)
        self.excite = SqueezeExcite(config.channels) if config.squeeze else None

    @property
    def weights(self) -> Weights:
        """The LSTM's weights in torch's layout."""
        w_ih, w_hh, b_ih, b_hh = self.lstm.parameters()
        return w_ih, w_hh, b_ih, b_hh

    def forward(self, events: Events, span: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the surfaces of a batch, f[B, bins * C, H, W], bins first.

        `span`: first and last stamp of each recording, i64[B] twice, where they are not the events' own.
        """
        geometry = self._geometry(events.height, events.width)
        fields, features = self._prepare(events, geometry, span=span, before=None)
        with torch.autocast(features.device.type, enabled=False):
            hidden = last_hidden(features, fields.lengths, weights=self.weights, way=self.way)
        cells = len(events) * geometry.bins * geometry.rows * geometry.columns
        surface = hidden.new_zeros(cells, self.config.hidden).index_put((fields.cell,), hidden)
        maps = surface.view(len(events), geometry.bins, geometry.rows, geometry.columns, -1)
        maps = maps.permute(0, 1, 4, 2, 3).flatten(1, 2)
        if self.excite is not None:
            maps = self.excite(maps)
        return maps

    def start(self, num_samples: int, height: int, width: int) -> SurfaceState:
        """Return the state before any event of recordings of a sensor of `height` x `width` px."""
        geometry, weight = self._geometry(height, width), self.weights[0]
        shape = (num_samples, geometry.rows, geometry.columns)
        zeros = weight.new_zeros(*shape, self.config.hidden)
        return SurfaceState(hidden=zeros, cell=zeros, stamp=torch.full(shape, -1, device=weight.device))

    def advance(
        self, events: Events, state: SurfaceState, span: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, SurfaceState]:
        """Return surfaces f[B, C, H, W] and state after the next part of each recording.

        Parts equal one pass where the time feature does not look ahead: `delay`, or `ts` and `ts_max` with
        the recording's `span`; the bound of events holds for each part.

        Raises:
            ConfigError: several bins of time, which each begin afresh.
        """
        if self.config.bins > 1:
            raise ConfigError(f"a state cannot be carried over {self.config.bins} bins; set stem.bins to 1")
        geometry = self._geometry(events.height, events.width)
        flat = state.hidden.flatten(0, 2), state.cell.flatten(0, 2), state.stamp.flatten()
        fields, features = self._prepare(events, geometry, span=span, before=flat[2])
        initial = flat[0][fields.cell], flat[1][fields.cell]
        with torch.autocast(features.device.type, enabled=False):
            ends = last_states(features, fields.lengths, weights=self.weights, initial=initial)
        newest = events.t[fields.event[fields.starts + fields.lengths - 1]]
        hidden, cell, stamp = (
            before.index_put((fields.cell,), after).view(shape)
            for before, after, shape in zip(
                flat, (*ends, newest), (state.hidden.shape, state.cell.shape, state.stamp.shape), strict=True
            )
        )
        return hidden.permute(0, 3, 1, 2), SurfaceState(hidden=hidden, cell=cell, stamp=stamp)

    def _geometry(self, height: int, width: int) -> Geometry:
        config = self.config
        return Geometry(
            width=width,
            height=height,
            field_px=config.field_px,
            stride_px=config.stride_px,
            bins=config.bins,
        )

    @torch.no_grad()
    def _prepare(
        self,
        events: Events,
        geometry: Geometry,
        *,
        span: tuple[Tensor, Tensor] | None,
        before: Tensor | None,
    ) -> tuple[Fields, Tensor]:
        """Return the bounded fields and the features f[M, F] of their entries."""
        config = self.config
        first, last = (events.first, events.last) if span is None else span
        recording = bins = Spans(segment=events.sample, first=first, last=last)
        bin_of = None
        if config.bins > 1:
            bin_of = bins_of(events, recording, config.bins)
            bins = spans_of_bins(events, bin_of, config.bins)
        fields = bound(group(events, bin_of, geometry), config.max_events, config.keep)
        features = features_of(
            events,
            fields,
            config=config,
            geometry=geometry,
            recording=recording,
            bins=bins,
            before=None if before is None else before[fields.cell],
            dtype=self.weights[0].dtype,
        )
        return fields, features
