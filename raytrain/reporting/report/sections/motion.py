"""What the motion pathways learned: kind and speed of held-out clips, and which speeds they confuse."""

from typing import Any

import numpy as np

from pipelines.forms.clips import EGO, NUM_SCENE_SPEEDS, NUM_SPEEDS, SCENE, motion_words
from raytrain.reporting.figures.confusion import confusion
from raytrain.reporting.report.blocks import Beside, Section, Table, Text
from raytrain.reporting.results import with_interval
from raytrain.reporting.run_data import RunData

TITLE = "Motion"
SIDES = (
    ("trained", ""),
    ("the same, shown one random frame", "one_frame_"),
    ("initial weights", "control_"),
)
SPEEDS = [motion_words(EGO if speed >= NUM_SCENE_SPEEDS else SCENE, speed) for speed in range(NUM_SPEEDS)]


def motion(run: RunData) -> Section:
    """Return a table and a confusion of the speeds for each motion pathway."""
    blocks: list[Any] = []
    for entry in run.summary.get("motion") or []:
        name = entry["pathway"]
        rows = [
            [
                side,
                with_interval(entry[f"{key}kind"], entry[f"{key}kind_interval"]),
                with_interval(entry[f"{key}speed"], entry[f"{key}speed_interval"]),
            ]
            for side, key in SIDES
        ]
        table = Table(
            caption=f"{name}: share right of {entry['n']} clips of {entry['groups']} test groups",
            header=["heads", "kind of 2", "speed of 12"],
            rows=rows,
        )
        figure = confusion(
            np.array(entry["confusion"], np.int64),
            SPEEDS,
            colour=run.styles[name].colour,
            name=f"motion-{name}",
            title=f"{name}: speeds",
            alt=f"Confusion of the 12 speeds that {name} tells; {100 * entry['speed']:.0f} % are right.",
        )
        words = (
            f"{name} was trained on {entry['sees']}. Telling egomotion from motion of the scene by the more "
            f"frequent kind alone is right for {100 * entry['most_frequent_kind']:.0f} %."
        )
        blocks.append(Beside(drawing=figure, blocks=[table, Text(words)]))
    return Section(name="motion", title=TITLE, blocks=blocks)
