"""The verbs `report` and `compare`, and the report at the end of `train`."""

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from raytrain import api
from raytrain.cli import main
from raytrain.config import from_mapping
from raytrain.reporting import report
from tests.conftest import small_values
from tests.unit.reporting.conftest import MakeRun


def test_report_writes_the_page(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", full=False)
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"report: {run / 'report.html'}\n"
    assert "<h1" in (run / "report.html").read_text()


def test_compare_prints_the_differences(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1)
    assert main(["compare", str(first), str(second)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        f"first:  {first} (seed 0)\nsecond: {second} (seed 1)\nsettings: the same\npaired:"
    )
    assert "gain of lbp" in said


@pytest.mark.parametrize(
    ("spoil", "arguments", "code", "message"),
    [
        (None, ["report", "."], 2, "raytrain: .*: not a run folder .no config.toml.; name the --out of a"),
        (None, ["compare", ".", "."], 2, "raytrain: .: not a run folder"),
        ("summary.json", ["report", "run"], 2, "no summary.json yet; finish the run first: `raytrain train "),
        (b"{", ["report", "run"], 3, "summary.json: broken: .*; run `raytrain train --config"),
        (b"{", ["compare", "run", "run"], 3, "summary.json: broken"),
        (None, ["report", "run", "--classes", "77"], 2, "--classes: no class '77'; classes are 0 .. "),
        (None, ["report", "run", "--classes", "dics"], 2, "--classes: no class 'dics'; did you mean 'disc'?"),
        (None, ["report", "run", "--clases", "1"], 2, "unknown setting --clases; did you mean 'classes'"),
        (None, ["report"], 2, "RUN"),
        (None, ["compare", "run"], 2, "RUN"),
    ],
)
def test_wrong_calls_end_with_one_line_and_a_code(
    spoil: str | bytes | None,
    arguments: list[str],
    code: int,
    message: str,
    make_run: MakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run(tmp_path / "run", full=False)
    monkeypatch.chdir(tmp_path)
    if isinstance(spoil, str):
        (run / spoil).unlink()
    elif spoil is not None:
        (run / "summary.json").write_bytes(spoil)
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert re.search(message, said)
    assert said.count("\n") == 1


@pytest.mark.usefixtures("undrawn")
def test_train_ends_with_a_report(tmp_path: Path) -> None:
    values = small_values(out=str(tmp_path / "run"), report=True, training__epochs=1)
    run = api.train(from_mapping(values))
    html = (run.folder / "report.html").read_text()
    assert "how good the representations are is not known" in html
    assert 'data-figure="loss-lbp"' in html
    assert (run.folder / "tensorboard" / "lbp").is_dir()


def test_a_report_that_fails_is_a_line_and_the_run_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(folder: Path, **_: str) -> Path:
        raise ZeroDivisionError("a figure\nfailed")

    monkeypatch.setattr(report, "write_report", broken)
    values = small_values(out=str(tmp_path / "run"), report=True, training__epochs=1)
    run = api.train(from_mapping(values), console=Console(width=200))
    line = f"no report: a figure failed; `raytrain report {run.folder}` tries again"
    assert line in capsys.readouterr().out
    assert line in (run.folder / "log.txt").read_text()
    assert json.loads((run.folder / "summary.json").read_text())["status"] == "done"
    with pytest.raises(ZeroDivisionError):
        api.report(run.folder)


def test_no_report_where_it_is_switched_off(tmp_path: Path) -> None:
    run = api.train(from_mapping(small_values(out=str(tmp_path / "run"), training__epochs=1)))
    assert not (run.folder / "report.html").exists()
