"""Fits of tables that were made before, beside the trained pathways in the encoder cache."""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raytrain.config import CacheConfig
from raytrain.errors import StorageError
from raytrain.training.cache import ENTRY, EncoderCache
from raytrain.training.run_folder import write_atomic

FOLDER = "fits"
Predicted = dict[str, NDArray[np.integer]]
"""representation -> test predictions, int[n]"""


@dataclass(frozen=True, kw_only=True)
class KeptFits:
    """Predictions by key, one entry of the cache; several processes may use it."""

    folder: Path

    @classmethod
    def open(cls, config: CacheConfig) -> "KeptFits | None":
        """Return the fits of the settings' cache, or None where it is switched off."""
        cache = EncoderCache.open(config)
        return None if cache is None else cls(folder=cache.folder / FOLDER)

    def load(self, key: str) -> Predicted | None:
        """Return the predictions of a fit by representation; None where it is not known, or damaged."""
        try:
            stored = json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
            found: Predicted = {name: np.asarray(values, np.int64) for name, values in stored.items()}
        except (OSError, ValueError, AttributeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(self.folder / ENTRY)
        return found

    def store(self, key: str, predictions: Predicted) -> None:
        """Keep a fit; without room for it the table is made all the same."""
        stored = {name: values.tolist() for name, values in predictions.items()}
        with contextlib.suppress(OSError, StorageError):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / ENTRY).exists():
                write_atomic(self.folder / ENTRY, json.dumps({"name": "fits of tables"}))
            write_atomic(self.folder / f"{key}.json", json.dumps(stored))
