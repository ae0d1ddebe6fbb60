import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # From a copy, because setuptools leaves its build folder beside the sources.
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith("tests/") and (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(folder)], check=True, cwd=folder)
    return next(folder.glob("raytrain-*.whl"))


def test_the_wheel_holds_all_packages_and_presets(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    code = {"raytrain/cli/__init__.py", "pipelines/stream/broadcast.py", "tune_spaces/__init__.py"}
    assert code | {"raytrain/py.typed"} <= set(names)
    assert {"raytrain/presets/gtsrb-small.toml", "raytrain/presets/shapes-demo.toml"} <= set(names)
    page = {"page.html.jinja", "blocks.html.jinja", "style.css", "script.js"}
    assert {f"raytrain/reporting/report/page/{name}" for name in page} <= set(names)
    assert not [name for name in names if name.startswith("tests")]


def test_the_wheel_starts_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    program = "import raytrain.cli as c; print(c.__file__); c.main(['list', 'presets'])"
    run = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith(str(site))
    assert "gtsrb-small" in run.stdout
