"""Shift and mirror of recordings against plain loops; draws that depend on seed, epoch and sample alone."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.forms.randomness import hash_keys
from pipelines.views.augmentations import EventAugmentation, EventDraws, ImageAugmentation
from pipelines.views.events import Events
from pipelines.views.operators.events import build_event_operator
from pipelines.views.views import Operated
from raytrain.config.operators import CountConfig, EstConfig, LastTimestampConfig, VoxelGridConfig
from raytrain.config.pathway import AugmentationConfig

WIDTH, HEIGHT = 11, 7
COLUMNS = ("x", "y", "t", "p")


def recordings(sizes: list[int], *, seed: int = 0) -> Events:
    """Recordings of so many events each on a sensor of 11 x 7 px; many equal stamps."""
    draw = np.random.default_rng(seed)
    total = sum(sizes)
    stamps = [np.sort(draw.integers(0, 40, size)) + draw.integers(0, 10**6) for size in sizes]
    return Events(
        x=torch.from_numpy(draw.integers(0, WIDTH, total).astype(np.int32)),
        y=torch.from_numpy(draw.integers(0, HEIGHT, total).astype(np.int32)),
        t=torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *stamps])),
        p=torch.from_numpy(draw.integers(0, 2, total).astype(np.uint8)),
        offsets=torch.from_numpy(np.cumsum([0, *sizes])),
        width=WIDTH,
        height=HEIGHT,
    )


def alone(events: Events, sample: int) -> Events:
    first, last = events.offsets[sample : sample + 2].tolist()
    columns = {name: getattr(events, name)[first:last] for name in COLUMNS}
    return replace(events, **columns, offsets=torch.tensor([0, last - first]))


def rows(events: Events) -> list[list[tuple[int, ...]]]:
    """Each recording's events in their order."""
    table = list(zip(*(getattr(events, name).tolist() for name in COLUMNS), strict=True))
    ends = events.offsets.tolist()
    return [table[first:last] for first, last in pairwise(ends)]


def hashes(num: int) -> NDArray[np.uint64]:
    return hash_keys([f"recording-{index}" for index in range(num)])


def augmentation(*, shift_px: int = 3, flip: bool = True) -> EventAugmentation:
    return EventAugmentation(AugmentationConfig(shift_px=shift_px, flip=flip))


def of_samples(draws: EventDraws, samples: slice) -> EventDraws:
    return EventDraws(**{name: getattr(draws, name)[samples] for name in ("right", "down", "flip")})


sizes = st.lists(st.integers(0, 60), min_size=1, max_size=6)
seeds = st.integers(0, 2**31)


@settings(max_examples=60, deadline=None)
@given(sizes=sizes, seed=seeds, shift_px=st.sampled_from([0, 1, 4, 20]), flip=st.booleans())
def test_events_are_moved_dropped_and_mirrored_as_by_hand(
    sizes: list[int], seed: int, shift_px: int, flip: bool
) -> None:
    augment = augmentation(shift_px=shift_px, flip=flip)
    events = recordings(sizes, seed=seed)
    before = rows(events)
    draws = augment.draw(hashes(len(sizes)), seed=seed, epoch=1)
    found = augment(events, draws)
    expected = []
    for number, recording in enumerate(before):
        moved = [
            (x + int(draws.right[number]), y + int(draws.down[number]), t, p) for x, y, t, p in recording
        ]
        inside = [event for event in moved if 0 <= event[0] < WIDTH and 0 <= event[1] < HEIGHT]
        if draws.flip[number]:
            inside = [(WIDTH - 1 - x, y, t, p) for x, y, t, p in inside]
        expected.append(inside)
    assert rows(found) == expected
    assert found.counts.tolist() == [len(recording) for recording in expected]
    assert found.num_events == int(found.offsets[-1]) == sum(map(len, expected))
    assert (found.width, found.height, len(found)) == (WIDTH, HEIGHT, len(sizes))
    assert all((part.t.diff() >= 0).all() for part in (alone(found, n) for n in range(len(found))))
    for name in (*COLUMNS, "offsets"):
        assert getattr(found, name).dtype == getattr(events, name).dtype
    assert rows(events) == before  # the columns are shared memory


@settings(max_examples=40, deadline=None)
@given(sizes=sizes, seed=seeds)
def test_a_recording_alone_and_in_a_batch_comes_out_the_same(sizes: list[int], seed: int) -> None:
    augment = augmentation()
    events = recordings(sizes, seed=seed)
    keys = hashes(len(sizes))
    together = augment(events, augment.draw(keys, seed=seed, epoch=0))
    for sample in range(len(sizes)):
        own = augment(alone(events, sample), augment.draw(keys[sample : sample + 1], seed=seed, epoch=0))
        assert rows(own) == rows(alone(together, sample))


@settings(max_examples=30, deadline=None)
@given(sizes=sizes, seed=seeds)
def test_mirrored_twice_is_itself(sizes: list[int], seed: int) -> None:
    augment = augmentation(shift_px=0)
    events = recordings(sizes, seed=seed)
    draws = augment.draw(hashes(len(sizes)), seed=seed, epoch=0)
    assert rows(augment(augment(events, draws), draws)) == rows(events)


@settings(max_examples=30, deadline=None)
@given(sizes=sizes, seed=seeds, right=st.integers(-12, 12), down=st.integers(-8, 8))
def test_events_dropped_are_those_in_the_margin(sizes: list[int], seed: int, right: int, down: int) -> None:
    events = recordings(sizes, seed=seed)
    num = len(sizes)
    draws = EventDraws(right=np.full(num, right), down=np.full(num, down), flip=np.zeros(num, np.bool_))
    found = augmentation(shift_px=12)(events, draws)
    counts = build_event_operator(CountConfig())(events).sum(1)
    kept = counts[:, max(0, -down) : max(0, HEIGHT - down), max(0, -right) : max(0, WIDTH - right)]
    assert found.counts.tolist() == kept.sum((1, 2)).tolist()


@settings(max_examples=20, deadline=None)
@given(
    sizes=sizes,
    seed=seeds,
    config=st.sampled_from(
        [CountConfig(num_bins=2), LastTimestampConfig(), VoxelGridConfig(num_bins=3), EstConfig()]
    ),
)
def test_the_surface_of_mirrored_events_is_the_mirrored_surface(
    sizes: list[int], seed: int, config: CountConfig
) -> None:
    operated = Operated(AugmentationConfig(flip=True), config, canvas_px=64)
    events = recordings(sizes, seed=seed)
    draws = operated.draw(hashes(len(sizes)), seed=seed, epoch=0)
    plain = operated(events, None)
    flip = torch.from_numpy(draws.flip)[:, None, None, None]
    assert torch.equal(operated(events, draws), torch.where(flip, plain.flip(3), plain))
    assert torch.equal(operated(operated.augmented(events, draws), None), operated(events, draws))


def test_without_draws_nothing_changes() -> None:
    events = recordings([5, 0, 9])
    operated = Operated(AugmentationConfig(flip=True, shift_px=5), CountConfig(), canvas_px=64)
    assert operated.augmented(events, None) is events
    assert torch.equal(operated(events, None), build_event_operator(CountConfig())(events))
    idle = augmentation(shift_px=0, flip=False)
    assert idle(events, idle.draw(hashes(3), seed=0, epoch=0)) is events


def test_draws_are_in_range_cover_it_and_repeat() -> None:
    augment = augmentation(shift_px=3)
    draws = augment.draw(hashes(4000), seed=3, epoch=1)
    for shift in (draws.right, draws.down):
        values, counts = np.unique(shift, return_counts=True)
        assert values.tolist() == list(range(-3, 4))
        assert counts.min() > 480
    assert 0.46 < draws.flip.mean() < 0.54
    for one, other in ((draws.right, draws.down), (draws.right, draws.flip)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.06
    for changed in ({"seed": 4, "epoch": 1}, {"seed": 3, "epoch": 2}):
        other_draws = augment.draw(hashes(4000), **changed)
        assert (other_draws.right == draws.right).mean() < 0.2
        assert (other_draws.flip == draws.flip).mean() < 0.6


def test_mirroring_does_not_change_the_shift_and_is_that_of_images() -> None:
    mirrored = augmentation().draw(hashes(50), seed=0, epoch=2)
    plain = augmentation(flip=False).draw(hashes(50), seed=0, epoch=2)
    assert np.array_equal(plain.right, mirrored.right)
    assert np.array_equal(plain.down, mirrored.down)
    assert not plain.flip.any()
    images = ImageAugmentation(AugmentationConfig(crop_px=8, flip=True), canvas_px=20)
    assert np.array_equal(images.draw(hashes(50), seed=0, epoch=2).flip, mirrored.flip)


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_ranks_draw_the_batch_s_draws(num_ranks: int) -> None:
    """What a rank's share of a batch is drawn is that share of what one worker draws."""
    keys = hashes(48)
    settings = AugmentationConfig(flip=True, shift_px=6)
    whole = Operated(settings, CountConfig(), canvas_px=64).draw(keys, seed=5, epoch=3)
    positions = np.arange(48)
    seen: dict[int, tuple[int, int, bool]] = {}
    for rank in range(num_ranks):
        share = positions[positions // 2 % num_ranks == rank]
        own = Operated(settings, VoxelGridConfig(), canvas_px=64)  # another pathway's
        draws = own.draw(keys[share], seed=5, epoch=3)
        found = zip(draws.right.tolist(), draws.down.tolist(), draws.flip.tolist(), strict=True)
        seen.update(zip(share.tolist(), found, strict=True))
    assert seen == {
        place: (int(whole.right[place]), int(whole.down[place]), bool(whole.flip[place]))
        for place in range(48)
    }


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16, torch.int16, torch.int64])
def test_narrow_columns_do_not_wrap(kind: torch.dtype) -> None:
    events = recordings([200, 30])
    narrow = replace(events, x=events.x.to(kind), y=events.y.to(kind))
    augment = augmentation(shift_px=20)
    draws = EventDraws(right=np.array([-4, 300]), down=np.array([2, -1]), flip=np.array([True, False]))
    found = augment(narrow, draws)
    assert found.x.dtype == kind
    assert rows(found) == rows(augment(events, draws))
    assert found.counts[1] == 0


def test_draws_of_another_batch_and_an_unknown_sensor_are_refused() -> None:
    augment = augmentation()
    draws = augment.draw(hashes(3), seed=0, epoch=0)
    with pytest.raises(ValueError, match="got 2 recordings but draws for 3; draw for the same batch"):
        augment(recordings([4, 4]), draws)
    with pytest.raises(ValueError, match="the sensor is 0 x 7 px; state its size"):
        augment(replace(recordings([4, 4, 4]), width=0), draws)
