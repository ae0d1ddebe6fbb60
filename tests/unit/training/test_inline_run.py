"""Whole runs in this process: what is true of the loop here is true of a Ray worker's loop."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.sources import open_manifest
from raytrain import api
from raytrain.checkpoint import load_latest
from raytrain.config import from_mapping, load_toml
from raytrain.errors import ClusterError, ConfigError, DataError, DivergedError, Interrupted, StorageError
from raytrain.pathway import Pathway
from raytrain.reporting.replay import replay_text
from raytrain.training.factory import estimate_standardisers
from raytrain.training.loop import PathwayLoop
from tests.conftest import StopAfter, small_values

STEPS_PER_EPOCH, STEPS = 3, 9


def train(out: Path, **changes: Any) -> api.Run:
    return api.train(from_mapping(small_values(out=str(out), **changes)))


def weights(run: api.Run) -> dict[str, str]:
    return {pathway["name"]: pathway["weights_sha256"] for pathway in run.summary["pathways"]}


def logged(folder: Path) -> list[tuple[str, int, int, str, float]]:
    """Return what a run logged, without the clock."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    found = [
        (line["pathway"], line["epoch"], line["step"], line["sequence_hash"], sum(line["losses"].values()))
        for line in lines
    ]
    return sorted(found)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return train(tmp_path_factory.mktemp("undisturbed"))


def test_every_step_of_every_pathway_is_logged_once(undisturbed: api.Run) -> None:
    found = logged(undisturbed.folder)
    assert [(name, step) for name, _, step, *_ in found] == [
        (name, step) for name in ("identity", "lbp") for step in range(1, STEPS + 1)
    ]
    assert [epoch for name, epoch, *_ in found if name == "lbp"] == [0] * 3 + [1] * 3 + [2] * 3
    hashes = {(step, sequence_hash) for _, _, step, sequence_hash, _ in found}
    assert len(hashes) == STEPS  # all pathways read the same batches, no two steps the same


def test_the_summary_says_what_was_done(undisturbed: api.Run) -> None:
    summary = undisturbed.summary
    assert json.loads((undisturbed.folder / "summary.json").read_text()) == summary
    assert summary["status"] == "done"
    assert summary["data"]["samples"] == 26
    assert summary["data"]["left_out_per_epoch"] == 2
    assert summary["data"]["decodes"] == 3 * 24
    assert summary["data"]["quarantined"] == summary["data"]["decodes_replayed"] == 0
    for pathway, operator in zip(summary["pathways"], ("identity", "lbp"), strict=True):
        assert (pathway["name"], pathway["operator"], pathway["objective"]) == (operator, operator, "clapp")
        assert (pathway["epochs"], pathway["steps"], pathway["restarts"]) == (3, STEPS, 0)
        assert pathway["waits"].keys() == {"data", "step", "checkpoint"}
    assert summary["timing"].keys() == {"startup_s", "train_s", "probe_s", "total_s"}


@pytest.mark.parametrize("count", [0, 3, 4])
@pytest.mark.slow
def test_a_stopped_run_goes_on_with_bitwise_the_same_weights(
    tmp_path: Path, undisturbed: api.Run, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("raytrain.training.run.StopSignal", lambda: StopAfter(count))
        with pytest.raises(Interrupted, match=r"^stopped; checkpoints are in .*; the same command goes on"):
            train(tmp_path)
    stopped = json.loads((tmp_path / "summary.json").read_text())
    assert stopped["status"] == "stopped"
    assert [pathway["steps"] for pathway in stopped["pathways"]] == [count + 1] * 2
    again = train(tmp_path)
    assert weights(again) == weights(undisturbed)
    assert logged(tmp_path) == logged(undisturbed.folder)
    assert again.summary["status"] == "done"


def test_a_run_goes_on_on_the_device_it_began_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("raytrain.training.run.StopSignal", lambda: StopAfter(2))
        with pytest.raises(Interrupted):
            train(tmp_path)
    path = tmp_path / "env.json"
    environment = json.loads(path.read_text())
    assert environment["device"] == "cpu"
    path.write_text(json.dumps({**environment, "device": "cuda"}))
    monkeypatch.setattr("raytrain.training.cluster.gpus_here", lambda: 0)
    with pytest.raises(ClusterError, match=r"^the run is on cuda \(.* it began so\) and there is no GPU"):
        train(tmp_path)
    assert json.loads(path.read_text())["device"] == "cuda"


def test_pathways_that_were_killed_at_different_steps_go_on_from_their_own(
    tmp_path: Path, undisturbed: api.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = PathwayLoop.advance
    askew = {"data__chunk_mib": 0.023}  # chunks of 6 for batches of 8

    def killed(self: PathwayLoop, *arguments: Any, **options: Any) -> bool:
        if self.pathway.name == "lbp" and self.step == 7:
            raise SystemExit("killed")
        return advance(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(PathwayLoop, "advance", killed)
        with pytest.raises(SystemExit):
            train(tmp_path, training__checkpoint_every=4, **askew)
    found = {name: load_latest(tmp_path / "checkpoints" / name) for name in ("identity", "lbp")}
    assert {name: one.step for name, one in found.items() if one} == {"identity": 8, "lbp": 6}
    again = train(tmp_path, **askew)
    assert weights(again) == weights(undisturbed)
    assert logged(tmp_path) == logged(undisturbed.folder)
    assert again.summary["data"]["decodes_replayed"] > 0


def test_a_longer_schedule_goes_on_from_a_finished_shorter_one(tmp_path: Path, undisturbed: api.Run) -> None:
    shorter = train(tmp_path, training__epochs=1)
    assert [pathway["steps"] for pathway in shorter.summary["pathways"]] == [STEPS_PER_EPOCH] * 2
    longer = train(tmp_path)
    assert weights(longer) == weights(undisturbed)
    assert logged(tmp_path) == logged(undisturbed.folder)
    assert load_toml(tmp_path / "config.toml").training.epochs == 3


def test_a_finished_run_called_again_trains_nothing(undisturbed: api.Run) -> None:
    before = logged(undisturbed.folder)
    again = train(undisturbed.folder)
    assert weights(again) == weights(undisturbed)
    assert logged(undisturbed.folder) == before
    assert again.summary["data"]["decodes"] == undisturbed.summary["data"]["decodes"]


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_cache_decodes_once_and_changes_no_weight(tmp_path: Path, undisturbed: api.Run, cache: str) -> None:
    # Chunks of two: all of an epoch's 26 samples are decoded but those of the chunk that is left out.
    run = train(tmp_path, data__cache=cache, data__chunk_mib=0.0075)
    assert weights(run) == weights(undisturbed)
    assert run.summary["data"]["decodes"] <= 26 + 2 * 2


def test_a_memory_cache_that_starts_cold_is_said_and_counted(
    tmp_path: Path, undisturbed: api.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("raytrain.training.run.StopSignal", lambda: StopAfter(4))
        with pytest.raises(Interrupted):
            train(tmp_path, data__cache="memory")
    said = "data.cache = memory starts cold"
    assert said not in (tmp_path / "log.txt").read_text()
    decoded = json.loads((tmp_path / "summary.json").read_text())["data"]["decodes"]
    assert decoded <= 26 + 2 * 2
    again = train(tmp_path, data__cache="memory")
    assert (tmp_path / "log.txt").read_text().count(said) == 1
    assert weights(again) == weights(undisturbed)
    # one step is left of epoch 1, and all of epoch 2
    assert decoded + 8 + 24 <= again.summary["data"]["decodes"] <= decoded + 16 + 26


def test_stream_placement_changes_no_weight(tmp_path: Path, undisturbed: api.Run) -> None:
    values = small_values()
    values["pathways"] = {
        name: {**pathway, "placement": "stream"} for name, pathway in values["pathways"].items()
    }
    run = train(tmp_path, pathways=values["pathways"])
    assert weights(run) == weights(undisturbed)
    assert list(run.summary["data"]["operated"].values()) == [3 * 24] * 2


def test_three_equal_pathways_end_with_three_different_weights(tmp_path: Path) -> None:
    pathway = small_values()["pathways"]["identity"]
    run = train(tmp_path, training__epochs=1, pathways=dict.fromkeys(("one", "two", "three"), pathway))
    assert len(set(weights(run).values())) == 3


def test_a_diverged_loss_stops_before_the_update_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = small_values(out=str(tmp_path), training__checkpoint_every=1)
    lbp = {**values["pathways"]["lbp"], "optimizer": {"learning_rate": 1e30}}
    values["pathways"]["lbp"] = lbp
    said = r"^pathway lbp: loss of layer\d is (nan|inf).* at epoch 0, step 1; "
    with pytest.raises(DivergedError, match=said):
        api.train(from_mapping(values))
    assert DivergedError.exit_code == 4
    kept = load_latest(tmp_path / "checkpoints" / "lbp")
    assert kept is not None
    assert kept.step == 1
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())
    ahead = load_latest(tmp_path / "checkpoints" / "identity")
    assert ahead is not None
    assert ahead.step == 2
    with pytest.raises(DivergedError, match=said):  # again, from the checkpoint
        api.train(from_mapping(values))


def test_a_checkpoint_of_another_seed_is_refused(undisturbed: api.Run) -> None:
    pathway = Pathway.__new__(Pathway)
    config = from_mapping(small_values(seed=1))
    loop = PathwayLoop(
        pathway,
        config,
        plan=None,  # type: ignore[arg-type]
        folder=undisturbed.folder / "checkpoints" / "lbp",
        record=lambda line: None,
    )
    with pytest.raises(StorageError, match="was written by seed 0"):
        loop.restore()


def test_more_workers_than_one_process_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^pathways\.identity\.workers is 2, but .* inline has one process"
    ):
        train(tmp_path, training__workers=2)


def image_folder(root: Path, num_bad: int) -> dict[str, Any]:
    """Write 24 images of two classes, some of them broken; return the settings of the data."""
    for index in range(24):
        folder = root / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (36, 36, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        if index < num_bad:
            (folder / f"{index}.png").write_bytes(b"broken")
    fractions = {"select_fraction": 0.0, "test_fraction": 0.0}
    return {"source": "folder", "root": str(root), "canvas_px": 36, "chunk_mib": 0.03, **fractions}


def test_quarantine_over_its_budget_ends_the_run(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data", 3)
    with pytest.raises(
        DataError,
        match=r"^3 of 24 samples could not be decoded, more than data\.quarantine_budget 0\.1 allows; see ",
    ):
        train(tmp_path / "run", data={**data, "quarantine_budget": 0.1})
    bad = [json.loads(line) for line in (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()]
    assert {entry["key"] for entry in bad} == {"class0/0.png", "class1/1.png", "class0/2.png"}


@pytest.mark.slow
def test_quarantine_within_its_budget_is_counted_once(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data", 2)
    (tmp_path / "data" / "class0" / "0.png").unlink()
    (tmp_path / "data" / "class0" / "0.png").symlink_to("nowhere")
    run = train(tmp_path / "run", training__epochs=2, data={**data, "quarantine_budget": 0.1})
    assert run.summary["data"]["quarantined"] == 2
    assert run.summary["data"]["quarantined_by"] == {"missing": 1, "damaged": 1, "timed_out": 0}
    assert run.summary["status"] == "done"


def test_what_cannot_be_decoded_is_not_in_the_standardisers(tmp_path: Path) -> None:
    damaged = from_mapping(small_values(out=str(tmp_path / "run"), data=image_folder(tmp_path / "data", 3)))
    found = estimate_standardisers(damaged, open_manifest(damaged.data))
    for name in ("class0/0.png", "class1/1.png", "class0/2.png"):
        (tmp_path / "data" / name).unlink()
    expected = estimate_standardisers(damaged, open_manifest(damaged.data))
    assert found["lbp"]["mean"] == pytest.approx(expected["lbp"]["mean"], rel=1e-12)
    assert found["lbp"]["deviation"] == pytest.approx(expected["lbp"]["deviation"], rel=1e-12)


def test_no_standardiser_of_nothing(tmp_path: Path) -> None:
    values = small_values(out=str(tmp_path / "run"), data=image_folder(tmp_path / "data", 24))
    config = from_mapping(values)
    with pytest.raises(DataError, match="no sample to estimate channel means from"):
        estimate_standardisers(config, open_manifest(config.data))


@pytest.mark.slow
def test_a_replay_says_what_was_left_out(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "data", 2)
    run = train(tmp_path / "run", training__log_every=1, data={**data, "quarantine_budget": 0.1})
    bad, left_out = {"class0/0.png", "class1/1.png"}, set()
    for step in range(1, 4):
        (found,) = api.replay(run.folder, "lbp", step, say=lambda _: None)[0]
        assert found.losses == found.logged_losses
        assert not bad & set(found.keys)
        assert len(found.keys) + len(found.left_out) == 8
        left_out |= set(found.left_out)
        text = replay_text(found)
        said = f"; {len(found.left_out)} more left out, for they cannot be decoded"
        assert (said in text) is bool(found.left_out)
    assert left_out == bad


def test_a_refused_batch_size_may_be_corrected(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^training\.batch_size 32 is larger than the 26 samples of the pre"
    ):
        train(tmp_path, training__batch_size=32)
    assert list(tmp_path.iterdir()) == []
