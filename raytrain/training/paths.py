"""Where what a run writes lies in its folder."""

from pathlib import Path

CONFIG, ENVIRONMENT, SUMMARY = "config.toml", "env.json", "summary.json"
METRICS, QUARANTINE, LOG = "metrics.jsonl", "quarantine.jsonl", "log.txt"
REPORT = "report.html"
PREDICTIONS = "predictions.npz"
COUNTERS, STANDARDISERS = "counters.json", "standardisers.json"
CHECKPOINTS, FEATURES, FIGURES, CACHE = "checkpoints", "features", "figures", "cache"


def checkpoints_of(folder: Path, name: str) -> Path:
    """Return the folder of a pathway's checkpoints."""
    return folder / CHECKPOINTS / name


def kept_chunks(folder: Path, stream: str, content: int) -> Path:
    """Return the folder of a stream's kept chunks; `content`: a hash of what they hold."""
    return folder / CACHE / f"{stream}-{content:016x}"
