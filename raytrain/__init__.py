"""raytrain: parallel visual encoders trained without labels from one exact stream on Ray.

`raytrain.train(config)` and one function for each other verb of the command line; see `raytrain.api`.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["bench", "dry_run", "inspect", "listing", "prepare", "probe", "represent", "train", "train_seeds"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("raytrain.api"), name)
    raise AttributeError(f"module 'raytrain' has no attribute {name!r}")
