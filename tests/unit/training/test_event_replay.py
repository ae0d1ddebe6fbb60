"""`raytrain replay` of runs on recordings: surfaces and stems, augmented, a step again bitwise."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.views.augmentations import EventAugmentation, EventDraws
from pipelines.views.events import Events
from raytrain import api
from raytrain.checkpoint import load_latest, save_checkpoint
from raytrain.cli import main
from raytrain.config import from_mapping
from raytrain.errors import Interrupted
from raytrain.training import run as run_module
from raytrain.training.replay import Replay
from tests.conftest import StopAfter
from tests.event_runs import VGG6, event_values

MOVED = {"shift_px": 6, "flip": True}
STEMMED = {"operator": "events", "cut": "surface", "encoder": VGG6, "objective": "supervised"}
PATHWAYS: dict[str, dict[str, Any]] = {
    "count": {
        "operator": "count",
        "encoder": VGG6,
        "objective": {"name": "clapp", "num_steps": 1, "skip": 0},
        "augmentation": MOVED,
    },
    "voxels": {
        "operator": {"name": "voxel_grid", "num_bins": 4},
        "cut": "bins",
        "encoder": VGG6,
        "objective": {"name": "hinge_cpc", "num_steps": 1, "skip": 0},
        "augmentation": MOVED,
    },
    "lstm": {**STEMMED, "stem": {"name": "matrix_lstm", "hidden": 2}, "augmentation": MOVED},
    "spikes": {**STEMMED, "stem": {"name": "est", "bins": 3, "units": 4}, "augmentation": MOVED},
    "phased": {
        **STEMMED,
        "stem": {"name": "phased_lstm", "channels": 4, "embedding": 4, "max_events": 16},
        "encoder": "none",
    },
}
STEPS = 6


def replayed_values(out: Path, *names: str, **more: Any) -> dict[str, Any]:
    values = event_values(out, ())
    values["data"]["moving_shapes"] = {"num_train": 12, "num_test": 4, "size_px": 32, "duration_ms": 20}
    values["training"] |= {"batch_size": 4, "checkpoint_every": 2}
    return {**values, "pathways": {name: PATHWAYS[name] for name in names or PATHWAYS}, **more}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    """A run with checkpoints of steps 5 and 6, every step logged."""
    return api.train(from_mapping(replayed_values(tmp_path_factory.mktemp("trained") / "run")))


def replayed(folder: Path, pathway: str, step: int) -> Replay:
    return api.replay(folder, pathway, step, say=[].append)[0][0]


def logged(folder: Path, pathway: str, step: int) -> dict[str, Any]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return next(line for line in lines if (line["pathway"], line["step"]) == (pathway, step))


def weights(run: api.Run) -> dict[str, str]:
    return {pathway["name"]: pathway["weights_sha256"] for pathway in run.summary["pathways"]}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step"), [("count", 2), ("lstm", 2), *((name, STEPS) for name in PATHWAYS)])
def test_a_logged_step_comes_out_bitwise_the_same(run: api.Run, name: str, step: int) -> None:
    found = replayed(run.folder, name, step)
    line = logged(run.folder, name, step)
    assert found.losses == found.logged_losses == line["losses"]
    assert found.sequence_hash == found.logged_hash == line["sequence_hash"]
    assert found.health == line["health"]
    assert (found.first_bad, found.first_other) == (None, None)
    assert found.images.shape == found.augmented.shape == (4, 3, 32, 32)
    assert np.array_equal(found.images, found.augmented) == (name == "phased")


@pytest.mark.slow
def test_what_is_noted_and_drawn(run: api.Run, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = {"count": (2, 2), "voxels": (4, 1), "lstm": (2, 1), "spikes": (6, 2)}
    for name, (channels, num_polarities) in shapes.items():
        found = replayed(run.folder, name, 3)
        assert found.maps is not None
        assert found.maps.shape == (4, channels, 32, 32)
        assert found.num_polarities == num_polarities
        noted = [figures.name for figures in found.figures]
        assert noted[:2] == ["events a recording", "events a recording, augmented"]
        assert ("stem maps" in noted) == (name in ("lstm", "spikes"))
        assert ("operator maps" in noted) == (name in ("count", "voxels"))
    assert replayed(run.folder, "phased", 3).maps is None
    for name in ("count", "phased"):
        assert main(["replay", str(run.folder), "--pathway", name, "--step", "3"]) == 0
        said = capsys.readouterr().out
        assert f"pathway {name}, step 3 (epoch 0, batch 2 of 3)" in said
        assert "equal to metrics.jsonl" in said
        assert re.search(r"^events a recording, augmented +\[4\] +yes ", said, re.MULTILINE)
        sheet = run.folder / "replay" / f"{name}-3.png"
        assert np.asarray(Image.open(sheet).convert("RGB"), np.float32).std() > 20
    every = (run.folder / "replay" / "phased-3.txt").read_text()
    assert "gradient of encoder.stem." in every
    assert re.search(r"^stem\.", every, re.MULTILINE)


def test_a_planted_nan_in_a_stem_is_located(run: api.Run, tmp_path: Path) -> None:
    copy = shutil.copytree(run.folder, tmp_path / "copy")
    root = copy / "checkpoints" / "spikes"
    shutil.rmtree(root / f"step-{STEPS:08d}")
    checkpoint = load_latest(root)
    assert checkpoint is not None
    name = next(key for key in checkpoint.tensors if key.startswith("encoder.stem."))
    checkpoint.tensors[name].view(-1)[0] = torch.nan
    meta = {key: checkpoint.meta[key] for key in ("pathway", "seed", "standardiser")}
    save_checkpoint(
        root, checkpoint.tensors, step=checkpoint.step, cursor=checkpoint.cursor, meta=meta, keep=2
    )
    found = replayed(copy, "spikes", STEPS)
    assert "pathway spikes: loss of layer" in found.diverged
    assert found.first_bad is not None
    assert found.first_bad.name == name.removeprefix("encoder.")
    assert (found.first_bad.layer, found.first_bad.kind) == (None, "weight")
    assert found.verdict == "it was so before this step: no sample's doing"


def test_pathways_see_the_same_moves_and_epochs_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = EventAugmentation.forward
    seen: list[tuple[list[int], list[int], list[bool]]] = []

    def forward(self: EventAugmentation, events: Events, draws: EventDraws | None) -> Events:
        if draws is not None:
            seen.append((draws.right.tolist(), draws.down.tolist(), draws.flip.tolist()))
        return plain(self, events, draws)

    monkeypatch.setattr(EventAugmentation, "forward", forward)
    api.train(from_mapping(replayed_values(tmp_path / "run", "count", "lstm")))
    assert len(seen) == 2 * STEPS
    assert all(seen.count(draws) == 2 for draws in seen)
    assert any(any(right) for right, _, _ in seen)
    assert any(any(flip) for _, _, flip in seen)


def test_an_epoch_that_goes_on_sees_the_same_moves(
    run: api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = replayed_values(tmp_path / "run", "count", "lstm")
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "StopSignal", lambda: StopAfter(3))
        with pytest.raises(Interrupted):
            api.train(from_mapping(values))
    reached = {int(path.name[5:]) for path in (tmp_path / "run" / "checkpoints" / "count").glob("step-*")}
    assert max(reached) % 3 != 0  # within an epoch
    resumed = weights(api.train(from_mapping(values)))
    assert resumed == {name: weights(run)[name] for name in ("count", "lstm")}


def test_augmentation_changes_training(run: api.Run, tmp_path: Path) -> None:
    values = replayed_values(tmp_path / "run", "count")
    values["pathways"]["count"] = {**PATHWAYS["count"], "augmentation": {}}
    assert weights(api.train(from_mapping(values)))["count"] != weights(run)["count"]
