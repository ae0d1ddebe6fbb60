import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from raytrain.errors import ConfigError, DataError
from raytrain.reporting.compare import Comparison, Difference, compare, comparison_text
from tests.unit.reporting.conftest import MakeRun


def row(found: Comparison, name: str) -> Difference:
    return next(one for one in found.rows if one.name == name)


def change_predictions(folder: Path, **changes: np.ndarray) -> None:
    with np.load(folder / "predictions.npz") as file:
        arrays = dict(file) | {
            name.replace("__", "/").replace("_dot_", "."): v for name, v in changes.items()
        }
    np.savez(folder / "predictions.npz", **arrays)


def correct(folder: Path, key: str) -> np.ndarray:
    with np.load(folder / "predictions.npz") as file:
        return (file[f"predicted/ridge/{key}"] == file["truth"]).astype(np.float64)


def write_seeds(folder: Path, seeds: list[int]) -> None:
    (folder / "seeds.json").write_text(json.dumps({"seeds": seeds, "representations": {}}))


def test_a_run_does_not_differ_from_itself(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    found = compare(run, run)
    assert found.settings == []
    assert found.pairing == "paired: the same test samples, resampled by group"
    assert {one.name for one in found.rows} == {
        *("identity", "lbp", "rg", "identity + lbp + rg", "floor pixels"),
        *("gain of identity", "gain of lbp", "gain of rg", "gain of identity + lbp + rg"),
    }
    assert all(one.difference == 0 and one.interval == (0, 0) for one in found.rows)


def test_paired_differences_are_those_of_the_same_samples(make_run: MakeRun, tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a", strength=0.5), make_run(tmp_path / "b", seed=1, strength=0.9)
    with np.load(first / "predictions.npz") as file:
        groups = np.arange(len(file["truth"])) // 2
    for run in (first, second):
        change_predictions(run, groups=groups)
    found = compare(first, second)
    change = correct(second, "lbp") - correct(first, "lbp")
    lbp = row(found, "lbp")
    assert lbp.first == correct(first, "lbp").mean()
    assert lbp.difference == pytest.approx(change.mean())
    # The interval of a mean of independent groups is about 1.96 standard errors to each side.
    sums = change.reshape(-1, 2).sum(axis=1)
    error = 1.96 * sums.std() / np.sqrt(len(sums)) / 2
    assert lbp.interval == pytest.approx((change.mean() - error, change.mean() + error), abs=0.06)
    gain = change - correct(second, "lbp.control") + correct(first, "lbp.control")
    assert row(found, "gain of lbp").difference == pytest.approx(gain.mean())


def test_settings_that_differ_come_first(make_run: MakeRun, tmp_path: Path) -> None:
    found = compare(make_run(tmp_path / "a"), make_run(tmp_path / "b", training__epochs=5))
    assert found.settings == [("training.epochs", 3, 5)]
    text = comparison_text(found).splitlines()
    assert text[0].endswith("/a (seed 0)")
    assert text[2] == "training.epochs: 3 -> 5"
    assert text[3].startswith("paired:")
    assert text[5].startswith("ridge ")
    assert any(line.startswith("identity + lbp + rg ") for line in text)


def test_other_samples_are_compared_unpaired(make_run: MakeRun, tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a", strength=0.2), make_run(tmp_path / "b", strength=0.9)
    with np.load(second / "predictions.npz") as file:
        change_predictions(second, rows=file["rows"][::-1])
    found = compare(first, second)
    assert found.pairing == f"unpaired: {second} was tested on other samples than {first}"
    lbp = row(found, "lbp")
    assert lbp.interval is not None
    assert lbp.interval[0] < lbp.difference < lbp.interval[1]
    paired = row(compare(first, first), "lbp").interval
    assert paired == (0, 0)
    other = make_run(tmp_path / "c", data__shapes={"num_train": 26, "num_test": 14})
    assert compare(first, other).pairing.startswith("unpaired: other data: manifest ")
    unpaired = row(compare(first, other), "lbp").interval
    assert unpaired is not None
    assert unpaired[1] - unpaired[0] > 0.1


def test_seeds_are_averaged(make_run: MakeRun, tmp_path: Path) -> None:
    for side, strength in (("a", 0.4), ("b", 0.8)):
        for seed in (0, 1, 2):
            make_run(tmp_path / side / f"seed-{seed}", seed=seed, strength=strength)
        write_seeds(tmp_path / side, [0, 1, 2])
    found = compare(tmp_path / "a", tmp_path / "b")
    changes = [
        correct(tmp_path / "b" / f"seed-{seed}", "lbp").mean()
        - correct(tmp_path / "a" / f"seed-{seed}", "lbp").mean()
        for seed in (0, 1, 2)
    ]
    lbp = row(found, "lbp")
    assert lbp.seeds == pytest.approx(tuple(changes))
    assert lbp.difference == pytest.approx(np.mean(changes))
    text = comparison_text(found)
    assert "(seeds 0, 1, 2)" in text
    assert "each seed" in text
    assert "figures are means over the seeds; intervals resample test samples, not seeds" in text
    one = row(compare(tmp_path / "a" / "seed-1", tmp_path / "b"), "lbp")
    assert one.first == correct(tmp_path / "a" / "seed-1", "lbp").mean()
    assert one.seeds == ()
    folder = tmp_path / "b" / "seed-2"
    with np.load(folder / "predictions.npz") as file:
        change_predictions(folder, truth=file["truth"][::-1])
    with pytest.raises(
        DataError, match=r"its seeds cannot be averaged: .*seed-2 was tested on other samples"
    ):
        compare(tmp_path / "a", tmp_path / "b")


def test_without_predictions_there_are_no_intervals(make_run: MakeRun, tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a"), make_run(tmp_path / "b", full=False, seed=3)
    found = compare(first, second)
    assert found.pairing == f"no intervals: predictions were not kept; run `raytrain probe {second}`"
    summaries = [json.loads((run / "summary.json").read_text())["probes"][1] for run in (first, second)]
    lbp = row(found, "lbp")
    assert lbp.interval is None
    assert lbp.difference == pytest.approx(summaries[1]["accuracy"] - summaries[0]["accuracy"])
    assert row(found, "gain of lbp").second == pytest.approx(summaries[1]["gain"])
    assert "*" not in comparison_text(found)


def test_clear_differences_are_marked(make_run: MakeRun, tmp_path: Path) -> None:
    first, second = make_run(tmp_path / "a", strength=0.0), make_run(tmp_path / "b", strength=1.0)
    text = comparison_text(compare(first, second))
    line = next(line for line in text.splitlines() if line.startswith("lbp "))
    assert line.split() == ["lbp", "0.000", "1.000", "+100.0", "[+100.0,", "+100.0]", "*"]
    assert "* the 95 % interval leaves out zero" in text


def test_several_labels_are_right_together(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in "ab"]
    with np.load(runs[0] / "predictions.npz") as file:
        names = [name for name in file.files if name.startswith("predicted/")]
        num = len(file["truth"])
    truth = np.tile(np.array([1, 0, 1], np.uint8), (num, 1))
    half = truth.copy()
    half[::2, 0] = 0
    for run, predicted in zip(runs, (truth, half), strict=True):
        with np.load(run / "predictions.npz") as file:
            arrays = dict(file) | {"truth": truth} | dict.fromkeys(names, predicted)
        np.savez(run / "predictions.npz", **arrays)
    assert row(compare(*runs), "lbp").difference == pytest.approx(-0.5)


def test_what_cannot_be_compared_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", full=False)
    other = make_run(tmp_path / "b", full=False)
    with pytest.raises(ConfigError, match="not a run folder"):
        compare(run, tmp_path)
    summary = json.loads((other / "summary.json").read_text())
    for entry in summary["probes"]:
        entry["pathways"] = ["other"]
    (other / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ConfigError, match="no representation in common: the first has identity, lbp, rg"):
        compare(run, other)
    (tmp_path / "seeds.json").write_text('{"seeds": []}')
    with pytest.raises(DataError, match="names no seeds"):
        compare(tmp_path, run)
    shutil.copy(run / "summary.json", other / "predictions.npz")
    with pytest.raises(DataError, match=r"predictions\.npz: damaged"):
        compare(other, other)


def test_predictions_that_do_not_fit_one_another_are_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    with np.load(run / "predictions.npz") as file:
        change_predictions(run, groups=file["groups"][1:])
    with pytest.raises(DataError, match="its arrays do not fit one another"):
        compare(run, run)
