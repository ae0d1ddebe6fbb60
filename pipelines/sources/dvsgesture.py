"""DVS128 Gesture as tonic has it: ibmGestureTrain and ibmGestureTest, each with user<n>_<light>/<label>.npy.

The files are [N, 4] of x, y, p and stamps in whole milliseconds. A group is a user, who never is in both
splits. Sensor: 128 x 128 px. The original .aedat recordings are read by data.source = recordings with a
windows.csv.
Source: Amir et al., "A low power, fully event-based gesture recognition system", CVPR 2017.
"""

import re

from pipelines.sources.event_files import find_base, read_layout
from pipelines.storage.event_payload import EventPayload
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig

SENSOR = (128, 128)
CLASSES = (
    "hand_clapping",
    "right_hand_wave",
    "left_hand_wave",
    "right_arm_clockwise",
    "right_arm_counter_clockwise",
    "left_arm_clockwise",
    "left_arm_counter_clockwise",
    "arm_roll",
    "air_drums",
    "air_guitar",
    "other_gestures",
)
TICK_US = 1000
_BASES = ("", "DVSGesture")
_SPLITS = {"ibmGestureTrain": "train", "ibmGestureTest": "test"}
_FOLDER = re.compile(r"(user\d+)(_.*)?")


def detect(storage: Storage) -> bool:
    """Return whether the root holds either part."""
    return find_base(storage, _BASES, _SPLITS) is not None


def read_dvsgesture(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest; the recordings of one user are never divided.

    Raises:
        DataError: no such recordings.
    """
    base = find_base(storage, _BASES, _SPLITS)
    return read_layout(
        config,
        storage,
        _place,
        base=base,
        absent="no ibmGestureTrain or ibmGestureTest; name the folder above them",
        extensions=(".npy",),
        sensor=SENSOR,
        classes=CLASSES,
        payload=str(EventPayload(tick_us=TICK_US)),
    )


def _place(path: str) -> tuple[str, str, str] | None:
    parts = path.split("/")
    if len(parts) != 3 or parts[0] not in _SPLITS:
        return None
    folder, label = _FOLDER.fullmatch(parts[1]), parts[2].partition(".")[0]
    if folder is None or not label.isdecimal() or int(label) >= len(CLASSES):
        return None
    return _SPLITS[parts[0]], CLASSES[int(label)], folder[1]
