"""raytrain: parallel visual encoders trained without labels from one exact stream on Ray.

`raytrain.train(config)` and one function for each other verb of the command line; see `raytrain.api`.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "bench",
    "dry_run",
    "export",
    "inspect",
    "listing",
    "load_encoder",
    "prepare",
    "probe",
    "replay",
    "represent",
    "suggest",
    "train",
    "train_seeds",
]
_ELSEWHERE = {"load_encoder": "raytrain.exported"}  # works where ray is not installed


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(_ELSEWHERE.get(name, "raytrain.api")), name)
    raise AttributeError(f"module 'raytrain' has no attribute {name!r}")
