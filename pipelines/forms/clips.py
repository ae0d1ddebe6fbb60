"""Which frames of a clip a pathway asks for: a pure function of (seed, epoch, key, clip meta data).

A sample's plan is the union of its pathways' requests: the file is opened once, every frame is decoded once,
and each pathway is told where its own frames stand among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.forms.randomness import hash_words, uniforms
from raytrain.config.cuts import ClipSettings, MotionConfig

Int64s = NDArray[np.int64]

SCENE_STEPS = ((1,), (3, 5, 6), (10, 11, 12))
"""frame steps of the three speeds of scene motion; source: the decomposed encoders' published loader"""
NUM_SCENE_SPEEDS = len(SCENE_STEPS)
EGO_SPEEDS = ((0, 0), *((0, speed) for speed in (-2, -1, 1, 2)), *((speed, 0) for speed in (-2, -1, 1, 2)))
"""(down, across) of the nine speeds of pseudo-egomotion, in half the free range a clip (MoSI, Huang 2021)"""
NUM_SPEEDS = NUM_SCENE_SPEEDS + len(EGO_SPEEDS)
EGO, SCENE = 0, 1
LARGE = 2
"""side of the frame that a window moves over, in canvas sides"""


@dataclass(frozen=True, kw_only=True)
class ClipMeta:
    """What is known of a clip before its frames are decoded."""

    times_s: NDArray[np.float64]
    """when each frame is shown, in display order, the first at 0; f64[num_frames]"""
    width: int
    """upright, in px"""
    height: int
    num_lead: int = 0
    """frames before the first key frame, which cannot be decoded; they have no number"""

    @property
    def num_frames(self) -> int:
        """Frames that can be decoded."""
        return len(self.times_s)


@dataclass(frozen=True, kw_only=True)
class FramePlan:
    """Which frames of one clip are decoded, and at which sizes."""

    frames: Int64s
    """frame numbers brought to the canvas by data.fit, ascending"""
    large: Int64s
    """frame numbers whose short side is brought to LARGE canvas sides, cut to a square; ascending"""
    large_offset: float = 0.5
    """where the square is cut along the long side: 0 at the left or top end, 1 at the right or bottom"""


@dataclass(frozen=True, kw_only=True)
class DecodedClip:
    """The frames of one clip that its plan names, in the plan's order."""

    meta: ClipMeta
    frames: NDArray[np.uint8]
    """u8[n, 3, canvas, canvas]"""
    large: NDArray[np.uint8]
    """u8[m, 3, LARGE canvas, LARGE canvas]"""
    decoder: str
    """decord, torchcodec, pyav or frames"""
    late: bool = False
    """decoded at the second try, alone and with twice the time"""


@dataclass(frozen=True)
class PlannedMotion:
    """What was drawn for one sample of a motion cut."""

    kind: int
    """EGO or SCENE"""
    speed: int
    """0..2 scene, 3..11 egomotion"""
    window: tuple[float, float, float, float]
    """top and left of the window in the first frame, then in the last, in shares of the free range"""


@dataclass(frozen=True)
class Wanted:
    """One request of one clip, answered: frame numbers, in the pathway's own order."""

    frames: Int64s
    """i64[T] at canvas size; empty where `large` is taken"""
    large: Int64s
    """i64[T] at LARGE size"""
    short: bool
    """the clip ended before T frames: its last one is repeated"""
    motion: PlannedMotion | None = None


@dataclass(frozen=True, kw_only=True)
class ClipPlanner:
    """Answers the requests of a stream's pathways.

    Args:
        requests: settings of each distinct request by its name, see `request_name`.
        train: draw a random start; else the middle of the clip is taken.
    """

    requests: dict[str, ClipSettings]
    seed: int
    train: bool = True
    epochs: dict[str, int] = field(default_factory=dict)
    """how many epochs a request is read; later ones leave it out; not named: for ever"""

    def wanted(self, name: str, meta: ClipMeta, *, key_hash: int, epoch: int) -> Wanted:
        """Return what one request takes of a clip."""
        request = self.requests[name]
        draws = _Draws(key_hash, self.seed, epoch)
        if isinstance(request, MotionConfig) and self.train:
            return _motion(request, meta, draws)
        start = draws("clip start") if self.train else 0.5
        return _at_rate(request, meta, start)

    def plan(self, meta: ClipMeta, *, key_hash: int, epoch: int) -> tuple[FramePlan, dict[str, Wanted]]:
        """Return the union of an epoch's requests, and each of them by name."""
        read = [name for name in self.requests if epoch < self.epochs.get(name, epoch + 1)]
        wanted = {name: self.wanted(name, meta, key_hash=key_hash, epoch=epoch) for name in read}
        offset = _Draws(key_hash, self.seed, epoch)("clip square") if self.train else 0.5
        union = FramePlan(
            frames=_union([want.frames for want in wanted.values()]),
            large=_union([want.large for want in wanted.values()]),
            large_offset=offset,
        )
        return union, wanted


def request_name(settings: ClipSettings) -> str:
    """Return the name of a request: equal settings, equal name, and the same frames."""
    words: list[int | str] = [settings.num_frames, repr(settings.rate_hz)]
    if isinstance(settings, MotionConfig):
        words += [settings.scene_view, str(settings.still)]
    return f"{'motion' if isinstance(settings, MotionConfig) else 'frames'}-{hash_words(*words):016x}"


def motion_words(kind: int, speed: int) -> str:
    """Return a known motion in words."""
    if kind == SCENE:
        return f"scene, step {' '.join(map(str, SCENE_STEPS[speed]))}"
    down, across = EGO_SPEEDS[speed - NUM_SCENE_SPEEDS]
    return "egomotion " + (f"y {down:+d}" if down else f"x {across:+d}" if across else "still")


@dataclass
class _Draws:
    """Uniform draws of one sample by name."""

    key_hash: int
    seed: int
    epoch: int
    _hashes: NDArray[np.uint64] = field(init=False)

    def __post_init__(self) -> None:
        self._hashes = np.array([self.key_hash], np.uint64)

    def __call__(self, draw: str) -> float:
        return float(uniforms(self._hashes, seed=self.seed, epoch=self.epoch, draw=draw)[0, 0])

    def below(self, count: int, draw: str) -> int:
        return min(int(self(draw) * count), count - 1)


def _at_rate(request: ClipSettings, meta: ClipMeta, start: float) -> Wanted:
    """Take T frames at a rate; `start`: 0 the earliest place that they fit in, 1 the latest."""
    last, length = meta.num_frames - 1, request.num_frames
    if request.rate_hz == 0:
        free = max(0, meta.num_frames - length)
        first = min(int(start * (free + 1)), free)
        steps = first + np.arange(length)
        return Wanted(np.minimum(steps, last), _none(), short=bool(steps[-1] > last))
    span = (length - 1) / request.rate_hz
    # Half a frame of slack: a clip that ends with its T-th frame is not short for its rounded stamps.
    slack = 0.5 * meta.times_s[-1] / max(1, last)
    short = bool(meta.times_s[-1] + slack < span)
    first_time = start * max(0.0, meta.times_s[-1] - span)
    times = first_time + np.arange(length) / request.rate_hz
    # The frame on show at that time; a little later than its stamp, against rounding.
    shown = np.searchsorted(meta.times_s, times + 1e-6, side="right") - 1
    return Wanted(np.clip(shown, 0, last).astype(np.int64), _none(), short=short)


def _motion(request: MotionConfig, meta: ClipMeta, draws: _Draws) -> Wanted:
    """Toss the coin, then draw the speed among those that the clip is long enough for."""
    length, last = request.num_frames, meta.num_frames - 1
    top, left = draws("window top"), draws("window left")
    if draws("motion kind") < 0.5:
        number = draws.below(len(EGO_SPEEDS), "egomotion speed")
        down, across = EGO_SPEEDS[number]
        window = (*_path(top, down / 2), *_path(left, across / 2))
        motion = PlannedMotion(EGO, NUM_SCENE_SPEEDS + number, (window[0], window[2], window[1], window[3]))
        frame = draws.below(meta.num_frames, "egomotion frame")
        return Wanted(_none(), np.full(length, frame), short=False, motion=_stilled(request, motion, draws))
    fitting = [
        (speed, steps)
        for speed, all_steps in enumerate(SCENE_STEPS)
        if (steps := [step for step in all_steps if (length - 1) * step <= last])
    ] or [(0, [1])]
    speed, steps = fitting[draws.below(len(fitting), "scene speed")]
    step = steps[draws.below(len(steps), "scene step")]
    free = max(0, last - (length - 1) * step)
    numbers = draws.below(free + 1, "scene start") + step * np.arange(length)
    short, numbers = bool(numbers[-1] > last), np.minimum(numbers, last)
    if request.still:
        numbers = np.full(length, numbers[draws.below(length, "still frame")])
    motion = PlannedMotion(SCENE, speed, (top, left, top, left))
    if request.scene_view == "window":
        return Wanted(_none(), numbers, short=short, motion=motion)
    return Wanted(numbers, _none(), short=short, motion=motion)


def _path(start: float, distance: float) -> tuple[float, float]:
    """Return first and last place of a straight way of a length, all places that it fits in alike."""
    first = start * (1 - abs(distance)) + max(0.0, -distance)
    return first, first + distance


def _stilled(request: MotionConfig, motion: PlannedMotion, draws: _Draws) -> PlannedMotion:
    if not request.still:
        return motion
    share = draws.below(request.num_frames, "still frame") / (request.num_frames - 1)
    top, left, bottom, right = motion.window
    here = (top + share * (bottom - top), left + share * (right - left))
    return PlannedMotion(motion.kind, motion.speed, (*here, *here))


def _union(parts: Sequence[Int64s]) -> Int64s:
    return np.unique(np.concatenate(parts)) if parts else _none()


def _none() -> Int64s:
    return np.zeros(0, np.int64)
