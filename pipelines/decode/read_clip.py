"""From a row to the frames of a clip that a run's pathways ask for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from pipelines.decode.child import shared_decoder
from pipelines.decode.frames import decode_frames
from pipelines.forms.clip_columns import clip_columns
from pipelines.forms.clips import ClipMeta, ClipPlanner, DecodedClip, FramePlan
from pipelines.forms.quarantine import LATE, BadSample
from pipelines.forms.randomness import hash_words
from pipelines.generated import is_generated, make_sample
from pipelines.storage.frames import is_frames, list_frames
from pipelines.storage.payload import read_payload
from pipelines.storage.places import Storage, count_opened
from pipelines.storage.rows import Row
from raytrain.config.data import DataConfig
from raytrain.errors import DataError

PlanOf = Callable[[ClipMeta], FramePlan]


def read_clip(
    row: Row,
    storage: Storage,
    config: DataConfig,
    *,
    planner: ClipPlanner,
    epoch: int,
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return the frames of a row's clip that the planner's requests take: the columns of `decode.clip`.

    With them what is counted of the clip: `short`, a request ran over its end; `late`, it was decoded at the
    second try; `late_key`, its frames before the first key frame were left out; `decoder:<name>`, which took
    the file. The file is opened once, however many requests there are.

    Raises:
        BadSample: missing, changed, broken, or not decoded within the time limit.
        StorageError: storage failed for longer than the retries.
    """
    plan_of = partial(planner.plan, key_hash=hash_words(row.key), epoch=epoch)
    clip, _ = decode_row(row, storage, config, FirstOf(plan_of))
    plan, wanted = plan_of(clip.meta)
    notes = [f"decoder:{clip.decoder}"]
    if clip.late:
        notes.append(LATE)
    if clip.meta.num_lead:
        notes.append("late_key")
    if any(want.short for want in wanted.values()):
        notes.append("short")
    return clip_columns(clip, plan, wanted), tuple(notes)


def decode_row(row: Row, storage: Storage, config: DataConfig, plan: PlanOf) -> tuple[DecodedClip, bytes]:
    """Return a row's planned frames, and the file's bytes (none where it is a folder of frames).

    Raises:
        BadSample: missing, changed, broken, or not decoded within the time limit.
        StorageError: storage failed for longer than the retries.
    """
    places: dict[str, Any] = {"canvas_px": config.canvas_px, "fit": config.fit}
    places["max_pixels"] = config.max_pixels
    if is_frames(row.payload):
        count_opened()
        try:
            names = list_frames(storage, row.uri)
        except DataError as error:
            raise BadSample(str(error), "missing") from None
        rate_hz = config.video.frame_rate_hz
        return decode_frames(storage.read_bytes, names, plan, rate_hz=rate_hz, **places), b""
    if is_generated(row.uri):
        count_opened()
        payload = make_sample(row.uri)
    else:
        payload = read_payload(row, storage)
    return shared_decoder(config.video).decode(payload, plan, **places), payload


@dataclass(frozen=True)
class FirstOf:
    """The union of a planner's answer, as a decoder asks for it; goes to another process."""

    plan_of: Callable[[ClipMeta], tuple[FramePlan, Any]]

    def __call__(self, meta: ClipMeta) -> FramePlan:
        """Return which frames are decoded."""
        return self.plan_of(meta)[0]
