from dataclasses import replace

import numpy as np
import pytest

from pipelines.forms.clips import (
    EGO,
    EGO_SPEEDS,
    NUM_SCENE_SPEEDS,
    NUM_SPEEDS,
    SCENE,
    SCENE_STEPS,
    ClipMeta,
    ClipPlanner,
    Wanted,
    motion_words,
    request_name,
)
from pipelines.forms.randomness import hash_keys
from raytrain.config.cuts import FramesConfig, MotionConfig, VolumeConfig


def meta_of(num_frames: int, rate_hz: float = 30.0) -> ClipMeta:
    return ClipMeta(times_s=np.arange(num_frames) / rate_hz, width=320, height=240)


def wanted(
    config: FramesConfig, meta: ClipMeta, *, key: str = "k", epoch: int = 0, train: bool = True
) -> Wanted:
    planner = ClipPlanner(requests={"r": config}, seed=0, train=train)
    return planner.wanted("r", meta, key_hash=int(hash_keys([key])[0]), epoch=epoch)


def test_frames_at_a_rate_follow_the_time_stamps() -> None:
    found = wanted(FramesConfig(num_frames=16, rate_hz=10), meta_of(180))
    assert set(np.diff(found.frames)) == {3}
    assert not found.short
    # Of a clip whose second half runs at a third of the rate, each frame is taken once there.
    times = np.concatenate([np.arange(60) / 30, 2 + np.arange(20) / 10])
    slow = wanted(FramesConfig(num_frames=16, rate_hz=10), replace(meta_of(80), times_s=times), train=False)
    assert set(np.diff(slow.frames)) == {1, 3}
    shown = times[slow.frames]
    np.testing.assert_allclose(np.diff(shown), 0.1, atol=1 / 30)


def test_every_start_that_fits_is_drawn_and_none_beyond() -> None:
    found = [wanted(FramesConfig(num_frames=4, rate_hz=0), meta_of(8), key=str(key)) for key in range(200)]
    assert {int(one.frames[0]) for one in found} == {0, 1, 2, 3, 4}
    assert all(np.array_equal(np.diff(one.frames), [1, 1, 1]) for one in found)
    rated = [wanted(FramesConfig(num_frames=4, rate_hz=10), meta_of(30), key=str(key)) for key in range(200)]
    assert max(int(one.frames[-1]) for one in rated) <= 29
    assert min(int(one.frames[0]) for one in rated) < 3
    assert max(int(one.frames[-1]) for one in rated) > 26


@pytest.mark.parametrize("rate_hz", [0, 10])
def test_a_short_clip_repeats_its_last_frame(rate_hz: float) -> None:
    found = wanted(FramesConfig(num_frames=16, rate_hz=rate_hz), meta_of(10))
    assert found.short
    assert found.frames[0] == 0
    assert found.frames[-1] == found.frames[-2] == 9


def test_a_clip_that_just_fits_is_not_short() -> None:
    assert not wanted(FramesConfig(num_frames=10, rate_hz=0), meta_of(10)).short
    assert not wanted(FramesConfig(num_frames=10, rate_hz=30), meta_of(10)).short


def test_the_middle_is_represented() -> None:
    found = wanted(FramesConfig(num_frames=4, rate_hz=0), meta_of(12), train=False)
    assert found.frames.tolist() == [4, 5, 6, 7]


def test_a_plan_is_a_function_of_seed_epoch_and_key() -> None:
    config = FramesConfig(num_frames=4, rate_hz=0)
    same = [wanted(config, meta_of(400), epoch=3).frames.tolist() for _ in range(2)]
    assert same[0] == same[1]
    assert wanted(config, meta_of(400), epoch=4).frames.tolist() != same[0]
    assert wanted(config, meta_of(400), epoch=3, key="other").frames.tolist() != same[0]


def test_the_union_holds_each_frame_once() -> None:
    requests = {"a": FramesConfig(num_frames=8, rate_hz=10), "b": FramesConfig(num_frames=4, rate_hz=10)}
    plan, found = ClipPlanner(requests=requests, seed=0).plan(meta_of(180), key_hash=7, epoch=0)
    assert np.array_equal(plan.frames, np.unique(plan.frames))
    assert set(plan.frames) == set(found["a"].frames) | set(found["b"].frames)
    assert len(plan.large) == 0


def test_equal_requests_have_one_name() -> None:
    assert request_name(FramesConfig(num_frames=8)) == request_name(VolumeConfig(num_frames=8))
    names = [FramesConfig(num_frames=8), FramesConfig(num_frames=9), FramesConfig(num_frames=8, rate_hz=5)]
    moving = [MotionConfig(num_frames=8), MotionConfig(num_frames=8, still=True)]
    assert len({request_name(one) for one in [*names, *moving]}) == 5


def motions(config: MotionConfig, num_frames: int = 200) -> list[Wanted]:
    return [wanted(config, meta_of(num_frames), key=str(key)) for key in range(400)]


def test_the_coin_is_fair_and_all_speeds_occur() -> None:
    found = [one.motion for one in motions(MotionConfig())]
    kinds = np.array([motion.kind for motion in found if motion])
    assert 0.4 < kinds.mean() < 0.6
    assert {motion.speed for motion in found if motion} == set(range(NUM_SPEEDS))
    assert all((motion.speed < NUM_SCENE_SPEEDS) == (motion.kind == SCENE) for motion in found if motion)


def test_egomotion_takes_one_large_frame_and_moves_as_far_as_its_speed_says() -> None:
    for one in motions(MotionConfig()):
        assert one.motion is not None
        if one.motion.kind != EGO:
            continue
        assert len(one.frames) == 0
        assert len(set(one.large)) == 1
        top, left, bottom, right = one.motion.window
        down, across = EGO_SPEEDS[one.motion.speed - NUM_SCENE_SPEEDS]
        assert (bottom - top, right - left) == pytest.approx((down / 2, across / 2))
        assert min(one.motion.window) >= -1e-12
        assert max(one.motion.window) <= 1 + 1e-12


def test_scene_motion_takes_steps_of_its_speed() -> None:
    for one in motions(MotionConfig(scene_view="frame")):
        assert one.motion is not None
        if one.motion.kind == SCENE:
            assert len(one.large) == 0
            (step,) = set(np.diff(one.frames))
            assert step in SCENE_STEPS[one.motion.speed]


def test_a_clip_too_short_for_a_pace_is_not_asked_for_it() -> None:
    speeds = {one.motion.speed for one in motions(MotionConfig(num_frames=8), 45) if one.motion}
    assert {0, 1} <= speeds
    assert 2 not in speeds
    tiny = [one for one in motions(MotionConfig(num_frames=8), 5) if one.motion and one.motion.kind == SCENE]
    assert all(one.short and one.motion and one.motion.speed == 0 for one in tiny)


def test_the_still_control_sees_one_frame_of_the_same_clips() -> None:
    moving, still = (motions(MotionConfig(scene_view="frame", still=still)) for still in (False, True))
    for one, other in zip(moving, still, strict=True):
        assert one.motion is not None
        assert other.motion is not None
        assert (one.motion.kind, one.motion.speed) == (other.motion.kind, other.motion.speed)
        assert len(set(other.frames)) <= 1
        assert other.motion.window[:2] == other.motion.window[2:]
        if one.motion.kind == SCENE:
            assert other.frames[0] in one.frames


def test_a_window_at_rest_shows_the_scene_at_the_scale_of_egomotion() -> None:
    for one in motions(MotionConfig()):
        assert len(one.frames) == 0
        assert len(one.large) == 16
        if one.motion and one.motion.kind == SCENE:
            assert one.motion.window[:2] == one.motion.window[2:]


def test_a_request_is_left_out_after_its_last_epoch() -> None:
    requests = {"a": FramesConfig(num_frames=8), "b": FramesConfig(num_frames=4)}
    planner = ClipPlanner(requests=requests, seed=0, epochs={"a": 2})
    assert [set(planner.plan(meta_of(180), key_hash=7, epoch=epoch)[1]) for epoch in (1, 2)] == [
        {"a", "b"},
        {"b"},
    ]


def test_words() -> None:
    assert motion_words(EGO, 3) == "egomotion still"
    assert motion_words(EGO, 4) == "egomotion x -2"
    assert motion_words(SCENE, 1) == "scene, step 3 5 6"
