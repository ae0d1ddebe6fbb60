"""What every event surface promises: shapes, the same bits in any batch, whole numbers, every recording."""

import copy
import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.views.events import Events
from pipelines.views.operators.events import (
    EVENT_OPERATORS,
    EventOperator,
    build_event_operator,
    local_memory,
)
from pipelines.views.operators.events.exact_sums import fractions, scales, whole_terms
from pipelines.views.operators.events.hats import Hats
from pipelines.views.operators.events.local_memory import chunks, following
from pipelines.views.operators.events.places import places
from raytrain.config.operators import (
    BinaryFramesConfig,
    CountConfig,
    EstConfig,
    EventOperatorConfig,
    HatsConfig,
    LastTimestampConfig,
    TimeSurfaceConfig,
    VoxelGridConfig,
)
from raytrain.errors import ConfigError

CONFIGS: dict[str, tuple[EventOperatorConfig, int]] = {
    "count": (CountConfig(), 2),
    "count-log": (CountConfig(num_bins=3, scale="log"), 6),
    "count-maximum": (CountConfig(num_bins=4, split="events", scale="maximum"), 8),
    "last_timestamp": (LastTimestampConfig(), 2),
    "time_surface": (TimeSurfaceConfig(), 2),
    "time_surface-bins": (TimeSurfaceConfig(tau_us=300.0, num_bins=4), 8),
    "hats": (HatsConfig(), 2),
    "hats-small": (HatsConfig(cell_px=3, radius_px=1, tau_us=90.0, window_us=200, normalise="none"), 2),
    "hats-channels": (HatsConfig(cell_px=4, radius_px=2, layout="channels", normalise="cell_polarity"), 50),
    "voxel_grid": (VoxelGridConfig(), 5),
    "voxel_grid-nonzero": (VoxelGridConfig(num_bins=3, normalise="nonzero"), 3),
    "est": (EstConfig(), 18),
    "est-one": (EstConfig(num_bins=1, measure="one"), 2),
    "binary_frames": (BinaryFramesConfig(), 16),
    "binary_frames-bits": (BinaryFramesConfig(num_frames=2, num_bits=5, split="events"), 4),
}
WIDTH, HEIGHT = 9, 7


@pytest.fixture(params=list(CONFIGS), scope="module")
def named(request: pytest.FixtureRequest) -> tuple[EventOperator, int]:
    config, channels = CONFIGS[request.param]
    return build_event_operator(config), channels


def recording(num_events: int, *, seed: int, longest_us: int = 1_000, first_us: int | None = None) -> Events:
    """One recording on a 9 x 7 sensor; many equal stamps where longest_us is small."""
    draw = np.random.default_rng(seed)
    start = int(draw.integers(0, 10**9)) if first_us is None else first_us
    return Events(
        x=torch.from_numpy(draw.integers(0, WIDTH, num_events).astype(np.int32)),
        y=torch.from_numpy(draw.integers(0, HEIGHT, num_events).astype(np.int32)),
        t=torch.from_numpy(np.sort(draw.integers(0, longest_us, num_events)) + start),
        p=torch.from_numpy(draw.integers(0, 2, num_events).astype(np.uint8)),
        offsets=torch.tensor([0, num_events]),
        width=WIDTH,
        height=HEIGHT,
    )


def joined(parts: list[Events]) -> Events:
    columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in "xytp"}
    ends = np.cumsum([0, *(part.num_events for part in parts)])
    return Events(**columns, offsets=torch.from_numpy(ends), width=WIDTH, height=HEIGHT)


def batch() -> Events:
    sizes = [(0, 5), (200, 40), (1, 1), (37, 1), (0, 1), (90, 10**6)]
    return joined(
        [recording(num, seed=seed, longest_us=longest) for seed, (num, longest) in enumerate(sizes)]
    )


def exact(config: EventOperatorConfig, events: Events) -> torch.Tensor:
    return build_event_operator(config).transform(events, torch.float64)


def test_shape_type_and_range(named: tuple[EventOperator, int]) -> None:
    operator, channels = named
    maps = operator(batch())
    assert operator.channels == channels
    assert maps.shape == (6, channels, *operator.size(HEIGHT, WIDTH))
    assert maps.dtype == torch.float32
    assert maps.is_contiguous()
    assert not maps.requires_grad
    assert maps.isfinite().all()
    low, high = operator.value_range
    assert low <= float(maps.min()) <= float(maps.max()) <= high
    assert not maps[0].any()
    assert not maps[4].any()  # no events: zeros
    assert maps[1].any()


def test_no_recordings_stay_none(named: tuple[EventOperator, int]) -> None:
    operator, channels = named
    nothing = replace(recording(0, seed=0), offsets=torch.tensor([0]))
    assert operator(nothing).shape == (0, channels, *operator.size(HEIGHT, WIDTH))


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(list(CONFIGS)),
    sizes=st.lists(st.integers(0, 120), min_size=1, max_size=5),
    longest_us=st.sampled_from([1, 7, 500, 10**7]),
    seed=st.integers(0, 2**20),
)
def test_alone_in_a_batch_and_in_another_order_the_same_bits(
    name: str, sizes: list[int], longest_us: int, seed: int
) -> None:
    operator = build_event_operator(CONFIGS[name][0])
    parts = [recording(num, seed=seed + index, longest_us=longest_us) for index, num in enumerate(sizes)]
    alone = torch.cat([operator(part) for part in parts])
    assert torch.equal(operator(joined(parts)), alone)
    assert torch.equal(operator(joined(parts[::-1])), alone.flip(0))
    beside = joined([recording(300, seed=seed, longest_us=10**8), *parts])  # a longer, later neighbour
    assert torch.equal(operator(beside)[1:], alone)


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(list(CONFIGS)), seed=st.integers(0, 2**20))
def test_the_order_of_equal_stamps_does_not_matter(name: str, seed: int) -> None:
    config = CONFIGS[name][0]
    events = recording(150, seed=seed, longest_us=12)
    draw = np.random.default_rng(seed)
    order = torch.from_numpy(np.lexsort((draw.random(150), events.t.numpy())))
    turned = replace(events, **{column: getattr(events, column)[order] for column in "xytp"})
    if getattr(config, "split", "time") == "events":
        return  # there the order is what is asked for
    first, second = exact(config, events), exact(config, turned)
    if isinstance(config, HatsConfig):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-11)
    else:
        assert torch.equal(first, second)


def test_stamps_count_from_the_first(named: tuple[EventOperator, int]) -> None:
    operator, _ = named
    events = batch()
    later = replace(events, t=events.t + 2**42 + 1)
    assert torch.equal(operator(later), operator(events))


def test_one_event_and_equal_stamps_are_finite(named: tuple[EventOperator, int]) -> None:
    operator, _ = named
    one, equal = recording(1, seed=3), recording(50, seed=4, longest_us=1)
    for events in (one, equal):
        maps = operator(events)
        assert maps.isfinite().all()


def test_whole_number_types_are_widened_and_columns_left_alone(named: tuple[EventOperator, int]) -> None:
    operator, _ = named
    events = batch()
    expected, before = operator(events), copy.deepcopy(events)
    for changed in (
        {"x": events.x.to(torch.uint16), "y": events.y.to(torch.uint16)},
        {"p": events.p.bool()},
        {"p": events.p.to(torch.int8), "x": events.x.long(), "y": events.y.to(torch.uint8)},
        {"offsets": events.offsets.int(), "p": events.p.long()},
        {"t": events.t.to(torch.uint64)},
    ):
        kept = {name: column.clone() for name, column in changed.items()}
        assert torch.equal(operator(replace(events, **changed)), expected)
        assert all(torch.equal(changed[name], column) for name, column in kept.items())
    for name in ("x", "y", "t", "p", "offsets"):
        assert torch.equal(getattr(events, name), getattr(before, name))


def changed_at(column: torch.Tensor, place: int, value: int) -> torch.Tensor:
    column = column.clone()
    column[place] = value
    return column


WRONG: dict[str, tuple[Any, str]] = {
    "float stamps": (lambda e: {"t": e.t.double()}, r"column t is float64\[328\]; give whole numbers"),
    "padded": (lambda e: {"x": e.x[None]}, r"column x is int32\[1, 328\]"),
    "bool pixels": (lambda e: {"x": e.x.bool()}, r"column x is bool\[328\]"),
    "lengths": (lambda e: {"y": e.y[:-1]}, r"column y has 327 events, x has 328"),
    "polarity -1": (
        lambda e: {"p": changed_at(e.p.to(torch.int8), 5, -1)},
        r"p runs from -1 to 1; .* 0\.\.1",
    ),
    "polarity 256": (lambda e: {"p": changed_at(e.p.long(), 5, 256)}, r"p runs from 0 to 256"),
    "x beyond": (lambda e: {"x": changed_at(e.x, 5, 9)}, r"x runs from 0 to 9; it must lie in 0\.\.8"),
    "x beyond 32 bits": (lambda e: {"x": changed_at(e.x.long(), 5, 2**32)}, r"x runs from 0 to 4294967296"),
    "y below": (lambda e: {"y": changed_at(e.y, 5, -1)}, r"y runs from -1 to 6"),
    "time back": (lambda e: {"t": changed_at(e.t, 100, 10**10)}, r"stamps fall 1 times within a recording"),
    "offsets short": (lambda e: {"offsets": e.offsets[:-1]}, r"offsets run from 0 to 238 for 328 events"),
    "offsets back": (
        lambda e: {"offsets": changed_at(e.offsets, 1, 220)},
        r"offsets run from 0 to 328 .* must rise",
    ),
    "offsets float": (lambda e: {"offsets": e.offsets.float()}, r"offsets are float32\[7\]; give int64"),
    "no sensor": (lambda e: {"width": 0}, r"the sensor is 0 x 7 px"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_refused_in_words(case: str) -> None:
    change, told = WRONG[case]
    events = batch()
    with pytest.raises(ValueError, match=told) as caught:
        build_event_operator(CountConfig())(replace(events, **change(events)))
    assert str(caught.value).startswith("Count: ")


def test_copies_autocast_and_nothing_to_save(named: tuple[EventOperator, int]) -> None:
    operator, _ = named
    events = batch()
    expected = operator(events)
    assert list(operator.parameters()) == []
    assert operator.state_dict() == {}
    for twin in (copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):
        assert torch.equal(twin(events), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(operator(events), expected)


def test_registry_names_are_the_settings_names() -> None:
    for config, _ in CONFIGS.values():
        assert type(build_event_operator(config)) is EVENT_OPERATORS[config.name]
    assert {config.name for config, _ in CONFIGS.values()} == set(EVENT_OPERATORS)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: CountConfig(num_bins=0), "operator.num_bins is 0"),
        (lambda: TimeSurfaceConfig(tau_us=0), "operator.tau_us is 0"),
        (lambda: HatsConfig(cell_px=0), "operator.cell_px is 0"),
        (lambda: HatsConfig(window_us=0), "operator.window_us is 0"),
        (lambda: VoxelGridConfig(num_bins=0), "operator.num_bins is 0"),
        (lambda: EstConfig(num_bins=-1), "operator.num_bins is -1"),
        (lambda: BinaryFramesConfig(num_bits=25), r"operator.num_bits is 25; it must lie in 1\.\.24"),
    ],
)
def test_settings_out_of_range_are_named(make: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()


def test_places_of_a_large_batch_are_whole_numbers() -> None:
    """Beyond 2^24 cells float32 would round, beyond 2^31 32 bits would wrap."""
    num_recordings, channels, height, width = 40_000, 18, 180, 240
    for sample in (31, 39_999):
        offsets = torch.zeros(num_recordings + 1, dtype=torch.int64)
        offsets[sample + 1 :] = 3
        events = Events(
            x=torch.tensor([1, 238, 239], dtype=torch.int32),
            y=torch.tensor([0, 179, 178], dtype=torch.int32),
            t=torch.arange(3),
            p=torch.tensor([0, 1, 1], dtype=torch.uint8),
            offsets=offsets,
            width=width,
            height=height,
        )
        channel = torch.tensor([0, 17, 9])
        expected = [
            ((sample * channels + c) * height + y) * width + x
            for c, y, x in zip([0, 17, 9], [0, 179, 178], [1, 238, 239], strict=True)
        ]
        assert places(events, channel, num_channels=channels).tolist() == expected
        assert [int(np.float32(place)) for place in expected] != expected  # the trap is there


def test_no_event_is_lost_from_bins() -> None:
    events = recording(1_000, seed=1, longest_us=77_777)
    for split in ("time", "events"):
        for num_bins in (1, 3, 7, 10):
            counts = exact(CountConfig(num_bins=num_bins, split=split), events)  # type: ignore[arg-type]
            assert counts.sum() == 1_000
            per_bin = counts.view(2, num_bins, -1).sum((0, 2))
            assert per_bin.min() > 0
            if split == "events":
                assert per_bin.max() - per_bin.min() <= 1


def test_counts_do_not_wrap() -> None:
    num = 70_000
    zeros = torch.zeros(num, dtype=torch.int32)
    hot = replace(recording(0, seed=0), x=zeros, y=zeros, t=torch.arange(num), p=zeros.to(torch.uint8))
    hot = replace(hot, offsets=torch.tensor([0, num]))
    assert build_event_operator(CountConfig())(hot)[0, 0, 0, 0] == num
    voxels = exact(VoxelGridConfig(num_bins=2), hot)
    assert float(voxels.sum()) == -num
    torch.testing.assert_close(
        exact(CountConfig(scale="log"), hot)[0, 0, 0, 0], torch.tensor(math.log(num + 1)).double()
    )
    assert exact(CountConfig(scale="maximum"), hot).max() == 1


def test_time_surface_at_the_ends_of_spans_is_the_newest_event_so_far() -> None:
    events, tau_us, num_bins = recording(60, seed=8, longest_us=900), 250.0, 4
    expected = torch.zeros(1, 2, num_bins, HEIGHT, WIDTH, dtype=torch.float64)
    start, length = int(events.first), int(events.last - events.first)
    for x, y, t, p in zip(*(getattr(events, name).tolist() for name in "xytp"), strict=True):
        for number in range(num_bins):
            age = length * (number + 1) / num_bins - (t - start)
            if age >= 0:
                expected[0, p, number, y, x] = math.exp(-age / tau_us)
    found = exact(TimeSurfaceConfig(tau_us=tau_us, num_bins=num_bins), events)
    torch.testing.assert_close(found, expected.flatten(1, 2), rtol=0, atol=1e-14)


def test_an_event_on_the_end_of_a_span_belongs_to_the_surface() -> None:
    zeros = torch.zeros(3, dtype=torch.int32)
    events = replace(recording(0, seed=0), x=zeros, y=zeros, p=zeros.to(torch.uint8))
    events = replace(events, t=torch.tensor([0, 50, 100]), offsets=torch.tensor([0, 3]))
    assert exact(TimeSurfaceConfig(num_bins=2), events)[0, :2, 0, 0].tolist() == [1.0, 1.0]


def test_binary_frames_and_their_bits() -> None:
    events = recording(80, seed=2, longest_us=5_000)
    frames = exact(BinaryFramesConfig(num_frames=6), events)
    counts = exact(CountConfig(num_bins=6), events)
    assert torch.equal(frames, (counts > 0).double())
    packed = exact(BinaryFramesConfig(num_frames=2, num_bits=3), events).view(2, 2, HEIGHT, WIDTH)
    bits = frames.view(2, 2, 3, HEIGHT, WIDTH)
    expected = (bits[:, :, 0] + 2 * bits[:, :, 1] + 4 * bits[:, :, 2]) / 7
    torch.testing.assert_close(packed, expected, rtol=0, atol=1e-15)


def test_normalised_voxels_have_mean_0_and_deviation_1_where_not_empty() -> None:
    events = joined([recording(200, seed=5), recording(40, seed=6)])
    raw = exact(VoxelGridConfig(), events)
    normal = exact(VoxelGridConfig(normalise="nonzero"), events)
    for before, after in zip(raw, normal, strict=True):
        values = before[before != 0]
        expected = (values - values.mean()) / values.std(correction=0)
        torch.testing.assert_close(after[before != 0], expected, rtol=0, atol=1e-12)
        assert not after[before == 0].any()
    same = joined([recording(1, seed=7)])
    assert not exact(VoxelGridConfig(normalise="nonzero"), same).any()  # no spread: zeros, not NaN


def plain_hats(events: Events, config: HatsConfig) -> torch.Tensor:
    """The definition, pair by pair, of one recording: f64[cells down, cells across, 2, side, side]."""
    side = 2 * config.radius_px + 1
    down, across = math.ceil(HEIGHT / config.cell_px), math.ceil(WIDTH / config.cell_px)
    sums = torch.zeros(down, across, 2, side, side, dtype=torch.float64)
    columns = list(zip(*(getattr(events, name).tolist() for name in "xytp"), strict=True))
    for x, y, t, p in columns:
        cell = (y // config.cell_px, x // config.cell_px)
        for other_x, other_y, other_t, other_p in columns:
            right, below = other_x - x, other_y - y
            if (
                other_p == p
                and (other_y // config.cell_px, other_x // config.cell_px) == cell
                and max(abs(right), abs(below)) <= config.radius_px
                and t - config.window_us <= other_t < t
            ):
                weight = math.exp((other_t - t) / config.tau_us)
                sums[(*cell, p, below + config.radius_px, right + config.radius_px)] += weight
    return sums


@settings(max_examples=20, deadline=None)
@given(
    num_events=st.integers(0, 220),
    cell_px=st.sampled_from([1, 3, 10]),
    radius_px=st.integers(0, 3),
    tau_us=st.sampled_from([0.5, 40.0, 1e9]),
    window_us=st.sampled_from([1, 60, 299, 10**6]),
    longest_us=st.sampled_from([3, 300]),
    seed=st.integers(0, 2**20),
)
def test_hats_are_the_sum_over_pairs(
    num_events: int,
    cell_px: int,
    radius_px: int,
    tau_us: float,
    window_us: int,
    longest_us: int,
    seed: int,
) -> None:
    config = HatsConfig(
        cell_px=cell_px, radius_px=radius_px, tau_us=tau_us, window_us=window_us, normalise="none"
    )
    events = recording(num_events, seed=seed, longest_us=longest_us)
    operator = build_event_operator(config)
    assert isinstance(operator, Hats)
    torch.testing.assert_close(
        operator.surfaces(events)[0], plain_hats(events, config), rtol=1e-12, atol=1e-11
    )


def test_hats_of_a_hot_pixel_over_many_blocks() -> None:
    """5,000 events on one pixel: a sum with a closed form, far more blocks than any doubling has at first."""
    num, period_us, tau_us, window = 5_000, 3, 700.0, 400
    zeros = torch.zeros(num, dtype=torch.int32)
    hot = replace(recording(0, seed=0), x=zeros, y=zeros, t=torch.arange(num) * period_us)
    hot = replace(hot, p=zeros.to(torch.uint8), offsets=torch.tensor([0, num]))
    config = HatsConfig(tau_us=tau_us, window_us=window * period_us, normalise="none")
    operator = build_event_operator(config)
    assert isinstance(operator, Hats)
    surface = operator.surfaces(hot)[0, 0, 0, 0]
    expected = sum((num - lag) * math.exp(-lag * period_us / tau_us) for lag in range(1, window + 1))
    assert float(surface[3, 3]) == pytest.approx(expected, rel=1e-12)
    assert float(surface.sum()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("num_events", [1, 13, 64, 2**20])
def test_hats_do_not_depend_on_the_size_of_chunks(num_events: int, monkeypatch: pytest.MonkeyPatch) -> None:
    events = joined([recording(200, seed=1), recording(0, seed=1), recording(150, seed=2)])
    config = HatsConfig(cell_px=5, radius_px=2, tau_us=200.0, window_us=300)
    whole = exact(config, events)
    monkeypatch.setattr(local_memory, "CHUNK_EVENTS", {"cpu": num_events, "other": num_events})
    assert torch.equal(exact(config, events), whole)


@given(counts=st.lists(st.integers(0, 9), max_size=12), num_events=st.integers(1, 12))
def test_chunks_are_whole_segments_and_hold_every_event(counts: list[int], num_events: int) -> None:
    found = chunks(torch.tensor(counts, dtype=torch.int64), num_events)
    segment, event = 0, 0
    for segments, inside in found:
        assert (segments.start, inside.start) == (segment, event)
        segment, event = segments.stop, inside.stop
        assert inside.stop - inside.start == sum(counts[segments])
        assert 0 < inside.stop - inside.start < num_events + max(counts)
    assert event == sum(counts)


@given(keys=st.lists(st.integers(0, 5), min_size=1, max_size=20).map(sorted))
def test_following_is_the_first_larger(keys: list[int]) -> None:
    expected = np.searchsorted(np.array(keys, dtype=np.int64), keys, side="right").tolist()
    assert following(torch.tensor(keys, dtype=torch.int64)).tolist() == expected


@given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=50), bound=st.integers(50, 2**40))
def test_whole_terms_add_up_to_the_sum(values: list[float], bound: int) -> None:
    scale = scales(torch.tensor([bound]))
    terms = whole_terms(torch.tensor(values, dtype=torch.float64), scale)
    total = fractions(terms.sum()[None], scale, torch.float64)
    assert abs(float(total) - math.fsum(values)) <= len(values) * bound * 2.0**-62 + 2.0**-47
    largest = whole_terms(torch.ones(1, dtype=torch.float64), scale)
    assert int(largest) * bound < 2**63


def test_whole_terms_are_rounded_to_the_nearest() -> None:
    values = torch.tensor([0.7, -0.7, 0.2, -0.2], dtype=torch.float64)
    assert whole_terms(values, torch.ones(1, dtype=torch.float64)).tolist() == [1, -1, 0, 0]
