import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.errors import ConfigError, DataError
from raytrain.metrics import group_bootstrap
from raytrain.reporting.runs import Runs, load_runs
from raytrain.reporting.seeds import seeds_table, seeds_text
from tests.unit.reporting.conftest import MakeRun

SEEDS = (0, 1, 2)
GROUP_SIZE = 2


@pytest.fixture
def runs(make_run: MakeRun, tmp_path: Path) -> Runs:
    """Three seeds whose test samples come in pairs of near copies."""
    for seed in SEEDS:
        folder = make_run(tmp_path / f"seed-{seed}", seed=seed)
        with np.load(folder / "predictions.npz") as file:
            arrays = dict(file) | {"groups": np.arange(len(file["truth"])) // GROUP_SIZE}
        arrays["predicted/ridge/lbp.control.same_strength"] = arrays["predicted/ridge/lbp.control"]
        np.savez(folder / "predictions.npz", **arrays)
    (tmp_path / "seeds.json").write_text(json.dumps({"seeds": list(SEEDS)}))
    return load_runs(tmp_path)


def correct(runs: Runs, key: str) -> np.ndarray:
    """Return whether each sample was right, [seeds, n]."""
    each = []
    for run in runs.runs:
        with np.load(run.folder / "predictions.npz") as file:
            each.append((file[f"predicted/ridge/{key}"] == file["truth"]).astype(float))
    return np.stack(each)


def resampled(runs: Runs, scores: np.ndarray) -> list[float]:
    probe, seed = runs.first.config.probe, runs.first.config.seed
    groups = np.arange(scores.shape[-1]) // GROUP_SIZE
    return group_bootstrap(scores, groups, num_resamples=probe.num_bootstrap, seed=seed).row(0).bounds


def test_figures_are_means_and_intervals_those_of_each_samples_mean(runs: Runs) -> None:
    table = seeds_table(runs)
    assert table["seeds"] == list(SEEDS)
    assert list(table["representations"]) == ["identity", "lbp", "rg", "joined identity+lbp+rg"]
    lbp, control = correct(runs, "lbp"), correct(runs, "lbp.control")
    found = table["representations"]["lbp"]
    assert found["accuracy"]["seeds"] == pytest.approx(lbp.mean(axis=1))
    assert found["accuracy"]["mean"] == pytest.approx(lbp.mean())
    assert found["accuracy"]["interval"] == pytest.approx(resampled(runs, lbp.mean(axis=0)))
    gain = lbp - control
    assert found["gain"]["seeds"] == pytest.approx(gain.mean(axis=1))
    assert found["gain"]["interval"] == pytest.approx(resampled(runs, gain.mean(axis=0)))
    assert found["gain_same_strength"]["interval"] == pytest.approx(found["gain"]["interval"])


def test_gains_are_compared_with_that_of_identity(runs: Runs) -> None:
    table = seeds_table(runs)["representations"]
    keys = ("lbp", "lbp.control", "identity", "identity.control")
    lbp, control, identity, identity_control = (correct(runs, key) for key in keys)
    lead = (lbp - control) - (identity - identity_control)
    found = table["lbp"]["gain_over_identity"]
    assert found["mean"] == pytest.approx(lead.mean())
    assert found["interval"] == pytest.approx(resampled(runs, lead.mean(axis=0)))
    assert table["identity"]["gain_over_identity"] == {"mean": 0, "seeds": [0, 0, 0], "interval": [0, 0]}


def test_one_run_has_the_intervals_of_its_summary(make_run: MakeRun, tmp_path: Path) -> None:
    runs = load_runs(make_run(tmp_path / "run"))
    entry = runs.first.summary["probes"][1]
    found = runs.measured("ridge", "lbp", "gain")
    assert found is not None
    assert (found.value, found.interval) == (entry["gain"], entry["gain_interval"])
    assert runs.measured("ridge", "lbp", "top5") is None


def change_entries(runs: Runs, change: Any) -> None:
    for run in runs.runs:
        change(run.summary["probes"])


def test_the_text_has_means_with_intervals_and_the_gain_of_each_seed(runs: Runs) -> None:
    table = seeds_table(runs)
    lines = seeds_text(table).splitlines()
    what = "95 % intervals from resamples of the test groups, not of the seeds"
    assert lines[0] == f"means of seeds 0, 1, 2; {what}"
    gain = table["representations"]["lbp"]["gain"]
    each = [f"{100 * one:+.1f}" for one in gain["seeds"]]
    line = next(line for line in lines if line.startswith("lbp "))
    assert line.split()[-3:] == each
    low, high = gain["interval"]
    assert f" {100 * gain['mean']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] " in line
    titles = ("accuracy", "control", "gain over control", "minus identity's", "gain of each seed")
    assert all(title in lines[1] for title in titles)


def test_protocols_and_figures_that_every_seed_has(runs: Runs) -> None:
    def with_knn(probes: list[dict[str, Any]]) -> None:
        probes[1] |= {"top5": 0.875, "control_top5": 0.75}
        knn = {**probes[1], "protocol_name": "knn", "accuracy": 0.5, "control": 0.25, "gain": 0.25}
        for key in ("gain_same_strength", "top5"):
            del knn[key]
        probes.append(knn)

    change_entries(runs, with_knn)
    table = seeds_table(runs)
    assert table["representations"]["lbp"]["top5"] == {"mean": 0.875, "seeds": [0.875] * 3}
    knn = table["further"]["knn"]["lbp"]
    assert knn["control"] == {"mean": 0.25, "seeds": [0.25] * 3}  # no predictions: no interval
    assert "gain_over_identity" not in knn
    lines = seeds_text(table).splitlines()
    assert f"{'top-5: lbp':<28} {'0.875':<20} 0.750" in lines
    assert lines[-3:-1] == [
        "knn:",
        f"{'pathway':<28} {'accuracy':<20} {'control':<20} {'gain over control':<20} gain of each seed",
    ]
    assert lines[-1].split() == ["lbp", "0.500", "0.250", "+25.0", "+25.0", "+25.0", "+25.0"]
    del runs.runs[2].summary["probes"][-1]
    assert "further" not in seeds_table(load_like(runs))


@pytest.mark.parametrize("seeds", [[], 3, None, {}])
def test_a_table_without_seeds_is_refused(seeds: Any, tmp_path: Path) -> None:
    (tmp_path / "seeds.json").write_text(json.dumps({"seeds": seeds}))
    with pytest.raises(DataError, match=r"seeds\.json: names no seeds; run `raytrain train"):
        load_runs(tmp_path)


def test_run_folders_that_were_left_behind_are_named(runs: Runs) -> None:
    shutil.rmtree(runs.folder / "seed-1")
    with pytest.raises(ConfigError, match=r"has seeds\.json but no seed-1; copy its run folders too"):
        load_runs(runs.folder)


def load_like(runs: Runs) -> Runs:
    """Return the same runs, nothing computed yet."""
    return Runs(folder=runs.folder, runs=runs.runs)


def test_why_there_are_no_intervals(runs: Runs) -> None:
    folder = runs.folder / "seed-1"
    with np.load(folder / "predictions.npz") as file:
        arrays = dict(file)
    np.savez(folder / "predictions.npz", **arrays | {"rows": arrays["rows"][::-1]})
    table = seeds_table(load_runs(runs.folder))
    assert table["intervals"] == (
        f"no intervals: {folder} was tested on other samples than {runs.folder / 'seed-0'}"
    )
    assert all("interval" not in one for one in table["representations"]["lbp"].values())
    (folder / "predictions.npz").unlink()
    table = seeds_table(load_runs(runs.folder))
    assert table["intervals"] == (f"no intervals: predictions were not kept; run `raytrain probe {folder}`")
    assert " [" not in seeds_text(table).splitlines()[2]
