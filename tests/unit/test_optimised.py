"""`python -OO` leaves out asserts and docstrings: nothing that raytrain does may hang on them."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
FILES = sorted(
    path for top in ("raytrain", "pipelines", "tune_spaces") for path in (HOME / top).rglob("*.py")
)
LOOKS = {"isinstance", "len", "all", "any", "tuple", "fields", "set"}
"""what an assert may call: it looks at what is there"""


def calls(path: Path) -> list[str]:
    """Return the calls that the asserts of a file make, and could be missed without them."""
    asserts = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Assert)
    ]
    made = [node.func for found in asserts for node in ast.walk(found.test) if isinstance(node, ast.Call)]
    return [ast.unparse(func) for func in made if ast.unparse(func).rpartition(".")[2] not in LOOKS]


def test_no_assert_does_any_work() -> None:
    assert len(FILES) > 300
    assert {path.name: calls(path) for path in FILES if calls(path)} == {}


def run(*arguments: str, folder: Path, option: str = "-OO") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *([option] if option else []), "-m", "raytrain", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(HOME)},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_what_is_listed_needs_no_docstrings(tmp_path: Path) -> None:
    plain, other = (run("list", folder=tmp_path, option=option) for option in ("", "-OO"))
    assert plain.returncode == other.returncode == 0
    assert plain.stdout == other.stdout
    plain, other = (run("train", "--help", folder=tmp_path, option=option) for option in ("", "-OO"))
    settings = [re.findall(r"--[a-z][a-z0-9.-]+", said.stdout) for said in (plain, other)]
    assert settings[0] == settings[1]
    assert "--training.batch-size" in settings[0]


@pytest.mark.slow
def test_a_run_needs_no_asserts(tmp_path: Path) -> None:
    small = ["--data.shapes.num-train=32", "--data.shapes.num-test=16", "--training.batch-size=8"]
    small += ["--training.epochs=1", "--out=run"]
    refused = "Ray Data cannot be imported by python -OO (or PYTHONOPTIMIZE=2), which leaves docstrings out; "
    refused += "use -O, or --executor inline\n"
    dry = run("train", "shapes-demo", *small, "--dry-run", folder=tmp_path)
    assert (dry.returncode, dry.stderr) == (0, "")
    assert f"it would be refused here: {refused}" in dry.stdout
    through_ray = run("train", "shapes-demo", *small, folder=tmp_path)
    assert (through_ray.returncode, through_ray.stderr) == (2, f"raytrain: {refused}")
    for arguments in (["train", "shapes-demo", *small, "--executor=inline"], ["probe", "run"]):
        done = run(*arguments, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert "report: " in done.stdout
