"""A locale that cannot show UTF-8 names: it is named instead of the file, and output never fails on it."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from raytrain.errors import why_no_text

HOME = Path(__file__).parents[2]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ADVICE = "cannot be shown in this locale, whose encoding is ascii; set LC_ALL=C.UTF-8 and unset PYTHONUTF8\n"
NAME = "\u65e5\u672c"
ESCAPED = ascii(NAME)[1:-1]


def images(folder: Path, *classes: str) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (16, 16), (80 * number, 0, 0)).save(folder / name / f"{number}.png")


def inspect(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raytrain", "inspect", str(root)],
        env=os.environ | {"PYTHONPATH": str(HOME)} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


def test_a_name_is_text_or_it_is_said_why_not() -> None:
    assert why_no_text(f"a {NAME}") == ""
    assert why_no_text("caf\udce9.png") == r"'caf\udce9.png' is not UTF-8; rename it"


@pytest.mark.slow
def test_names_that_the_locale_cannot_show_name_it(tmp_path: Path) -> None:
    images(tmp_path / "data", "a", NAME)
    below = inspect(tmp_path / "data", **ASCII)
    assert (below.returncode, below.stdout) == (3, "")
    assert below.stderr == f"raytrain: {tmp_path / 'data'}: the file name '{ESCAPED}' {ADVICE}"
    named = inspect(tmp_path / "data" / NAME, **ASCII)
    assert (named.returncode, named.stdout) == (2, "")
    assert named.stderr == f"raytrain: '{tmp_path / 'data' / ESCAPED}' {ADVICE}"


@pytest.mark.slow
def test_names_in_an_archive_hang_on_no_locale_and_are_shown_escaped(tmp_path: Path) -> None:
    images(tmp_path / "data", "a", NAME)
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        archive.add(tmp_path / "data", "data")
    for environment in (ASCII, {"PYTHONIOENCODING": "ascii"}):
        done = inspect(tmp_path / "data.tar", **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert ESCAPED in done.stdout
