"""Which cuts, encoders and objectives go together, and what a run of clips cannot ask for."""

from typing import Any

import pytest

from raytrain.config import load_preset
from raytrain.config.loader import from_mapping
from raytrain.errors import ConfigError

FRAMES = {"cut": {"name": "frames", "num_frames": 8}}
MOTION = {"cut": {"name": "motion", "num_frames": 9}, "encoder": "movnet", "objective": "motion"}


def run_of(*, data: dict[str, Any] | None = None, **pathways: dict[str, Any]) -> Any:
    return from_mapping({"data": {"source": "clips", **(data or {})}, "pathways": pathways})


def test_frames_and_motion_stand_side_by_side() -> None:
    config = run_of(lbp={**FRAMES, "operator": "lbp"}, movnet=MOTION)
    assert config.modality == "clip"
    assert config.probed == ("lbp", "movnet")


def test_a_still_control_is_no_representation_unless_it_is_alone() -> None:
    still = {**MOTION, "cut": {**MOTION["cut"], "still": True}}
    assert run_of(movnet=MOTION, still=still).probed == ("movnet",)
    assert run_of(still=still).probed == ("still",)


@pytest.mark.parametrize(
    ("pathway", "message"),
    [
        ({**FRAMES, "encoder": "movnet"}, "encoder movnet takes cut volume or motion, not frames"),
        ({"cut": "volume"}, "encoder vgg6 takes cut patches or frames or bins or surface, not volume"),
        ({**MOTION, "objective": "clapp"}, "cut motion and objective motion go together"),
        ({**FRAMES, "objective": "motion"}, "cut motion and objective motion go together"),
        ({"cut": "volume", "encoder": "movnet", "objective": "clapp"}, "use objective clapp_video"),
        ({**FRAMES, "objective": "clapp_video"}, "objective clapp_video takes cut volume, not frames"),
        ({**FRAMES, "placement": "stream"}, r"pathways\.x\.placement is stream, which is for images"),
        ({**MOTION, "augmentation": {"flip": True}}, "a mirrored motion is another one"),
        (
            {"cut": {"name": "frames", "num_frames": 6}},
            r"6 frames \(cut.num_frames\), but objective.num_steps 5 with skip 1 needs 7; lower num_steps "
            "or raise cut.num_frames",
        ),
        ({"cut": {"name": "frames", "num_frames": 0}}, "cut.num_frames is 0; it must be at least 1"),
        ({"cut": {"name": "motion", "num_frames": 1}}, "cut.num_frames is 1; it must be at least 2"),
        ({"cut": {"name": "frams"}}, "did you mean 'frames'"),
    ],
)
def test_what_does_not_go_together_is_said(pathway: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_of(x=pathway)


def test_one_run_has_one_kind_of_sample() -> None:
    with pytest.raises(ConfigError, match=r"pathways\.b\.cut patches behind operator identity takes samples"):
        run_of(a=FRAMES, b={"cut": "patches"})


def test_decoded_clips_cannot_be_kept() -> None:
    with pytest.raises(ConfigError, match="each epoch takes other frames; set it to none"):
        run_of(data={"cache": "memory"}, a=FRAMES)


def test_generated_data_need_no_root() -> None:
    with pytest.raises(ConfigError, match=r"data\.source = clips is generated; drop one of them"):
        run_of(data={"root": "/somewhere"}, a=FRAMES)


@pytest.mark.parametrize("name", ["ucf101-decomposed", "ucf101-movnet"])
def test_the_video_presets_are_the_papers(name: str) -> None:
    config = load_preset(name)
    assert (config.training.epochs, config.training.batch_size, config.data.canvas_px) == (400, 16, 120)
    for pathway in config.pathways.values():
        assert (pathway.optimizer.learning_rate, pathway.optimizer.weight_decay) == (1e-5, 5e-6)
        assert (pathway.cut.num_frames, pathway.cut.rate_hz) == (16, 10.0)
        assert pathway.encoder.width == 1.0
    assert ("movnet" in config.pathways) == (name == "ucf101-movnet")
