"""Settings of a small run on generated recordings: surfaces and stems from one stream."""

from pathlib import Path
from typing import Any

VGG6 = {"name": "vgg6", "width": 0.0078125, "batch_norm": True}
CLAPP = {"name": "clapp", "num_steps": 1, "skip": 0}
PATHWAYS: dict[str, dict[str, Any]] = {
    "count": {"operator": "count", "encoder": VGG6, "objective": CLAPP},
    "voxels": {
        "operator": {"name": "voxel_grid", "num_bins": 3},
        "cut": "bins",
        "encoder": VGG6,
        "objective": {**CLAPP, "name": "hinge_cpc"},
    },
    "frames": {
        "operator": {"name": "binary_frames", "num_frames": 2},
        "cut": "bins",
        "encoder": VGG6,
        "objective": "supervised",
    },
}
STEMS: dict[str, dict[str, Any]] = {
    "matrix_lstm": {
        "operator": "events",
        "stem": {"name": "matrix_lstm", "hidden": 2, "bins": 3, "max_events": 16},
        "cut": "bins",
        "encoder": VGG6,
        "objective": CLAPP,
    },
    "est": {
        "operator": "events",
        "stem": {"name": "est", "bins": 3, "units": 4},
        "cut": "surface",
        "encoder": {"name": "resnet18", "width": 0.015625},
        "objective": "supervised",
    },
    "phased_lstm": {
        "operator": "events",
        "stem": {"name": "phased_lstm", "channels": 4, "embedding": 4, "max_events": 16},
        "cut": "surface",
        "encoder": "none",
        "objective": "supervised",
    },
}


def event_values(out: Path, names: tuple[str, ...] = tuple(PATHWAYS), **more: Any) -> dict[str, Any]:
    return {
        "out": str(out),
        "report": False,
        "cache": {"enabled": False},
        "data": {
            "source": "moving_shapes",
            "select_fraction": 0.0,
            "chunk_mib": 0.5,
            "moving_shapes": {"num_train": 16, "num_test": 16, "size_px": 32, "duration_ms": 40},
        },
        "training": {
            "executor": "inline",
            "epochs": 2,
            "batch_size": 8,
            "log_every": 1,
            "checkpoint_every": 1,
            "device": "cpu",
        },
        "probe": {"enabled": False},
        "pathways": {name: (PATHWAYS | STEMS)[name] for name in names},
        **more,
    }
