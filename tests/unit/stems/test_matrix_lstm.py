"""Matrix-LSTM: the fixture's arrays, a plain loop, batch invariance, carried state, odd recordings."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from raytrain.bench.matrix_lstm import bytes_kept, padded_surface, recording
from raytrain.config.stems import MatrixLstmConfig
from raytrain.errors import ConfigError
from raytrain.stems import MatrixLstm, build_stem
from raytrain.stems.fields import Geometry, bound, group
from raytrain.stems.recurrence import last_hidden

WAYS = ("auto", "padded", "buckets", "scan")
CASES = {
    "a": ("a", {"hidden": 3}),
    "a_bound4_recent": ("a", {"hidden": 3, "max_events": 4, "keep": "recent"}),
    "a_bound4_spread": ("a", {"hidden": 3, "max_events": 4, "keep": "spread"}),
    "b": ("b", {"hidden": 4, "time": "ts"}),
    "c": ("c", {"hidden": 2, "time": "ts", "bins": 2, "abs_ts": True}),
    "d": ("d", {"hidden": 3, "field_px": 3}),
}
PARTS = {"weight_ih_l0": "w_ih", "weight_hh_l0": "w_hh", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}


def make(**values):
    return build_stem(MatrixLstmConfig(**values), seed_words=(0, "stem")).double()


def fixture_stem(parity, case, way="auto", **values):
    stem = make(**values)
    stem.load_state_dict({f"lstm.{ours}": parity[f"mlstm_{case}_{part}"] for ours, part in PARTS.items()})
    stem.way = way
    return stem


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("array", CASES)
def test_fixture_surfaces(parity, recordings, array, way):
    case, values = CASES[array]
    surfaces = fixture_stem(parity, case, way, **values)(recordings("s0", "s1"))
    for name, surface in zip(("s0", "s1"), surfaces, strict=True):
        expected = parity[f"{name}_mlstm_{array}"].permute(2, 0, 1)
        torch.testing.assert_close(surface, expected, rtol=0, atol=1e-12)


def test_fixture_surfaces_in_float32(parity, recordings):
    stem = fixture_stem(parity, "a", hidden=3).float()
    expected = torch.stack([parity[f"{name}_mlstm_a"].permute(2, 0, 1) for name in ("s0", "s1")]).float()
    torch.testing.assert_close(stem(recordings("s0", "s1")), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_fixture_gradients(parity, recordings, way):
    stem = fixture_stem(parity, "a", way, hidden=3)
    cotangents = torch.stack([parity[f"{name}_mlstm_a_cotangent"] for name in ("s0", "s1")])
    loss = (stem(recordings("s0", "s1")) * cotangents.permute(0, 3, 1, 2)).sum()
    assert loss.item() == pytest.approx(float(parity["mlstm_a_loss"]), abs=1e-12)
    loss.backward()
    for ours, part in PARTS.items():
        gradient = getattr(stem.lstm, ours).grad
        torch.testing.assert_close(gradient, parity[f"mlstm_a_grad_{part}"], rtol=0, atol=1e-6)


def test_scan_gradients_by_differences(drawn):
    """Also of features and of carried states, through both results."""
    from raytrain.stems.recurrence import last_states

    draw = torch.Generator().manual_seed(1)
    lengths = torch.tensor([1, 4, 2, 6])
    shapes = ((13, 3), (4, 2), (4, 2), (8, 3), (8, 2), (8,), (8,))
    values = [
        torch.randn(*shape, generator=draw, dtype=torch.float64, requires_grad=True) for shape in shapes
    ]

    def both(features, hidden, cell, *weights):
        return last_states(features, lengths, weights=weights, initial=(hidden, cell))

    assert torch.autograd.gradcheck(both, values)


@pytest.mark.parametrize("hidden", [2, 6])
def test_all_ways_agree_on_long_and_short_rows(hidden):
    lengths = torch.tensor([700, 1, 1, 2, 9, 33, 5, 1] + [3] * 200)
    features = torch.rand(int(lengths.sum()), 2, dtype=torch.float64)
    lstm = nn.LSTM(2, hidden).double()
    results = []
    for way in WAYS:
        lstm.zero_grad()
        last = last_hidden(features, lengths, weights=tuple(lstm.parameters()), way=way)
        last.square().sum().backward()
        results.append([last.detach(), *(values.grad.clone() for values in lstm.parameters())])
    rows = [lstm(row[:, None])[1][0][0, 0] for row in features.split(lengths.tolist())]
    torch.testing.assert_close(results[0][0], torch.stack(rows), rtol=0, atol=1e-12)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-9, atol=1e-12)


SETTINGS = (
    {},
    {"time": "ts", "bins": 3, "abs_ts": True, "squeeze": True},
    {"time": "ts_max", "field_px": 3, "stride_px": 2},
    {"time": "delay", "field_px": 2, "max_events": 3},
    {"bins": 2, "max_events": 4, "keep": "recent"},
)


@pytest.mark.parametrize("values", SETTINGS)
@given(counts=st.lists(st.integers(0, 60), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=12)
def test_alone_as_in_a_batch(drawn, part_of, values, counts, seed):
    events = drawn(seed, counts)
    stem = make(hidden=3, **values)
    together = stem(events)
    for index, count in enumerate(counts):
        ranges = [(0, count) if other == index else (0, 0) for other in range(len(counts))]
        alone = stem(part_of(events, ranges))
        torch.testing.assert_close(together[index], alone[index], rtol=0, atol=1e-12)
    assert together.isfinite().all()


def test_plain_loop_of_overlapping_fields_and_bins(drawn):
    """Write the surface down as a loop over bins, fields and events."""
    events = drawn(3, [80], width=7, height=5)
    stem = make(hidden=2, field_px=4, stride_px=2, bins=2, time="delay_norm", max_events=0)
    surface = stem(events)
    rows, columns, left, top = 3, 4, 2, 2  # ceil(5 / 2), ceil(7 / 2); padding 3 and 3, the larger half before
    assert surface.shape == (1, 4, rows, columns)
    times = (events.t - events.t[0]).tolist()
    middle = times[-1] / 2
    places = list(zip(events.x.tolist(), events.y.tolist(), times, events.p.tolist(), strict=True))
    for part in (0, 1):
        inside = [event for event in places if (event[2] >= middle) == bool(part)]
        for row in range(rows):
            for column in range(columns):
                seen = [
                    (p, x - column * 2 + left, y - row * 2 + top, t)
                    for x, y, t, p in inside
                    if 0 <= x - column * 2 + left < 4 and 0 <= y - row * 2 + top < 4
                ]
                cell = surface[0, part * 2 : part * 2 + 2, row, column]
                if not seen:
                    assert (cell == 0).all()
                    continue
                delays = [b[3] - a[3] for a, b in zip([seen[0], *seen[:-1]], seen, strict=True)]
                longest = max(delays) + 1e-6
                told = [
                    [p, x / 3, y / 3, delay / longest]
                    for (p, x, y, _), delay in zip(seen, delays, strict=True)
                ]
                expected = stem.lstm(torch.tensor(told, dtype=torch.float64)[:, None])[1][0][0, 0]
                torch.testing.assert_close(cell, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "values",
    [{"time": "delay"}, {"time": "ts"}, {"time": "ts_max", "field_px": 3}, {"time": "ts", "hidden": 9}],
)
def test_carried_state_equals_one_pass(drawn, part_of, values):
    events = drawn(5, [60, 25, 0, 1])
    stem = make(**{"hidden": 3, **values})
    span = events.first, events.last
    expected = stem(events, span=span)
    cuts = [
        [(0, 20), (0, 0), (0, 0), (0, 1)],
        [(20, 21), (0, 24), (0, 0), (1, 1)],
        [(21, 60), (24, 25), (0, 0), (1, 1)],
    ]
    state = stem.start(4, events.height, events.width)
    for ranges in cuts:
        surface, state = stem.advance(part_of(events, ranges), state, span=span)
    torch.testing.assert_close(surface, expected, rtol=0, atol=1e-12)
    gradient = torch.autograd.grad(surface.square().sum(), stem.lstm.weight_hh_l0)[0]
    one_pass = torch.autograd.grad(expected.square().sum(), stem.lstm.weight_hh_l0)[0]
    torch.testing.assert_close(gradient, one_pass, rtol=1e-9, atol=1e-12)
    assert not state.detach().hidden.requires_grad


def test_state_and_bins_do_not_go_together(drawn):
    stem = make(bins=2)
    with pytest.raises(ConfigError, match="cannot be carried over 2 bins"):
        stem.advance(drawn(0, [3]), stem.start(1, 6, 8))


@pytest.mark.parametrize("values", [*SETTINGS, {"time": "ts"}])
def test_odd_recordings(drawn, values):
    stem = make(hidden=3, **values)
    events = drawn(7, [0, 1, 5, 0], lasting_us=1)  # all stamps equal
    surface = stem(events)
    surface.sum().backward()
    assert surface.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in stem.parameters())
    if values.get("squeeze") is None:
        assert (surface[[0, 3]] == 0).all()
        assert (surface[1] != 0).any()
    nothing = drawn(7, [0, 0])
    stem.zero_grad()
    empty = stem(nothing)
    assert empty.shape == (2, *surface.shape[1:])
    empty.sum().backward()
    assert (empty == 0).all()
    assert (stem.lstm.weight_ih_l0.grad == 0).all()


def test_squeeze_scales_each_channel(drawn):
    stem = make(hidden=2, bins=2, squeeze=True)
    events = drawn(11, [40, 30])
    scaled = stem(events)
    excite, stem.excite = stem.excite, None
    plain = stem(events)
    means = plain.mean((2, 3))
    scales = torch.sigmoid(torch.relu(means @ excite.squeeze.weight.T) @ excite.excite.weight.T)
    torch.testing.assert_close(scaled, plain * scales[:, :, None, None], rtol=0, atol=1e-12)
    assert sum(values.numel() for values in excite.parameters()) == 2 * 4 * 4


def test_bound_keeps_newest_and_first(drawn):
    events = drawn(2, [200])
    fields = group(events, None, Geometry(width=8, height=6))
    longest = int(fields.lengths.argmax())
    start, count = int(fields.starts[longest]), int(fields.lengths.max())
    whole = fields.event[start : start + count]
    for keep in ("recent", "spread"):
        kept = bound(fields, 7, keep)
        inside = kept.event[kept.starts[longest] : kept.starts[longest] + kept.lengths[longest]]
        step = count // 6
        spread = torch.cat([whole[:1], whole.flip(0)[: 6 * step : step].flip(0)])
        assert inside.equal(whole[-7:] if keep == "recent" else spread)
        assert kept.lengths.equal(fields.lengths.clamp(max=7))
    assert bound(fields, 0, "recent") is fields


def test_long_recordings_keep_little_for_backward():
    """What the bench prints: a fraction of the padded layout, the same surface."""
    events = recording(3000, height=45, width=60)
    stem = build_stem(MatrixLstmConfig(hidden=3, max_events=0), seed_words=(0,))
    assert isinstance(stem, MatrixLstm)
    torch.testing.assert_close(stem(events), padded_surface(stem, events), rtol=0, atol=1e-6)
    ours, padded = (bytes_kept(way) for way in (lambda: stem(events), lambda: padded_surface(stem, events)))
    assert ours < padded / 20


def test_initial_values_are_keyed():
    first, again = (build_stem(MatrixLstmConfig(), seed_words=(0, "a")) for _ in range(2))
    other = build_stem(MatrixLstmConfig(), seed_words=(0, "b"))
    assert first.lstm.weight_ih_l0.equal(again.lstm.weight_ih_l0)
    assert not first.lstm.weight_ih_l0.equal(other.lstm.weight_ih_l0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hidden": 0}, "stem.hidden is 0; it must be at least 1"),
        ({"stride_px": 2}, "pixels between the fields would be lost"),
        ({"squeeze": True}, "set stem.bins to 2 or more"),
        ({"max_events": 1}, "stem.max_events is 1; it must be at least 2"),
    ],
)
def test_wrong_settings(values, words):
    with pytest.raises(ConfigError, match=words):
        MatrixLstmConfig(**values)
