import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain import api
from raytrain.config import RunConfig, from_mapping, load_preset
from raytrain.errors import ConfigError
from raytrain.reproduction import study
from raytrain.reproduction.claims import ALL_SEEDS, CONTROL, Answers, Comparison, claims
from raytrain.reproduction.figure import choose_classes
from raytrain.reproduction.fit import _fit_or_known
from raytrain.reproduction.grid import OPERATORS, STUDIES, find_study, grid_runs
from raytrain.reproduction.paper import paper_cells
from raytrain.reproduction.table import table_text
from tests.clip_runs import clip_values
from tests.conftest import small_values


def template(out: Path, **changes: Any) -> RunConfig:
    values = small_values(training__epochs=1, probe={"num_bootstrap": 100, "layers": False}, **changes)
    return from_mapping({**values, "out": str(out)})


def test_a_grid_is_one_run_an_objective_and_seed_on_one_stream(tmp_path: Path) -> None:
    runs = list(grid_runs(find_study("table1"), template(tmp_path), num_seeds=2, out=tmp_path))
    assert [(run.objective, run.seed) for run in runs] == [
        (objective, seed) for seed in (0, 1) for objective in ("clapp", "hinge_cpc", "supervised")
    ]
    for run in runs:
        assert tuple(run.config.pathways) == tuple(OPERATORS)
        assert {p.objective.name for p in run.config.pathways.values()} == {run.objective}
        cuts = {name: p.cut.normalize for name, p in run.config.pathways.items()}
        assert cuts.pop("base_normalized") == "patch"
        assert set(cuts.values()) == {"none"}
        first = next(iter(template(tmp_path).pathways.values()))
        assert all(p.encoder == first.encoder for p in run.config.pathways.values())
    assert len({run.config.out for run in runs}) == len(runs)


def test_the_templates_objective_keeps_its_settings(tmp_path: Path) -> None:
    runs = list(grid_runs(find_study("table2"), template(tmp_path), num_seeds=1, out=tmp_path))
    assert runs[0].config.pathways["lbp"].objective.num_steps == 1


def test_figure2_takes_one_seed(tmp_path: Path) -> None:
    assert len(list(grid_runs(find_study("figure2"), template(tmp_path), num_seeds=3, out=tmp_path))) == 1


def test_wrong_names_and_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown table or figure 'table3'; did you mean 'table"):
        find_study("table3")
    with pytest.raises(ConfigError, match="--seeds is 0; it must be at least 1"):
        next(grid_runs(STUDIES["table2"], template(tmp_path), num_seeds=0, out=tmp_path))


def answers() -> Answers:
    """200 samples of 50 groups; figures are exact shares."""
    rng = np.random.default_rng(0)
    made = Answers(groups=np.repeat(np.arange(50), 4))
    for name in (
        *((o, r) for o in ("clapp", "hinge_cpc", CONTROL) for r in ("base", "ours", "lbp")),
        ("clapp", "multi_encoder"),
    ):
        for seed in (0, 1) if name[1] != "multi_encoder" else (ALL_SEEDS,):
            made.add(name, seed, rng.random(200) < 0.5)
    return made


def test_claims_are_the_sums_they_say() -> None:
    made = answers()
    share = {name: np.mean([right.mean() for right in by.values()]) for name, by in made.right.items()}
    found = {c["claim"]: c for c in claims(Comparison(made, num_resamples=200, seed=0))}
    second = found["(ours - base, clapp) - (ours - base, hinge_cpc): decomposition helps the local rule more"]
    expected = (
        share["clapp", "ours"]
        - share["clapp", "base"]
        - share["hinge_cpc", "ours"]
        + share["hinge_cpc", "base"]
    )
    assert second["difference"] == pytest.approx(expected)
    assert second["interval"][0] < expected < second["interval"][1]
    lbp = found["(lbp - control) - (base - control), clapp"]
    expected = share["clapp", "lbp"] - share[CONTROL, "lbp"] - share["clapp", "base"] + share[CONTROL, "base"]
    assert lbp["difference"] == pytest.approx(expected)
    assert "ours - multi-encoder, clapp" in found


def test_claims_that_cannot_be_formed_are_left_out() -> None:
    made = answers()
    kept = {name: by for name, by in made.right.items() if name[0] != "hinge_cpc"}
    found = claims(Comparison(Answers(groups=made.groups, right=kept), num_resamples=100, seed=0))
    assert not any("hinge_cpc" in claim["claim"] for claim in found)


def test_a_row_shows_each_seed_beside_its_control() -> None:
    made = answers()
    row = Comparison(made, num_resamples=100, seed=0).row("clapp", "lbp")
    assert row["seeds"] == [float(right.mean()) for right in made.right["clapp", "lbp"].values()]
    assert row["gain"] == pytest.approx(np.mean(row["seeds"]) - np.mean(row["control_seeds"]))


def test_the_papers_cells_belong_to_their_data() -> None:
    gtsrb = {
        (c["objective"], c["representation"]): c["text"]
        for c in paper_cells("table1", num_classes=43)["cells"]
    }
    assert gtsrb["clapp", "ours"] == "94.21 +- 0.24"
    stand_in = paper_cells("table2", num_classes=10)
    assert "STL-10" in stand_in["data"]
    assert {c["representation"] for c in stand_in["cells"]} == {"base", "multi_encoder", "ours"}
    assert paper_cells("table1", num_classes=7)["cells"] == []


def test_figure2_draws_the_papers_signs_or_the_most_frequent_classes() -> None:
    assert choose_classes(np.arange(43), num_classes=43) == (0, 35, 15, 24)
    labels = np.repeat([4, 1, 3, 0, 2], [5, 9, 7, 8, 6])
    assert choose_classes(labels, num_classes=5) == [0, 1, 2, 3]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def fitted_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit in this process: starting two costs more than the fits of a small table."""
    monkeypatch.setattr(
        study, "fit_all", lambda tasks, kept, **_: (_fit_or_known(task, kept) for task in tasks)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_a_table_from_training_to_text_and_again_without_training(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shapes = {"num_train": 40, "num_test": 24}
    first = api.reproduce("table2", template(tmp_path / "a", data__shapes=shapes), num_seeds=2)
    assert (first["trainings"], first["cached"]) == (8, 0)
    fits = (
        2 * 2 * 5 + 2 + 1
    )  # two seeds, trained and not, each of four and all joined; two multi-encoders; pixels
    assert first["fits"] == {"made": fits, "cached": 0}
    rows = {row["representation"]: row for row in first["rows"]}
    assert set(rows) == {"base", "lbp", "rg", "dtcwt", "ours", "multi_encoder"}
    assert len(rows["ours"]["seeds"]) == 2
    assert len(rows["multi_encoder"]["seeds"]) == 1
    text = (tmp_path / "a" / "table2.txt").read_text()
    assert text == table_text(first) + "\n"
    assert "multi-encoder (base x seeds)" in text
    assert "what differs: here 40 samples, 1 epochs, batch 8" in text
    request.getfixturevalue("fitted_here")
    again = api.reproduce("table2", template(tmp_path / "b", data__shapes=shapes), num_seeds=2)
    assert (again["trainings"], again["cached"]) == (0, 8)
    assert again["fits"] == {"made": 0, "cached": fits}
    assert again["rows"] == first["rows"]
    assert again["claims"] == first["claims"]
    assert json.loads((tmp_path / "b" / "table2.json").read_text())["rows"] == first["rows"]
    figure = api.reproduce("figure2", template(tmp_path / "c", data__shapes=shapes))
    assert figure["trainings"] == 0
    assert all(Path(path).stat().st_size > 1000 for path in figure["files"])


@pytest.mark.usefixtures("own_cache", "fitted_here")
@pytest.mark.slow
def test_the_table_of_video_trains_movnet_once(tmp_path: Path) -> None:
    values = clip_values(tmp_path, ("identity", "movnet"))
    values["training"] |= {"epochs": 1}
    values["data"]["canvas_px"] = 67
    values["probe"] = {"batch_size": 4, "layers": False}
    del values["cache"]
    result = api.reproduce("table4", from_mapping(values), num_seeds=1)
    # base, lbp, rg, dtcwt under clapp and hinge_cpc, base supervised, and movnet, whose second run is loaded
    assert (result["trainings"], result["cached"]) == (10, 1)
    rows = {(row["objective"], row["representation"]) for row in result["rows"]}
    assert {("clapp", "ours_movnet"), ("hinge_cpc", "ours_movnet"), ("supervised", "base")} <= rows
    assert ("supervised", "lbp") not in rows
    assert any(claim["claim"] == "ours with movnet - ours, clapp" for claim in result["claims"])
    text = table_text(result)
    assert "38.88 +- 0.30" in text
    assert "400 epochs of 9,537 clips of UCF101" in text


def test_images_and_clips_have_tables_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes clips; name a --preset of clips"):
        api.reproduce("table4", template(tmp_path))
    with pytest.raises(ConfigError, match="takes images; name a --preset of images"):
        api.reproduce("table1", load_preset("clips-small"))


def test_the_small_template_is_a_preset_of_its_own() -> None:
    config = load_preset("table-small")
    assert list(config.pathways) == ["base"]
    assert dataclasses.replace(config, seed=1).seed == 1
