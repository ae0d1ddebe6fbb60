"""Event surfaces: fixed operators from flat event columns to maps, one file each, and their registry."""

from pipelines.views.operators.events.base import EventOperator
from pipelines.views.operators.events.binary_frames import BinaryFrames
from pipelines.views.operators.events.count import Count
from pipelines.views.operators.events.est import Est
from pipelines.views.operators.events.hats import Hats
from pipelines.views.operators.events.last_timestamp import LastTimestamp
from pipelines.views.operators.events.time_surface import TimeSurface
from pipelines.views.operators.events.voxel_grid import VoxelGrid
from raytrain.config.operators import EventOperatorConfig

EVENT_OPERATORS: dict[str, type[EventOperator]] = {
    "count": Count,
    "last_timestamp": LastTimestamp,
    "time_surface": TimeSurface,
    "hats": Hats,
    "voxel_grid": VoxelGrid,
    "est": Est,
    "binary_frames": BinaryFrames,
}


def build_event_operator(config: EventOperatorConfig) -> EventOperator:
    """Return the event operator that the settings name."""
    return EVENT_OPERATORS[config.name](config)


__all__ = ["EVENT_OPERATORS", "EventOperator", "build_event_operator"]
