"""A run folder as report and comparison read it; every part but settings and summary may be absent."""

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.sources import open_manifest
from pipelines.storage.manifest import Manifest
from raytrain.config import RunConfig, load_toml
from raytrain.errors import ConfigError, DataError, RaytrainError, did_you_mean
from raytrain.evaluation.features import FeatureFile, open_features
from raytrain.evaluation.represent import VALID
from raytrain.reporting.figures.palette import Style, pathway_styles
from raytrain.reporting.predictions import Predictions, load_predictions
from raytrain.training.evaluate import probe_rows
from raytrain.training.paths import CONFIG, ENVIRONMENT, FEATURES, METRICS, SUMMARY
from raytrain.training.run_folder import data_problem

SEEDS = "seeds.json"
DEFAULT_CLASSES = 4


@dataclass(frozen=True, kw_only=True)
class RunData:
    """One run."""

    folder: Path
    config: RunConfig
    summary: dict[str, Any]
    environment: dict[str, Any]

    @property
    def title(self) -> str:
        """Return e.g. `gtsrb-small, seed 0`."""
        return f"{self.config.preset}, seed {self.config.seed}"

    @property
    def pathways(self) -> list[str]:
        """Names in the order of the settings."""
        return list(self.config.pathways)

    @property
    def probed(self) -> list[str]:
        """Those of them whose representations are measured."""
        return list(self.config.probed)

    @cached_property
    def styles(self) -> dict[str, Style]:
        """How each pathway is drawn."""
        return pathway_styles(self.pathways)

    @property
    def probes(self) -> list[dict[str, Any]]:
        """The entries of the main protocol: each pathway, then the joined one."""
        entries: list[dict[str, Any]] = self.summary.get("probes") or []
        main = entries[0].get("protocol_name", "ridge") if entries else ""
        return [entry for entry in entries if entry.get("protocol_name", "ridge") == main]

    @property
    def protocol(self) -> str:
        """Name of the main protocol."""
        return str(self.probes[0].get("protocol_name", "ridge")) if self.probes else "ridge"

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """Logged steps of rank 0; a last line that was cut off is left out."""
        path = self.folder / METRICS
        lines: list[dict[str, Any]] = []
        for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and "losses" in line and line.get("rank", 0) == 0:
                lines.append(line)
        return lines

    @cached_property
    def predictions(self) -> Predictions | None:
        """What the probes predicted, or None; DataError where it is damaged."""
        return load_predictions(self.folder)

    @cached_property
    def _opened(self) -> tuple[Manifest | None, str]:
        try:
            manifest = open_manifest(self.config.data)
        except RaytrainError as error:
            return None, f"the data cannot be opened any more: {error} (--data.root names another place)"
        if problem := data_problem(self.environment, manifest.fingerprint):
            return None, problem
        return manifest, ""

    @property
    def manifest(self) -> Manifest | None:
        """The data set's manifest, or None."""
        return self._opened[0]

    @property
    def manifest_problem(self) -> str:
        """Why there is no manifest."""
        return self._opened[1]

    @cached_property
    def splits(self) -> dict[str, NDArray[np.int64]]:
        """Return `rows` (manifest rows of the feature files) and the places of each split's good samples."""
        if self.manifest is None:
            raise DataError(self.manifest_problem)
        splits: dict[str, NDArray[np.int64]] = dict(probe_rows(self.manifest))
        path = self.folder / FEATURES / VALID
        if path.exists():
            valid = np.load(path)
            if len(valid) != len(splits["rows"]):
                raise DataError(
                    f"{path}: does not fit the data; run `raytrain represent {self.folder}` again"
                )
            splits = {n: p if n == "rows" else p[valid[p]] for n, p in splits.items()}
        return splits

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each row of the feature files."""
        if self.manifest is None:
            raise DataError(self.manifest_problem)
        return self.manifest.labels[self.splits["rows"]]

    def features(self, name: str) -> FeatureFile:
        """Return a features file; DataError where it is missing."""
        return open_features(self.folder / FEATURES, name)

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes; their numbers where the data cannot be opened."""
        if self.manifest is not None and self.manifest.classes:
            return list(self.manifest.classes)
        num = int(self.summary.get("data", {}).get("classes", 0))
        if not num and self.predictions is not None and self.predictions.truth.size:
            truth = self.predictions.truth
            num = truth.shape[1] if self.predictions.several_labels else int(truth.max()) + 1
        return [str(number) for number in range(num)]


def load_run(folder: Path, *, data_root: str = "") -> RunData:
    """Read a run folder; `data_root`: where its data lie now, if they moved.

    Raises:
        ConfigError: not a run folder, or nothing was trained in it yet.
        DataError: its summary or environment is broken.
    """
    if not (folder / CONFIG).exists():
        hint = f"; did you mean {folder / 'seed-0'}?" if (folder / "seed-0").exists() else ""
        raise ConfigError(
            f"{folder}: not a run folder (no {CONFIG}); name the --out of a `raytrain train`{hint}"
        )
    if not (folder / SUMMARY).exists():
        raise ConfigError(
            f"{folder}: no {SUMMARY} yet; finish the run first: "
            f"`raytrain train --config {folder / CONFIG} --out {folder}`"
        )
    config = load_toml(folder / CONFIG)
    if data_root:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=data_root))
    summary = read_json(folder / SUMMARY, f"run `raytrain train --config {folder / CONFIG}` again")
    for key in ("pathways", "data"):
        if key not in summary:
            raise DataError(f"{folder / SUMMARY}: broken: it has no {key!r}; run `raytrain train` again")
    known = folder / ENVIRONMENT
    return RunData(
        folder=folder,
        config=config,
        summary=summary,
        environment=read_json(known, "delete it") if known.exists() else {},
    )


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object; DataError where it is broken."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: broken: {error}; {remedy}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: broken: not an object; {remedy}")
    return value


def choose_classes(run: RunData, wanted: str) -> list[int]:
    """Return class numbers: those named (by name or number), or those with most test samples.

    Raises:
        ConfigError: a class that there is not.
    """
    classes = run.classes
    if not wanted:
        if run.manifest is None:
            return []
        counts = np.bincount(run.labels[run.splits["test"]], minlength=len(classes))
        return [int(n) for n in np.argsort(-counts, kind="stable")[:DEFAULT_CLASSES] if counts[n] > 0]
    chosen = []
    for word in (part.strip() for part in wanted.split(",")):
        if word in classes:
            chosen.append(classes.index(word))
        elif word.isdecimal() and int(word) < len(classes):
            chosen.append(int(word))
        elif word.isdecimal() or not word:
            raise ConfigError(f"--classes: no class {word!r}; classes are 0 .. {len(classes) - 1}, or names")
        else:
            raise ConfigError(f"--classes: no class {word!r}{did_you_mean(word, classes)}")
    return list(dict.fromkeys(chosen))
