"""Which operators and cuts of event recordings go together."""

from typing import Any

import pytest

from raytrain.config import AugmentationConfig
from raytrain.config.loader import from_mapping
from raytrain.errors import ConfigError

VOXELS = {"name": "voxel_grid", "num_bins": 7}


def run_of(**pathways: dict[str, Any]) -> Any:
    return from_mapping({"data": {"source": "moving_shapes"}, "pathways": pathways})


def test_surfaces_are_cut_into_patches_or_bins() -> None:
    config = run_of(a={"operator": "count"}, b={"operator": VOXELS, "cut": "bins"})
    assert config.modality == "events"
    assert config.probed == ("a", "b")


def test_recordings_are_shifted_and_mirrored() -> None:
    config = run_of(a={"operator": "count", "augmentation": {"flip": True, "shift_px": 20}})
    assert config.pathways["a"].augmentation == AugmentationConfig(flip=True, shift_px=20)


@pytest.mark.parametrize(
    ("pathway", "message"),
    [
        ({"operator": "count", "cut": "frames"}, "which cut patches, bins or surface takes, not frames"),
        ({"operator": "lbp", "cut": "bins"}, "cut bins takes the surface of an event operator"),
        (
            {"operator": {**VOXELS, "num_bins": 6}, "cut": "bins"},
            r"6 bins of time \(operator.num_bins\).* needs 7",
        ),
        (
            {"operator": "count", "augmentation": {"flip": True, "crop_px": 24}},
            r"pathways\.x\.augmentation\.crop_px is 24, but recordings are not cropped; leave it out",
        ),
        (
            {"operator": "count", "augmentation": {"shift_px": -1}},
            "augmentation.shift_px is -1; it must be at least 0",
        ),
        (
            {"operator": "lbp", "augmentation": {"shift_px": 2}},
            r"shift_px is 2, which moves the events of recordings; for samples of kind image use",
        ),
        (
            {
                "cut": {"name": "volume", "num_frames": 8},
                "encoder": "movnet",
                "objective": "clapp_video",
                "augmentation": {"shift_px": 2},
            },
            "for samples of kind clip use augmentation.crop_px",
        ),
        ({"operator": "count", "placement": "stream"}, "placement is stream, which is for images"),
        ({"operator": "count", "stem": "est"}, "a stem reads operator events.* operator count with stem est"),
        ({"operator": "events", "cut": "surface"}, "operator events with stem none"),
        (
            {"operator": "events", "stem": {"name": "matrix_lstm", "bins": 4}, "cut": "bins"},
            r"4 bins of time \(stem.bins\).* raise stem.bins",
        ),
        (
            {"operator": "events", "stem": "matrix_lstm", "cut": "surface"},
            "one whole surface, which is no sequence.* set cut to bins",
        ),
        (
            {"operator": "events", "stem": "phased_lstm", "cut": "surface", "objective": "supervised"},
            "stem phased_lstm makes no map but a vector; set encoder to none",
        ),
        (
            {"operator": "count", "encoder": "none", "cut": "surface", "objective": "supervised"},
            "encoder none behind no stem leaves nothing to train",
        ),
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
