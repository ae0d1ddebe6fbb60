import numpy as np

from pipelines.forms.chunk import Chunk, Ragged, from_table, to_table
from pipelines.forms.clip_columns import (
    RAGGED,
    blank_columns,
    clip_columns,
    clip_shape,
    copy_clip,
    motion_of,
    read_clips,
    window_places,
)
from pipelines.forms.clips import EGO, ClipMeta, ClipPlanner, DecodedClip
from pipelines.forms.randomness import hash_keys
from raytrain.config.cuts import FramesConfig, MotionConfig

CANVAS = 8
REQUESTS = {
    "slow": FramesConfig(num_frames=4, rate_hz=5),
    "fast": FramesConfig(num_frames=3, rate_hz=0),
    "motion": MotionConfig(num_frames=5),
}


def decoded(number: int, epoch: int = 0) -> dict[str, np.ndarray]:
    """Frame f of a clip shows f everywhere; its large one f, and the column in the second channel."""
    planner = ClipPlanner(requests=REQUESTS, seed=0)
    meta = ClipMeta(times_s=np.arange(100) / 25, width=20, height=16)
    plan, wanted = planner.plan(meta, key_hash=int(hash_keys([str(number)])[0]), epoch=epoch)
    frames = np.broadcast_to(plan.frames.astype(np.uint8)[:, None, None, None], (len(plan.frames), 3, 8, 8))
    large = np.zeros((len(plan.large), 3, 16, 16), np.uint8)
    large[:, 0] = plan.large[:, None, None]
    large[:, 1], large[:, 2] = np.arange(16)[None, None, :], np.arange(16)[None, :, None]
    clip = DecodedClip(meta=meta, frames=frames.copy(), large=large, decoder="test")
    return clip_columns(clip, plan, wanted)


def chunk_of(samples: list[dict[str, np.ndarray]]) -> Chunk:
    columns = {
        name: Ragged.of([one[name] for one in samples])
        if name in RAGGED
        else np.stack([one[name] for one in samples])
        for name in samples[0]
    }
    count = len(samples)
    return Chunk(
        number=0,
        epoch=0,
        rows=np.arange(count),
        positions=np.arange(count),
        valid=np.ones(count, np.bool_),
        keys=[str(number) for number in range(count)],
        key_hashes=hash_keys([str(number) for number in range(count)]),
        labels=np.zeros(count, np.int64),
        groups=np.arange(count),
        factors=np.zeros((count, 0), np.float32),
        columns=columns,
    )


def test_each_request_gets_its_own_frames_in_its_own_order() -> None:
    chunk = from_table(to_table(chunk_of([decoded(number) for number in range(20)])))
    planner = ClipPlanner(requests=REQUESTS, seed=0)
    meta = ClipMeta(times_s=np.arange(100) / 25, width=20, height=16)
    for name in ("slow", "fast"):
        found = read_clips(chunk, name)
        assert found.shape == (20, REQUESTS[name].num_frames, 3, CANVAS, CANVAS)
        assert found.shape[1:] == clip_shape(chunk, name)
        for number in range(20):
            wanted = planner.wanted(name, meta, key_hash=int(chunk.key_hashes[number]), epoch=0)
            assert found[number, :, 0, 0, 0].tolist() == wanted.frames.tolist()
        assert motion_of(chunk, 0, name) is None


def test_egomotion_is_a_window_that_moves_in_equal_steps() -> None:
    chunk = chunk_of([decoded(number) for number in range(40)])
    found = read_clips(chunk, "motion")
    kinds = set()
    for number in range(40):
        motion = motion_of(chunk, number, "motion")
        assert motion is not None
        kinds.add(motion[0])
        if motion[0] != EGO:
            assert len(set(np.diff(found[number, :, 0, 0, 0].astype(int)))) == 1
            continue
        window = chunk.columns["motion:motion"][number][2:]
        places = window_places(window, 5, 16 - CANVAS)
        assert len(set(found[number, :, 0].ravel())) == 1  # one frame
        np.testing.assert_array_equal(found[number, :, 1, 0, 0], places[:, 1])
        np.testing.assert_array_equal(found[number, :, 2, 0, 0], places[:, 0])
        assert (found[number, 0, 1, 0] == places[0, 1] + np.arange(CANVAS)).all()
    assert kinds == {0, 1}


def test_windows_stay_within_the_large_frame() -> None:
    places = window_places(np.array([0, 1, 1, 0], np.float32), 16, 120)
    assert places[0].tolist() == [0, 120]
    assert places[-1].tolist() == [120, 0]
    assert set(np.diff(places[:, 0])) == {8}


def test_a_chunk_without_any_good_clip_is_black() -> None:
    blank = blank_columns(ClipPlanner(requests=REQUESTS, seed=0), CANVAS)
    chunk = chunk_of([blank, blank])
    for name in REQUESTS:
        assert not read_clips(chunk, name).any()


def test_a_copy_is_not_shared_memory() -> None:
    chunk = chunk_of([decoded(0)])
    target = np.zeros((4, 3, CANVAS, CANVAS), np.uint8)
    copy_clip(chunk, 0, "slow", target)
    before = target.copy()
    target[:] = 255
    copy_clip(chunk, 0, "slow", target)
    np.testing.assert_array_equal(target, before)
