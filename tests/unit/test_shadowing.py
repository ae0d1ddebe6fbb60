"""What lies in the working folder: named where it would take a library's place, else without effect."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOME = str(Path(__file__).parents[2])


def said(folder: Path, *, script: bool = False, **environment: str) -> tuple[int, str]:
    """Exit code and last line of `raytrain list modalities` in a folder."""
    called = (
        ["-P", "-c", "from raytrain.__main__ import main; raise SystemExit(main())"]
        if script
        else ["-m", "raytrain"]
    )
    done = subprocess.run(
        [sys.executable, *called, "list", "modalities"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": HOME} | environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    ["torch/__init__.py", "av.py", "random.py", "pipelines/__init__.py"],
)
def test_a_module_in_the_way_is_named_with_both_paths(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("raise RuntimeError('imported')")
    code, line = said(tmp_path)
    name = path.partition("/")[0].removesuffix(".py")
    assert code == 2
    assert line.startswith(f"raytrain: {tmp_path / path} would be imported instead of /")
    assert f"/{name}" in line.partition("instead of")[2]
    # As a command of its own, it does not look into the working folder at all.
    assert said(tmp_path, script=True)[0] == 0
    # A dot on PYTHONPATH is the working folder.
    assert said(tmp_path, script=True, PYTHONPATH=f"{os.curdir}{os.pathsep}{HOME}")[0] == 2


@pytest.mark.slow
def test_what_takes_no_ones_place_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "random").mkdir()
    (tmp_path / "utils.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "ray.txt").touch()
    assert said(tmp_path)[0] == 0
    (tmp_path / "test").mkdir()
    (tmp_path / "test/__init__.py").touch()
    (tmp_path / "build.py").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert said(tmp_path)[0] == 0
    # Whoever names a folder wants what lies in it.
    (tmp_path / "click.py").write_text("")
    assert said(tmp_path)[0] == 2
    assert said(tmp_path.parent, script=True, PYTHONPATH=f"{HOME}{os.pathsep}{tmp_path}")[0] == 0
    # Where packages are installed into, they are the right ones.
    (tmp_path / "click-9.0.egg-info").mkdir()
    assert said(tmp_path)[0] == 0


@pytest.mark.slow
def test_a_checkout_is_right_wherever_it_is_entered(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(HOME)
    assert said(link, PYTHONPATH=str(link))[0] == 0
    for name in ("raytrain", "pipelines"):
        shutil.copytree(Path(HOME, name), tmp_path / "copy" / name)
    assert said(tmp_path / "copy")[0] == 0
