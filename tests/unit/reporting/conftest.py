import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sources import open_manifest
from pipelines.storage.manifest import Manifest
from raytrain.config import RunConfig, from_mapping, to_toml
from raytrain.evaluation.features import FeatureWriter
from raytrain.reporting.report import write_report
from raytrain.training.evaluate import probe_rows
from tests.conftest import small_values

LAYERS = ["layer1", "layer2"]
MakeRun = Callable[..., Path]


def _around(value: float, width: float = 0.05) -> list[float]:
    return [value - width, value + width]


def _probe_entry(names: list[str], right: dict[str, float], floors: list[str]) -> dict[str, Any]:
    key = "+".join(names)
    accuracy, control = right[key], right[f"{key}.control"]
    return {
        "pathways": names,
        "epoch": 3,
        "features": "flat",
        "protocol_name": "ridge",
        "protocol": "ridge classifier on frozen features",
        "split": "test",
        "accuracy": accuracy,
        "interval": _around(accuracy),
        "control": control,
        "control_interval": _around(control),
        "gain": accuracy - control,
        "gain_interval": _around(accuracy - control),
        "gain_same_strength": accuracy - control,
        "gain_same_strength_interval": _around(accuracy - control),
        "logo_accuracy": accuracy,
        "n": 24,
        "groups": 24,
        "floors": [
            {
                "name": name,
                "accuracy": 0.5,
                "interval": _around(0.5),
                "difference": accuracy - 0.5,
                "difference_interval": _around(accuracy - 0.5),
            }
            for name in floors
        ],
        "contrasts": [
            {"name": f"gain of {key} - gain of identity", "difference": 0.1, "interval": [0.02, 0.18]}
        ],
    }


def _predictions(
    folder: Path, config: RunConfig, manifest: Manifest, strength: float, seed: int
) -> dict[str, float]:
    """Write predictions that are right with some probability; return the accuracies."""
    splits = probe_rows(manifest)
    test = splits["test"]
    truth = manifest.labels[splits["rows"]][test]
    groups = manifest.group_ids[splits["rows"]][test]
    random = np.random.default_rng(seed)
    names = list(config.pathways)
    arrays: dict[str, Any] = {"rows": test, "truth": truth, "groups": groups}
    right = {}
    keys = [*names, "+".join(names)]
    chances = dict.fromkeys(keys, strength) | {f"{key}.control": 0.4 for key in keys} | {"floor.pixels": 0.5}
    for name, chance in chances.items():
        hit = random.random(len(truth)) < chance
        wrong = (truth + 1 + random.integers(0, 2, len(truth))) % len(manifest.classes)
        arrays[f"predicted/ridge/{name}"] = np.where(hit, truth, wrong)
        right[name] = float(hit.mean())
    np.savez(folder / "predictions.npz", **arrays)
    return right


def _features(folder: Path, config: RunConfig, manifest: Manifest) -> None:
    """Write features in which the trained pathways tell the classes apart and the controls do not."""
    labels = manifest.labels[probe_rows(manifest)["rows"]]
    random = np.random.default_rng(0)
    means = random.normal(size=(len(manifest.classes), 8))
    for name in config.pathways:
        for file, separation in ((name, 3.0), (f"{name}.control", 0.0)):
            values = separation * means[labels] + random.normal(size=(len(labels), 8))
            writer = FeatureWriter(
                folder / "features", name=file, num_samples=len(labels), cells=4, channels=2, max_gib=1.0
            )
            writer.write(0, values.reshape(len(labels), 4, 2))
            writer.close({"steps": dict.fromkeys(config.pathways, 9)})
    np.save(folder / "features" / "valid.npy", np.ones(len(labels), np.bool_))


def _metrics(config: RunConfig) -> list[dict[str, Any]]:
    return [
        {
            "run": "run",
            "pathway": name,
            "epoch": 0,
            "step": step,
            "rank": 0,
            "losses": {layer: 4.0 / step + place for place, layer in enumerate(LAYERS)},
            "samples_per_s": 40.0,
            "memory_mib": 512,
            "waits": {"data": 0.25, "step": 0.7, "checkpoint": 0.05},
            "health": {layer: {"rank": 2.0 + step / 10, "dead": 0.0} for layer in LAYERS},
        }
        for step in (1, 5, 9)
        for name in config.pathways
    ]


def _extras(config: RunConfig, right: dict[str, float]) -> dict[str, Any]:
    """The parts of a summary that an older run does not have."""
    names = list(config.pathways)
    scores = {
        "accuracy": 0.6,
        "interval": _around(0.6),
        "control": 0.4,
        "control_interval": _around(0.4),
        "gain": 0.2,
        "gain_interval": _around(0.2),
    }
    return {
        "health": [
            {"pathway": name, "layer": layer, "step": 9, "score": 1.0, "dead": 0.1, "rank": 3.0, "rms": 0.5}
            for name in names
            for layer in LAYERS
        ],
        "warnings": [f"{names[-1]} layer2: half of the units are zero"],
        "layers": [
            {"pathway": name, "layer": layer, "features": "pooled", "protocol_name": "ridge", **scores}
            for name in names
            for layer in LAYERS
        ],
        "subsets": [{"pathways": subset, **scores} for subset in ([names[0]], names)],
        "shortcut": {"identity": 0.9, "lbp": 0.6, "rg": 0.7},
    }


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Makes a run folder as training and probe would leave it."""

    def make(
        folder: Path, *, seed: int = 0, strength: float = 0.8, full: bool = True, **changes: Any
    ) -> Path:
        values = small_values(seed=seed, out=str(folder), **changes)
        pathway = values["pathways"]["identity"]
        values["pathways"]["rg"] = {**pathway, "operator": "rg"}
        config = from_mapping(values)
        manifest = open_manifest(config.data)
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(to_toml(config))
        environment = {
            "manifest_hash": manifest.hash,
            "python": "3.11",
            "cpus": 2,
            "versions": {"torch": "2"},
        }
        (folder / "env.json").write_text(json.dumps(environment))
        (folder / "log.txt").write_text("2026-01-01 00:00:00 lbp rank 0 starts <at> step 0\n")
        right = _predictions(folder, config, manifest, strength, seed)
        if not full:
            (folder / "predictions.npz").unlink()
        sets = [[name] for name in config.pathways] + [list(config.pathways)]
        summary = {
            "status": "done",
            "preset": "custom",
            "seed": seed,
            "data": {"samples": 26, "classes": len(manifest.classes), "decodes": 78, "quarantined": 0},
            "pathways": [
                {
                    "name": name,
                    "operator": one.operator.name,
                    "objective": "clapp",
                    "encoder": "vgg6",
                    "epochs": 3,
                    "steps": 9,
                    "samples_per_s": 40.0,
                    "waits": {"data": 0.25, "step": 0.7, "checkpoint": 0.05},
                    "weights_sha256": "0" * 64,
                    "restarts": 0,
                }
                for name, one in config.pathways.items()
            ],
            "probes": [_probe_entry(names, right, ["pixels"]) for names in sets],
            "timing": {"startup_s": 1.0, "train_s": 9.0, "probe_s": 2.0, "total_s": 12.0},
        }
        if full:
            summary |= _extras(config, right)
            _features(folder, config, manifest)
            lines = "".join(json.dumps(line) + "\n" for line in _metrics(config))
            (folder / "metrics.jsonl").write_text(lines)
        (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return make


@pytest.fixture(scope="session")
def full_report(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has every part, with its report; to be read only."""
    folder = make_run(tmp_path_factory.mktemp("report") / "run")
    write_report(folder)
    return folder
