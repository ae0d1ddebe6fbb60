"""Health of whole runs in this process: what is logged, said and summed up."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from raytrain import api
from raytrain.config import from_mapping
from raytrain.pathway import Pathway
from raytrain.training.loop import PathwayLoop
from tests.conftest import small_values

FIGURES = {"score", "active_positive", "active_negative", "dead", "rms", "rank"}


def train(out: Path, **changes: Any) -> tuple[api.Run, str]:
    said = io.StringIO()
    run = api.train(
        from_mapping(small_values(out=str(out), **changes)), console=Console(file=said, width=400)
    )
    return run, said.getvalue()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def collapsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the last layer of lbp's weights away before every step."""
    advance = PathwayLoop.advance

    def planted(self: PathwayLoop, *arguments: Any, **options: Any) -> bool:
        if self.pathway.name == "lbp":
            with torch.no_grad():
                for parameter in self.pathway.encoder.layers[5].parameters():
                    parameter.zero_()
        return advance(self, *arguments, **options)

    monkeypatch.setattr(PathwayLoop, "advance", planted)


def test_every_logged_line_and_the_summary_have_the_figures(tmp_path: Path) -> None:
    run, _ = train(tmp_path)
    for line in lines(tmp_path):
        assert list(line["health"]) == list(line["losses"]) == [f"layer{k}" for k in range(1, 7)]
        assert all(figures.keys() <= FIGURES for figures in line["health"].values())
        assert "warnings" not in line
    last = {line["pathway"]: line for line in lines(tmp_path)}
    assert run.summary["health"] == [
        {"pathway": name, "layer": layer, "step": 9, **figures}
        for name, line in last.items()
        for layer, figures in line["health"].items()
    ]
    assert run.summary["warnings"] == []
    assert api.train(from_mapping(small_values(out=str(tmp_path)))).summary["health"] == run.summary["health"]


def test_only_logged_steps_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, watched = Pathway.step, []

    def recorded(self: Pathway, *arguments: Any, **options: Any) -> Any:
        watched.append(options["watch"] is not None)
        return step(self, *arguments, **options)

    monkeypatch.setattr(Pathway, "step", recorded)
    pathways = {"identity": small_values()["pathways"]["identity"]}
    train(tmp_path, training__log_every=4, pathways=pathways)
    assert [number for number, seen in enumerate(watched, start=1) if seen] == [1, 4, 8, 9]
    assert [line["step"] for line in lines(tmp_path)] == [1, 4, 8, 9]


@pytest.mark.slow
def test_how_often_a_run_is_logged_does_not_change_its_weights(tmp_path: Path) -> None:
    runs = [train(tmp_path / str(every), training__log_every=every)[0] for every in (1, 9)]
    first, second = (
        {pathway["name"]: pathway["weights_sha256"] for pathway in run.summary["pathways"]} for run in runs
    )
    assert first == second


def test_a_collapse_is_said_once_on_the_screen_in_the_log_and_in_the_summary(
    tmp_path: Path, collapsed: None
) -> None:
    run, said = train(tmp_path)
    (warning,) = run.summary["warnings"]
    assert warning.startswith("lbp layer6: collapsed: representation near zero")
    assert warning.endswith("or set encoder.batch_norm = true")
    assert said.count(f"warning: {warning}\n") == 1
    assert (tmp_path / "log.txt").read_text().count(f"warning: {warning}\n") == 1
    steps = [line["step"] for line in lines(tmp_path) if line.get("warnings")]
    assert steps == [4]


@pytest.mark.slow
def test_a_run_that_goes_on_says_it_no_second_time(tmp_path: Path, collapsed: None) -> None:
    first, _ = train(tmp_path, training__epochs=2)
    again, said = train(tmp_path, training__epochs=5)
    assert again.summary["pathways"][1]["steps"] == 15
    assert again.summary["warnings"] == first.summary["warnings"] != []
    assert "warning:" not in said
    assert (tmp_path / "log.txt").read_text().count("warning: lbp layer6") == 1
