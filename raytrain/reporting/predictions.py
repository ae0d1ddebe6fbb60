"""What the probes predicted for every test sample, as `predictions.npz` of a run folder holds it."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import DataError

PREDICTIONS = "predictions.npz"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of n test samples, by protocol and representation.

    Shapes: `rows` i64[n] (of the feature files), `groups` i64[n]; `truth` and each prediction i64[n] (one
    label a sample) or u8[n, L] (several).
    """

    rows: NDArray[np.int64]
    groups: NDArray[np.int64]
    truth: NDArray[np.integer]
    predicted: dict[str, dict[str, NDArray[np.integer]]]

    @property
    def several_labels(self) -> bool:
        """Whether a sample may have several labels."""
        return self.truth.ndim == 2

    def keys(self, protocol: str) -> list[str]:
        """Return the names of the results of a protocol."""
        return list(self.predicted.get(protocol, {}))

    def correct(self, protocol: str, key: str) -> NDArray[np.float64]:
        """Return f64[n]: 1 where right, 0 where wrong; with several labels all of them must be right."""
        equal = (self.predicted[protocol][key] == self.truth).astype(np.float64)
        return np.asarray(equal.min(axis=1) if self.several_labels else equal, np.float64)


def load_predictions(folder: Path) -> Predictions | None:
    """Return a run's predictions; None where it has none (its probe is older, or was not run).

    Raises:
        DataError: the file is damaged.
    """
    path = folder / PREDICTIONS
    if not path.exists():
        return None
    try:
        # Opened here, because numpy leaves a file open that is no archive.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        predicted: dict[str, dict[str, NDArray[np.integer]]] = {}
        for name, values in arrays.items():
            kind, _, rest = name.partition("/")
            if kind == "predicted":
                protocol, _, key = rest.partition("/")
                predicted.setdefault(protocol, {})[key] = values
        loaded = Predictions(
            rows=arrays["rows"], groups=arrays["groups"], truth=arrays["truth"], predicted=predicted
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: damaged: {error}; run `raytrain probe {folder}` again") from None
    shapes = {values.shape for results in predicted.values() for values in results.values()}
    lengths = {len(loaded.rows), len(loaded.groups), len(loaded.truth)}
    if shapes - {loaded.truth.shape} or len(lengths) > 1:
        raise DataError(f"{path}: its arrays do not fit one another; run `raytrain probe {folder}` again")
    return loaded
