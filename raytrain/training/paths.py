"""Where what a run writes lies in its folder, and whether and where it has begun."""

import contextlib
import json
from pathlib import Path

CONFIG, ENVIRONMENT, SUMMARY = "config.toml", "env.json", "summary.json"
METRICS, QUARANTINE, LOG = "metrics.jsonl", "quarantine.jsonl", "log.txt"
REPORT = "report.html"
PREDICTIONS = "predictions.npz"
COUNTERS, STANDARDISERS, KEYS = "counters.json", "standardisers.json", "keys.json"
CHECKPOINTS, FEATURES, FIGURES, CACHE = "checkpoints", "features", "figures", "cache"


def checkpoints_of(folder: Path, name: str) -> Path:
    """Return the folder of a pathway's checkpoints."""
    return folder / CHECKPOINTS / name


def kept_chunks(folder: Path, stream: str, key: str) -> Path:
    """Return the folder of a stream's kept chunks; `key`: of what they are made of."""
    return folder / CACHE / f"{stream}-{key[:16]}"


def has_steps(folder: Path) -> bool:
    """Return whether a run has trained: before that no setting binds it."""
    metrics = folder / METRICS
    logged = metrics.exists() and metrics.stat().st_size > 0
    return logged or any((folder / CHECKPOINTS).glob("*/step-*"))


def known_device(folder: Path) -> str:
    """Return the device, cpu or cuda, of a run that has trained a step, '' where it is still open."""
    with contextlib.suppress(OSError, ValueError):
        if has_steps(folder):
            return str(json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8")).get("device", ""))
    return ""
