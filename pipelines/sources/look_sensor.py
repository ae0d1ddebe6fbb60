"""How large the sensor of some recordings is, where their files do not say it: told by their events."""

from dataclasses import replace

import numpy as np

from pipelines.decode.read_events import read_events
from pipelines.forms.quarantine import BadSample
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig

SENSORS = ((34, 34), (128, 128), (240, 180), (304, 240), (346, 260), (640, 480), (1280, 720))
"""widths and heights in px of sensors in use, the smaller ones first"""
_FILLED = 0.9
"""of a sensor's sides, that events reach when it is taken to be theirs"""
_BLOCK_ROWS = 1024


def sensor_of_events(manifest: Manifest, storage: Storage, config: DataConfig) -> tuple[tuple[int, int], str]:
    """Return width and height in px that hold all events of all recordings, and how they were told.

    (0, 0) where no recording can be read.
    """
    unknown = replace(manifest, sensor_width=0, sensor_height=0)
    width = height = 0
    said: set[tuple[int, int]] = set()
    for start in range(0, len(manifest), _BLOCK_ROWS):
        numbers = np.arange(start, min(start + _BLOCK_ROWS, len(manifest)))
        for row in unknown.rows(numbers):
            try:
                recording = read_events(row, storage, config)
            except BadSample:
                continue
            if recording.width and recording.height:
                said.add((recording.width, recording.height))
            if len(recording):
                width = max(width, int(recording.x.max()) + 1)
                height = max(height, int(recording.y.max()) + 1)
    if said:
        largest = max(said)
        return largest, f"files say that the sensor has {largest[0]} x {largest[1]} px, others do not say it"
    reach = f"no file says the sensor's size; the events reach {width} x {height} px"
    for known in SENSORS:
        if width <= known[0] <= width / _FILLED and height <= known[1] <= height / _FILLED:
            return known, f"{reach}: taken for a sensor of {known[0]} x {known[1]}"
    return (width, height), f"{reach}: taken as its size; set that of your camera if you know it"
