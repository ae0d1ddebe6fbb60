"""`raytrain replay`: a step again, bitwise, and what was not finite in it is named."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from raytrain import api
from raytrain.checkpoint import load_latest, save_checkpoint
from raytrain.cli import main
from raytrain.config import from_mapping
from raytrain.errors import ConfigError, DivergedError
from raytrain.pathway import Pathway
from raytrain.reporting import replay as replay_module
from raytrain.training.replay import Replay
from tests.conftest import small_values

STEPS = 9


def train(out: Path, **changes: Any) -> Path:
    values = small_values(out=str(out), training__keep_checkpoints=2, **changes)
    api.train(from_mapping(values))
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of steps 6 and 9, every step logged."""
    return train(tmp_path_factory.mktemp("trained") / "run")


def make_folder(replay: Replay, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)


@pytest.fixture(autouse=True)
def undrawn_sheet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no contact sheet but for the test of it: more than half of a replay's time."""
    if "draws" not in request.node.name:
        monkeypatch.setattr(
            replay_module, "replay_sheet", lambda replay, path: path.parent.mkdir(exist_ok=True)
        )


def replayed(run: Path, pathway: str, step: int, said: list[str] | None = None) -> Replay:
    return api.replay(run, pathway, step, say=[].append if said is None else said.append)[0][0]


def logged(run: Path, pathway: str, step: int) -> dict[str, Any]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return next(line for line in lines if (line["pathway"], line["step"]) == (pathway, step))


def contents(run: Path) -> dict[str, str]:
    """Every file of a run but what a replay may write."""
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.rglob("*")
        if path.is_file() and "replay" not in path.parts
    }


@pytest.mark.parametrize(("step", "start"), [(1, 0), (4, 0), (6, 0), (7, 6), (STEPS, 6)])
@pytest.mark.parametrize("name", ["identity", "lbp"])
def test_a_logged_step_comes_out_bitwise_the_same(run: Path, name: str, step: int, start: int) -> None:
    before = contents(run)
    said: list[str] = []
    found = replayed(run, name, step, said)
    line = logged(run, name, step)
    assert found.losses == found.logged_losses == line["losses"]
    assert found.sequence_hash == found.logged_hash == line["sequence_hash"]
    assert found.health == line["health"]
    assert found.first_bad is None
    assert (found.num_agreed, found.first_other) == (step - 1 - start, None)
    begin = f"from the checkpoint of step {start}" if start else "from the initial weights"
    assert said[0].startswith(
        f"{name}: replaying {step - start} step(s), {start + 1} to {step}, {begin}; about "
    )
    assert contents(run) == before


@pytest.mark.parametrize(
    "change",
    [
        {"objective": {"name": "hinge_cpc", "num_steps": 1}},
        {"objective": {"name": "supervised"}},
        {"placement": "stream"},
        {"operator": "dtcwt", "encoder": {"name": "vgg6", "width": 0.0078125}},
    ],
    ids=["hinge_cpc", "supervised", "stream", "dtcwt"],
)
def test_other_pathways_come_out_the_same_too(tmp_path: Path, change: dict[str, Any]) -> None:
    pathway = small_values()["pathways"]["lbp"] | change
    folder = train(tmp_path / "run", pathways={"one": pathway})
    found = replayed(folder, "one", 8)
    assert found.losses == logged(folder, "one", 8)["losses"]
    assert found.num_agreed == 1


def test_a_step_that_was_not_logged_is_recomputed(tmp_path: Path, run: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copy / "metrics.jsonl").write_text("".join(line for line in lines if '"step": 8' not in line))
    found = replayed(copy, "lbp", 8)
    assert found.logged_losses is None
    assert found.logged_hash is None
    assert found.losses == logged(run, "lbp", 8)["losses"]


def test_a_step_that_differs_from_the_log_is_told(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    text = (copy / "metrics.jsonl").read_text()
    loss = logged(run, "lbp", 7)["losses"]["layer2"]
    line = next(one for one in text.splitlines() if '"lbp"' in one and '"step": 7,' in one)
    changed = json.loads(line)
    changed["losses"]["layer2"] = loss + 0.5
    changed["sequence_hash"] = "0" * 16
    (copy / "metrics.jsonl").write_text(text.replace(line, json.dumps(changed)))
    assert main(["replay", str(copy), "--pathway=lbp", "--step=7"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^layer1 +\S+ +\S+  equal$", said, re.MULTILINE)
    assert re.search(r"^layer2 +\S+ +\S+  differs by -0\.5$", said, re.MULTILINE)
    assert "(metrics.jsonl has 0000000000000000: other samples)" in said
    assert main(["replay", str(copy), "--pathway=lbp", "--step=8"]) == 0
    assert "on the way: 0 logged step(s) came out the same, step 7 first did not" in capsys.readouterr().out


def test_a_log_of_an_earlier_version_is_not_called_another_batch(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    text = (copy / "metrics.jsonl").read_text()
    (copy / "metrics.jsonl").write_text(text.replace('"sequence_hash"', '"batch_hash"'))
    assert main(["replay", str(copy), "--pathway=lbp", "--step=7"]) == 0
    said = capsys.readouterr().out
    assert "(logged by an earlier version, whose hash knew no order: not compared)" in said
    assert "other samples" not in said


def test_the_command_line_draws_the_batch_and_names_its_samples(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(run), "--pathway", "lbp", "--step", "7"]) == 0
    said = capsys.readouterr().out
    found = replayed(run, "lbp", 7)
    for key in found.keys:
        assert key in said
    assert "pathway lbp, step 7 (epoch 2, batch 0 of 3)" in said
    assert "batch: 8 samples, hash " in said
    assert said.count("  equal\n") == 6
    assert re.search(r"^layer3 output +\[72,2,8,8\] +yes ", said, re.MULTILINE)
    assert "all tensors of this step are finite" in said
    sheet = run / "replay" / "lbp-7.png"
    assert said.endswith(f"contact sheet: {sheet}; every tensor: {sheet.with_suffix('.txt')}\n")
    pixels = np.asarray(Image.open(sheet).convert("RGB"), np.float32)
    assert pixels.std() > 20
    every = sheet.with_suffix(".txt").read_text()
    assert "gradient of encoder.layers.2.conv.weight" in every
    assert "update of objective.predictors.5.mirror_weight" in every
    assert found.augmented.shape == (8, 3, 32, 32)
    assert found.maps.shape == (8, 1, 32, 32)


def test_a_planted_nan_in_a_weight_is_located(tmp_path: Path, run: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    root = copy / "checkpoints" / "lbp"
    shutil.rmtree(root / "step-00000009")
    checkpoint = load_latest(root)
    assert checkpoint is not None
    checkpoint.tensors["encoder.layers.2.conv.weight"][1, 0, 2, 2] = torch.nan
    meta = {key: checkpoint.meta[key] for key in ("pathway", "seed", "standardiser")}
    save_checkpoint(root, checkpoint.tensors, step=6, cursor=checkpoint.cursor, meta=meta, keep=2)
    found = replayed(copy, "lbp", 7)
    assert re.match(r"pathway lbp: loss of layer3 is nan at epoch 2, step 0$", found.diverged)
    assert found.first_bad is not None
    assert (found.first_bad.name, found.first_bad.layer) == ("layer3.conv.weight", 2)
    assert (found.first_bad.kind, found.first_bad.num_bad) == ("weight", 1)
    assert found.verdict == "it was so before this step: no sample's doing"
    assert found.blamed == []
    assert all(figures.finite for figures in found.figures if figures.name.startswith("layer2"))


def test_a_step_that_diverged_is_replayed_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = small_values(out=str(tmp_path), training__checkpoint_every=1)
    values["pathways"]["lbp"] = {**values["pathways"]["lbp"], "optimizer": {"learning_rate": 1e30}}
    with pytest.raises(DivergedError) as stopped:
        api.train(from_mapping(values))
    before = contents(tmp_path)
    found = replayed(tmp_path, "lbp", 2)
    assert str(stopped.value).startswith(found.diverged + "; stopped before the update")
    assert found.first_bad is not None
    assert found.first_bad.layer == 0
    assert found.verdict == "each sample alone makes it so: the weights or the learning rate, not the data"
    assert found.logged_losses is None
    assert main(["replay", str(tmp_path), "--pathway=lbp", "--step=5"]) == 0
    said = capsys.readouterr().out
    assert "step 2 diverges before step 5 is reached: it is looked at instead" in said
    assert f"{found.diverged}\nfirst not finite: {found.first_bad.name} (" in said
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("objective", "planted", "first"),
    [
        ("clapp", torch.inf, "patches"),
        ("hinge_cpc", torch.inf, "patches"),
        ("clapp", 3e38, "layer1.conv"),
        ("clapp", 1e21, "loss of layer"),
        ("hinge_cpc", 1e26, "loss of layer6"),
    ],
)
def test_the_samples_that_make_it_so_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: float, first: str, objective: str
) -> None:
    # without batch norm, or one sample's size would be divided out of the others
    pathway = small_values()["pathways"]["lbp"] | {
        "encoder": {"name": "vgg6", "width": 0.0078125},
        "objective": {"name": objective, "num_steps": 1, "synchronous": True},
    }
    folder = train(tmp_path / "run", pathways={"lbp": pathway}, training__epochs=1)
    plain, bad = Pathway.views, [2, 5]

    def views(self: Pathway, *arguments: Any, **options: Any) -> Tensor:
        patches = plain(self, *arguments, **options)
        signs = torch.randn(patches[:, bad].shape, generator=torch.Generator().manual_seed(1)).sign()
        patches[:, bad] = planted * (signs if planted > 1e30 else 1.0)
        return patches

    monkeypatch.setattr(Pathway, "views", views)
    found = replayed(folder, "lbp", 1)
    assert found.first_bad is not None
    assert found.first_bad.name.startswith(first)
    assert found.blamed == bad
    assert found.verdict == (
        "made so by 2 of 8 samples" if planted > 1e30 else "each of them alone makes it so"
    )


def test_one_sample_is_found_by_leaving_it_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pathway = small_values()["pathways"]["lbp"] | {
        "encoder": {"name": "vgg6", "width": 0.0078125},
        "objective": {"name": "clapp", "num_steps": 1, "synchronous": True},
    }
    folder = train(tmp_path / "run", pathways={"lbp": pathway}, training__epochs=1)
    plain = Pathway.views

    def views(self: Pathway, *arguments: Any, **options: Any) -> Tensor:
        patches = plain(self, *arguments, **options)
        patches[:, 4] *= 1e21
        return patches

    monkeypatch.setattr(Pathway, "views", views)
    found = replayed(folder, "lbp", 1)
    assert found.blamed == [4]
    assert found.verdict == "without it all is finite"


def test_an_update_that_is_not_finite_is_the_optimisers(tmp_path: Path) -> None:
    pathway = small_values()["pathways"]["lbp"] | {"optimizer": {"learning_rate": 1e39}}
    values = small_values(out=str(tmp_path), training__epochs=1, pathways={"lbp": pathway})
    with pytest.raises(DivergedError):
        api.train(from_mapping(values))
    found = replayed(tmp_path, "lbp", 1)
    assert found.diverged == ""
    assert found.first_bad is not None
    assert (found.first_bad.kind, found.first_bad.name) == (
        "update",
        "update of encoder.layers.0.conv.weight",
    )
    assert found.verdict == "loss and gradients were finite: the optimiser's step made it so"


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, run: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    path = copy / "checkpoints" / "lbp" / "step-00000006" / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    said: list[str] = []
    found = replayed(copy, "lbp", 7, said)
    assert "step-00000006 is damaged and passed over" in said[0]
    assert "7 step(s), 1 to 7, from the initial weights" in said[1]
    assert found.losses == logged(run, "lbp", 7)["losses"]


def test_a_step_that_the_run_has_not_reached_is_replayed(tmp_path: Path, run: Path) -> None:
    folder = train(tmp_path / "run", training__epochs=1)
    config = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace("epochs = 1\n", "epochs = 3\n"))
    assert replayed(folder, "lbp", 5).losses == logged(run, "lbp", 5)["losses"]


def test_wrong_calls_end_with_2_and_the_range(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = (
        "pathway lbp has steps 1 to 9, 3 an epoch (batch b of epoch e, both from 0, is step e x 3 + b + 1)"
    )
    for arguments, text in (
        ([str(run), "--pathway=lbp", "--step=0"], f"--step is 0; {steps}"),
        ([str(run), "--pathway=lbp", "--step=10"], f"--step is 10; {steps}"),
        ([str(run), "--pathway=lbp", "--step=-1"], f"--step is -1; {steps}"),
        ([str(run), "--pathway=lpb", "--step=1"], "unknown pathway 'lpb'; did you mean 'lbp'?"),
        ([str(run), "--pathway=lbp", "--step=two"], "two"),
        ([str(run), "--pathway=lbp"], "--step"),
        ([str(run), "--step=1"], "--pathway"),
        ([str(tmp_path), "--pathway=lbp", "--step=1"], "not a run folder (no config.toml)"),
    ):
        assert main(["replay", *arguments]) == 2
        said = capsys.readouterr().err
        assert text in said
        assert re.fullmatch(r"raytrain: [^\n]+\n", said)
    (tmp_path / "config.toml").write_text((run / "config.toml").read_text())
    with pytest.raises(ConfigError, match=r"the run has not begun \(no standardisers\.json, env\.json\)"):
        api.replay(tmp_path, "lbp", 1)
