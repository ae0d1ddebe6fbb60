import base64
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.sources import open_manifest
from raytrain.cli.train import _side_by_side
from raytrain.config import from_mapping, load_preset, to_toml
from raytrain.reporting.report.blocks import Moving, Page, Table
from raytrain.reporting.report.render import render
from raytrain.reporting.report.sections.operators import operators
from raytrain.reporting.report.sections.representations import representations
from raytrain.reporting.representations import representation_groups, representations_text
from raytrain.reporting.results import points, with_interval
from raytrain.reporting.run_data import RunData, load_run
from raytrain.reporting.runs import Figure, Runs, load_runs

VGG6 = {"name": "vgg6", "width": 0.0625, "batch_norm": True}
SHARED = {"cut": "bins", "encoder": VGG6, "objective": "supervised"}
PATHWAYS: dict[str, dict[str, Any]] = {
    "count": {**SHARED, "operator": {"name": "count", "num_bins": 3}},
    "voxels": {**SHARED, "operator": "voxel_grid", "epochs": 3},
    "matrix": {
        **SHARED,
        "operator": "events",
        "stem": {"name": "matrix_lstm", "hidden": 4, "bins": 3},
        "optimizer": {"learning_rate": 0.001},
    },
    "alone": {
        **SHARED,
        "operator": {"name": "binary_frames", "num_frames": 3},
        "objective": {"name": "hinge_cpc", "num_steps": 1},
    },
}
GROUPS, EACH = 20, 4
NUM = GROUPS * EACH
RIGHT = {
    # Of 80 test samples: the voxels have 10 more than count, all of groups 15 .. 17; the stem the same 60.
    "count": np.arange(NUM) < 60,
    "voxels": np.arange(NUM) < 70,
    "matrix": np.arange(NUM) < 60,
    "alone": np.arange(NUM) < 40,
}
HEADS = {"count": np.arange(NUM) < 50, "voxels": np.arange(NUM) < 50, "matrix": np.arange(NUM) < 45}


def entry(protocol: str, names: list[str], accuracy: float) -> dict[str, Any]:
    control = accuracy / 2
    return {
        "pathways": names,
        "protocol_name": protocol,
        "accuracy": accuracy,
        "interval": [accuracy - 0.05, accuracy + 0.04],
        "control": control,
        "control_interval": [control - 0.03, control + 0.02],
    }


RIDGE_VOXELS = ("ridge", ["voxels"])
NONE = Figure(value=np.nan, seeds=[], interval=None)


def make_runs(folder: Path, **how: bool) -> Runs:
    return Runs.of(make_run(folder, **how))


def make_run(folder: Path, *, head: bool = True, kept: bool = True, probed: bool = True) -> RunData:
    """Write a run folder on recordings, as training and probe would leave it, and read it."""
    shapes = {"num_train": 8, "num_test": 8, "size_px": 16, "duration_ms": 30}
    config = from_mapping(
        {
            "out": str(folder),
            "data": {"source": "moving_shapes", "select_fraction": 0.0, "moving_shapes": shapes},
            "training": {"epochs": 2},
            "pathways": PATHWAYS,
        }
    )
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(to_toml(config))
    environment = {"manifest_hash": open_manifest(config.data).hash}
    (folder / "env.json").write_text(json.dumps(environment))
    protocols = {"ridge": RIGHT} | ({"head": HEADS} if head else {})
    arrays = {
        "rows": np.arange(NUM),
        "truth": np.zeros(NUM, np.int64),
        "groups": np.repeat(np.arange(GROUPS), EACH),
    }
    probes = []
    for protocol, right in protocols.items():
        for name, hits in right.items():
            arrays[f"predicted/{protocol}/{name}"] = 1 - hits.astype(np.int64)
            probes.append(entry(protocol, [name], float(hits.mean())))
    probes.append(entry("ridge", list(PATHWAYS), 0.9))
    if kept:
        np.savez(folder / "predictions.npz", **arrays)
    pathways = [{"name": name, "operator": "?", "epochs": 2} for name in PATHWAYS]
    pathways[0]["events_per_s"] = 1_234_567.0
    summary = {"pathways": pathways, "data": {"classes": 8}, "probes": probes if probed else []}
    (folder / "summary.json").write_text(json.dumps(summary))
    return load_run(folder)


def test_rows_that_share_encoder_and_objective_stand_together(tmp_path: Path) -> None:
    first, second = representation_groups(make_runs(tmp_path / "run"))
    assert first.title == "vgg6 (width 0.0625, batch_norm on), supervised"
    assert second.title == "vgg6 (width 0.0625, batch_norm on), hinge_cpc (num_steps 1)"
    assert (first.base, second.base) == ("count", "")
    assert [row.pathway for row in first.rows] == ["count", "voxels", "matrix"]
    assert [row.representation for row in first.rows] == [
        "count (num_bins 3); optimizer as by default; 2 epochs",
        "voxels: voxel_grid; optimizer as by default; 3 epochs",
        "matrix: matrix_lstm (hidden 4, bins 3); optimizer learning_rate 0.001; 2 epochs",
    ]
    assert [row.channels for row in first.rows] == ["3 x 2", "5 x 1", "3 x 4"]
    assert [row.representation for row in second.rows] == ["alone: binary_frames (num_frames 3)"]


def test_differences_to_count_are_paired(tmp_path: Path) -> None:
    (count, voxels, matrix), (alone,) = (
        group.rows for group in representation_groups(make_runs(tmp_path / "run"))
    )
    assert count.scores["ridge"].lead is None
    leads = {row.pathway: row.scores["ridge"].lead or NONE for row in (voxels, matrix)}
    assert leads["voxels"].value == pytest.approx(10 / NUM)
    # Groups drawn with replacement: as many of the 20 as differ, each by its own sum.
    random = np.random.default_rng(1)
    sums = (RIGHT["voxels"].astype(float) - RIGHT["count"]).reshape(GROUPS, EACH).sum(axis=1)
    drawn = sums[random.integers(0, GROUPS, (20_000, GROUPS))].sum(axis=1) / NUM
    assert leads["voxels"].interval == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)
    # The same samples right: nothing varies, where unpaired intervals would.
    assert leads["matrix"].value == 0
    assert leads["matrix"].interval == [0, 0]
    assert (matrix.scores["head"].lead or NONE).value == pytest.approx(-5 / NUM)
    assert alone.scores["ridge"].lead is None
    assert "head" not in alone.scores


def test_without_predictions_the_difference_is_that_of_the_summary(tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "run", kept=False)
    lead = representation_groups(runs)[0].rows[1].scores["ridge"].lead or NONE
    assert lead.value == pytest.approx(10 / NUM)
    assert lead.interval is None
    section = representations(runs)
    assert "no intervals: no predictions kept" in section.blocks[0].caption  # type: ignore[union-attr]
    assert "+12.5" in representations_text(runs).splitlines()[3].split()


def test_the_table_has_the_figures_of_the_summary(tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "run")
    (table, _) = representations(runs).blocks
    assert isinstance(table, Table)
    assert list(table.header) == [
        "representation",
        "ridge: accuracy",
        "ridge: minus count",
        "ridge: control",
        "head: accuracy",
        "head: minus count",
        "head: control",
        "channels",
        "parameters",
        "events",
    ]
    by_name = {(e["protocol_name"], *e["pathways"]): e for e in runs.first.summary["probes"]}
    for name, row in zip(PATHWAYS, table.rows, strict=True):
        for place, protocol in ((1, "ridge"), (4, "head")):
            found = by_name.get((protocol, name))
            wanted = ["-", "-"]
            if found:
                control = with_interval(found["control"], found["control_interval"])
                wanted = [with_interval(found["accuracy"], found["interval"]), control]
            assert [row[place], row[place + 2]] == wanted
    assert [row[2] for row in table.rows][0::3] == ["-", "-"]
    assert [row[5] for row in table.rows][1] == points(0.0, [0.0, 0.0])
    assert [row[-1] for row in table.rows] == ["1.2 Mev/s", "-", "-", "-"]
    assert [(title, len(rows)) for title, rows in table.bodies] == list(table.groups)


def test_one_protocol_needs_no_name_and_none_says_how_to_get_one(tmp_path: Path) -> None:
    (table, words) = representations(make_runs(tmp_path / "one", head=False)).blocks
    assert list(table.header)[1:4] == ["accuracy", "minus count", "control"]  # type: ignore[union-attr]
    assert "classifier" not in words.text  # type: ignore[union-attr]
    runs = make_runs(tmp_path / "none", probed=False)
    (missing, table, _) = representations(runs).blocks
    assert "raytrain probe" in missing.text  # type: ignore[union-attr]
    assert list(table.header) == ["representation", "channels", "parameters", "events"]  # type: ignore[union-attr]
    assert representations_text(runs) == ""


def test_trained_values_are_counted_in_the_newest_checkpoint_that_is_whole(tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "run")
    weight, running = np.zeros((4, 3), np.float32), np.zeros(7, np.float32)
    tensors = {
        "encoder.layers.0.weight": weight,
        "encoder.layers.0.norm.running_mean": running,
        "encoder.stem.cell.weight": running,
        "objective.classifier.weight": weight,
    }
    trained = ("encoder.layers.0.weight", "encoder.stem.cell.weight", "objective.classifier.weight")
    tensors |= {f"optimizer.{name}.exp_avg": tensors[name] for name in trained}
    for step in (1, 2):
        folder = runs.folder / "checkpoints" / "matrix" / f"step-0000000{step}"
        folder.mkdir(parents=True)
        save_file(tensors, folder / "state.safetensors")
    (folder / "state.safetensors").write_bytes(b"cut off")
    rows = representation_groups(runs)[0].rows
    assert [row.parameters for row in rows] == [None, None, 12 + 7]


def test_the_text_repeats_no_accuracy(tmp_path: Path) -> None:
    lines = representations_text(make_runs(tmp_path / "run")).splitlines()
    assert lines[0].split("  ")[0] == "representation"
    assert lines[1] == "vgg6 (width 0.0625, batch_norm on), supervised"
    assert lines[2].startswith("  count (num_bins 3)")
    assert lines[2].endswith("1.2 Mev/s")
    assert "+12.5 [" in lines[3]
    assert len(lines) == 1 + 2 + len(PATHWAYS)
    assert f"{RIGHT['voxels'].mean():.3f}" not in "\n".join(lines)


def image_run(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.toml").write_text(to_toml(load_preset("gtsrb-small")))
    (folder / "summary.json").write_text(json.dumps({"pathways": [], "data": {}, "probes": []}))
    return folder


def test_training_ends_with_the_table_of_recordings_alone(tmp_path: Path) -> None:
    runs = make_runs(tmp_path / "run")
    assert _side_by_side(runs) == representations_text(runs)
    assert _side_by_side(load_runs(image_run(tmp_path / "images"))) == ""
    # One pathway has nothing to be compared with.
    single = dataclasses.replace(runs.first.config, pathways={"count": runs.first.config.pathways["count"]})
    alone = dataclasses.replace(runs.first, config=single)
    assert representations_text(Runs.of(alone)) == ""


def test_several_seeds_are_averaged_and_stay_paired(tmp_path: Path) -> None:
    first, second = (make_run(tmp_path / f"seed-{seed}") for seed in (0, 1))
    with np.load(second.folder / "predictions.npz") as file:
        arrays = dict(file)
    # The second seed's voxels are right where count is: its lead is none, the mean half the first's.
    arrays["predicted/ridge/voxels"] = arrays["predicted/ridge/count"]
    np.savez(second.folder / "predictions.npz", **arrays)
    (voxels,) = (e for e in second.summary["probes"] if (e["protocol_name"], e["pathways"]) == RIDGE_VOXELS)
    voxels["accuracy"] = float(RIGHT["count"].mean())
    row = representation_groups(Runs(folder=tmp_path, runs=[first, second]))[0].rows[1]
    lead, alone = row.scores["ridge"].lead or NONE, representation_groups(Runs.of(first))[0].rows[1]
    assert lead.value == pytest.approx(5 / NUM)
    assert lead.seeds == pytest.approx([10 / NUM, 0])
    whole = (alone.scores["ridge"].lead or NONE).interval
    assert whole
    assert lead.interval == pytest.approx([end / 2 for end in whole])
    assert row.scores["ridge"].accuracy.value == pytest.approx(65 / NUM)
    assert row.events_per_s is None


def test_the_page_heads_each_group_and_shows_recordings_that_may_stand_still(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    runs = Runs.of(run)
    shown = operators(run)
    moving = shown.blocks[0]
    assert isinstance(moving, Moving)
    assert (run.folder / "figures" / "recordings.gif").read_bytes()[:3] == b"GIF"
    page = Page(
        title="t",
        subtitle="s",
        lead=[],
        warnings=[],
        hero=[],
        sections=[representations(runs), shown],
        stamp="",
    )
    html = render(page)
    assert html.count('<tr class="group"><th colspan="10" scope="rowgroup">') == 2
    assert html.count("<tbody>") == html.count("</tbody>") == 2
    still = re.search(
        r'<source media="\(prefers-reduced-motion: reduce\), print" srcset="data:image/png;base64,(.+?)">',
        html,
    )
    gif = re.search(r'<img src="data:image/gif;base64,(.+?)"', html)
    assert still
    assert gif
    assert base64.b64decode(still.group(1))[:4] == b"\x89PNG"
    assert base64.b64decode(gif.group(1)) == (run.folder / "figures" / "recordings.gif").read_bytes()
    assert f'alt="{moving.alt}"' in html
    assert "Brighter events orange, darker ones blue, " in html
