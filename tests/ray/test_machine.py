"""A machine as people have it: a long TMPDIR, and a working folder with files called like libraries."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.ray
HOME = Path(__file__).parents[2]
CALLED = "from raytrain.__main__ import main; raise SystemExit(main())"
SMALL = ["--data.shapes.num-train", "32", "--data.shapes.num-test", "16", "--training.batch-size", "16"]
SMALL += [
    "--training.epochs",
    "1",
    "--probe.enabled",
    "False",
    "--report",
    "False",
    "--cache.enabled",
    "False",
]


def short_folders() -> set[str]:
    return {entry.name for entry in os.scandir(tempfile.gettempdir()) if entry.name.startswith("rt")}


def test_a_long_tmpdir_and_modules_in_the_working_folder(tmp_path: Path) -> None:
    work, temporary = tmp_path / "work", tmp_path / ("long" * 40)
    temporary.mkdir()
    for name in ("torch", "av", "pyarrow"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise RuntimeError('imported instead of the library')")
    before = short_folders()
    done = subprocess.run(
        [sys.executable, "-P", "-c", CALLED, "train", "shapes-demo", *SMALL, "--out", str(tmp_path / "run")],
        cwd=work,
        env=os.environ | {"PYTHONPATH": str(HOME), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()
    assert list((temporary / "ray").glob("session_*"))
    assert short_folders() == before
    left = [
        p for p in psutil.process_iter(["cmdline"]) if str(temporary) in " ".join(p.info["cmdline"] or ())
    ]
    assert left == []
