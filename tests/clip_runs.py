"""Settings of a small run on generated clips: frames, a second rate, and known motion from one stream."""

from pathlib import Path
from typing import Any

FRAMES = {"name": "frames", "num_frames": 3, "rate_hz": 8.0}
VGG6 = {"name": "vgg6", "width": 0.0078125, "batch_norm": True}
MOVNET = {"name": "movnet", "width": 0.03125}
CLAPP = {"name": "clapp", "num_steps": 1}
MOTION = {"name": "motion", "num_frames": 9}
PATHWAYS: dict[str, dict[str, Any]] = {
    "identity": {"cut": FRAMES, "encoder": VGG6, "objective": CLAPP},
    "lbp": {"operator": "lbp", "cut": FRAMES, "encoder": VGG6, "objective": {**CLAPP, "name": "hinge_cpc"}},
    "slow": {"cut": {**FRAMES, "rate_hz": 1.0}, "encoder": VGG6, "objective": "supervised"},
    "movnet": {"cut": MOTION, "encoder": MOVNET, "objective": "motion"},
}


def clip_values(out: Path, names: tuple[str, ...] = tuple(PATHWAYS), **more: Any) -> dict[str, Any]:
    return {
        "out": str(out),
        "report": False,
        "cache": {"enabled": False},
        "data": {
            "source": "clips",
            "canvas_px": 67,
            "fit": "cover",
            "select_fraction": 0.0,
            "chunk_mib": 0.5,
            "generated": {"num_train": 8, "num_test": 8, "size_px": 64, "num_frames": 16, "rate_hz": 8.0},
        },
        "training": {
            "executor": "inline",
            "epochs": 2,
            "batch_size": 4,
            "log_every": 1,
            "checkpoint_every": 1,
            "device": "cpu",
        },
        "probe": {"enabled": False},
        "pathways": {name: PATHWAYS[name] for name in names},
        **more,
    }
