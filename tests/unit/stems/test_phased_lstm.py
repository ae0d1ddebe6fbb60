"""Phased LSTM: its formulas as a plain loop, the events it takes, batches, odd recordings, training."""

import pytest
import torch

from raytrain.config.stems import PhasedLstmConfig
from raytrain.errors import ConfigError
from raytrain.stems import build_stem

SMALL = {"channels": 5, "embedding": 4, "max_events": 16}


def make(**values):
    return build_stem(PhasedLstmConfig(**{**SMALL, **values}), seed_words=(0, "phased")).double()


@torch.no_grad()
def plain(network, events, taken, *, leak):
    """Return the state after the events by the paper's formulas, one unit and one event at a time."""
    share, size = network.config.open_share, network.channels
    period = network.log_period_us.exp()
    hidden = cell = torch.zeros(size, dtype=torch.float64)
    w_ih, w_hh, b_ih, b_hh = network.cell.parameters()
    for index in taken:
        place = torch.stack([events.x[index].double() / 7, events.y[index].double() / 5])
        told = torch.cat([place, events.p[index : index + 1]]).double() * 2 - 1
        gates = w_ih @ network.embedding(told) + b_ih + w_hh @ hidden + b_hh
        i, f, g, o = gates.view(4, size)
        new_cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        new_hidden = o.sigmoid() * new_cell.tanh()
        passed = events.t[index] - events.t[0]
        opened = []
        for unit in range(size):
            phase = float((passed / period[unit] - network.shift[unit]) % 1)
            if phase < share / 2:
                opened.append(2 * phase / share)
            elif phase < share:
                opened.append(2 - 2 * phase / share)
            else:
                opened.append(leak * phase)
        k = torch.tensor(opened, dtype=torch.float64)
        hidden, cell = k * new_hidden + (1 - k) * hidden, k * new_cell + (1 - k) * cell
    return hidden


@pytest.mark.parametrize("training", [True, False])
def test_formulas(drawn, training):
    events = drawn(0, [12])
    network = make(open_share=0.4).train(training)
    expected = plain(network, events, range(12), leak=1e-3 if training else 0.0)
    torch.testing.assert_close(network(events)[0, :, 0, 0], expected, rtol=0, atol=1e-12)
    assert (network(events).abs() > 1e-6).any()


def test_takes_events_evenly_and_the_last(drawn):
    events = drawn(4, [40])
    network = make(open_share=0.4, max_events=8).eval()
    expected = plain(network, events, range(4, 40, 5), leak=0.0)
    torch.testing.assert_close(network(events)[0, :, 0, 0], expected, rtol=0, atol=1e-12)


def test_alone_as_in_a_batch(drawn, part_of):
    counts = [7, 0, 50, 1]
    events = drawn(9, counts)
    network = make(open_share=0.5)
    together = network(events)
    assert together.shape == (4, 5, 1, 1)
    assert (together[1] == 0).all()
    for index, count in enumerate(counts):
        ranges = [(0, count) if other == index else (0, 0) for other in range(4)]
        torch.testing.assert_close(
            network(part_of(events, ranges))[index], together[index], rtol=0, atol=1e-12
        )


def test_every_weight_learns_and_odd_recordings_stay_finite(drawn):
    network = make(open_share=0.5)
    network(drawn(1, [30, 30], lasting_us=500_000)).square().sum().backward()
    assert all(values.grad.isfinite().all() and (values.grad != 0).any() for values in network.parameters())
    assert network(drawn(1, [0, 1, 9], lasting_us=1)).isfinite().all()
    assert network(drawn(1, [0])).shape == (1, 5, 1, 1)


def test_periods_are_drawn_between_the_bounds():
    network = make(channels=500, shortest_us=10.0, longest_us=1000.0)
    periods = network.log_period_us.exp()
    assert 10 <= periods.min() < 12
    assert 800 < periods.max() <= 1000
    assert 50 < periods.median() < 200
    assert ((network.shift >= 0) & (network.shift < 1)).all()


def test_wrong_settings():
    with pytest.raises(ConfigError, match="open_share is 0; it must be above 0"):
        PhasedLstmConfig(open_share=0)
    with pytest.raises(ConfigError, match=r"stem.longest_us is 10.0; it must be at least 1000.0"):
        PhasedLstmConfig(longest_us=10.0)
