"""Where the figures come from: command, versions, hashes, hardware, timing, settings."""

from typing import Any

from raytrain.config import to_toml
from raytrain.reporting.progress import clock
from raytrain.reporting.report.blocks import Block, Code, Facts, Folded, Section, Table
from raytrain.reporting.run_data import RunData
from raytrain.training.paths import LOG

LOG_LINES = 60
_SAID = {"manifest_hash", "fingerprint", "versions", "python"}
_TIMES = {
    "startup_s": "start to first step",
    "train_s": "training",
    "probe_s": "features and probes",
    "total_s": "in all",
}


def origin(run: RunData) -> Section:
    """Return all that is needed to make the run again, and to know it again."""
    environment, summary = run.environment, run.summary
    facts = [
        ("the same run again", f"raytrain train --config {run.folder}/config.toml --out NEW"),
        ("preset and seed", f"{run.config.preset}, {run.config.seed}"),
        ("status", str(summary.get("status", "unknown"))),
        ("data", _data(run)),
        ("manifest (SHA-256)", environment.get("manifest_hash", "unknown")),
        ("training", _training(run)),
        ("time", _times(summary.get("timing", {}))),
    ]
    facts += [(key.replace("_", " "), str(value)) for key, value in environment.items() if key not in _SAID]
    versions = environment.get("versions", {})
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    facts.append(("versions", f"python {environment.get('python', 'unknown')}, {listed}"))
    pathways = Table(
        caption="Pathways and their weights (SHA-256)",
        header=["pathway", "operator", "encoder", "objective", "epochs", "weights"],
        rows=[
            [
                entry["name"],
                entry["operator"],
                entry["encoder"],
                entry["objective"],
                str(entry["epochs"]),
                str(entry.get("weights_sha256", "unknown"))[:16],
            ]
            for entry in summary["pathways"]
        ],
        words=True,
    )
    blocks: list[Block] = [Facts(facts=facts), pathways]
    blocks.append(Folded(title="All settings (config.toml)", blocks=[Code(text=to_toml(run.config))]))
    log = run.folder / LOG
    if log.exists():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        blocks.append(Folded(title="The end of log.txt", blocks=[Code(text="\n".join(lines))]))
    return Section(name="origin", title="What was run", blocks=blocks)


def _data(run: RunData) -> str:
    data: dict[str, Any] = run.summary["data"]
    source = run.config.data.root or run.config.data.source
    return (
        f"{source}: {data.get('samples', 0):,} training samples, {data.get('classes', 0)} classes; "
        f"{data.get('decodes', 0):,} files opened ({data.get('decodes_replayed', 0)} again), "
        f"{data.get('quarantined', 0)} quarantined, {data.get('left_out_per_epoch', 0)} left out an epoch"
    )


def _training(run: RunData) -> str:
    training = run.config.training
    device = run.environment.get("device") or training.device
    return (
        f"{training.epochs} epochs, batches of {training.batch_size}, {training.workers} worker(s) a "
        f"pathway, {training.precision} on {device}, executor {training.executor}"
    )


def _times(timing: dict[str, float]) -> str:
    said = [f"{words} {clock(timing[key])}" for key, words in _TIMES.items() if timing.get(key)]
    return ", ".join(said) or "unknown"
