"""Which operators and cuts of event recordings go together."""

from typing import Any

import pytest

from raytrain.config.loader import from_mapping
from raytrain.errors import ConfigError

VOXELS = {"name": "voxel_grid", "num_bins": 7}


def run_of(**pathways: dict[str, Any]) -> Any:
    return from_mapping({"data": {"source": "moving_shapes"}, "pathways": pathways})


def test_surfaces_are_cut_into_patches_or_bins() -> None:
    config = run_of(a={"operator": "count"}, b={"operator": VOXELS, "cut": "bins"})
    assert config.modality == "events"
    assert config.probed == ("a", "b")


@pytest.mark.parametrize(
    ("pathway", "message"),
    [
        ({"operator": "count", "cut": "frames"}, "which cut patches or bins takes, not frames"),
        ({"operator": "lbp", "cut": "bins"}, "cut bins takes the surface of an event operator"),
        (
            {"operator": {**VOXELS, "num_bins": 6}, "cut": "bins"},
            r"6 bins of time \(operator.num_bins\).* needs 7",
        ),
        ({"operator": "count", "augmentation": {"flip": True}}, "augmentation is for images and clips"),
        ({"operator": "count", "placement": "stream"}, "placement is stream, which is for images"),
    ],
)
def test_what_does_not_go_together_is_said(pathway: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_of(x=pathway)


def test_one_run_has_one_kind_of_sample() -> None:
    with pytest.raises(ConfigError, match=r"pathways\.b\.cut patches behind operator lbp takes samples"):
        run_of(a={"operator": "count"}, b={"operator": "lbp"})


def test_recordings_are_not_kept() -> None:
    with pytest.raises(ConfigError, match=r"data\.cache is memory, but it is for images"):
        from_mapping(
            {"data": {"source": "moving_shapes", "cache": "memory"}, "pathways": {"a": {"operator": "count"}}}
        )
