"""The same command line on a cluster that was started before, and as a submitted job."""

import contextlib
import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SMALL = [
    "shapes-demo",
    *("--data.shapes.num-train", "64", "--data.shapes.num-test", "32", "--training.epochs", "1"),
    *("--training.log-every", "1", "--training.batch-size", "16"),
]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`ray start --head` with a token in a home of its own; yields the environment of a user's shell."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    port, dashboard = free_port(), free_port()
    user = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    user |= {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_AUTH_MODE": "token"}
    user["RAY_USAGE_STATS_ENABLED"] = "0"
    command = [str(BIN / "ray"), "start", "--head", "--block", "--num-cpus", "8", f"--port={port}"]
    command += [f"--dashboard-agent-listen-port={free_port()}"]  # the default is the other cluster's
    command += [f"--dashboard-port={dashboard}", f"--temp-dir={home / 't'}", "--node-ip-address=127.0.0.1"]
    with subprocess.Popen(
        command, env=user, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for_dashboard(f"http://127.0.0.1:{dashboard}/api/version")
            yield {**user, "RAY_ADDRESS": f"127.0.0.1:{port}", "JOBS": f"http://127.0.0.1:{dashboard}"}
        finally:
            # Its own way to stop takes longer than a test may, and nothing of it is worth keeping.
            family = [
                process.pid,
                *(child.pid for child in psutil.Process(process.pid).children(recursive=True)),
            ]
            for number in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)


def wait_for_dashboard(address: str) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError as error:
            if getattr(error, "code", 0) in (401, 403):  # it answers, and asks for the token
                return
            time.sleep(0.5)
    raise AssertionError("the head did not come up")


def test_on_a_running_cluster(head: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = subprocess.run(
        [str(BIN / "raytrain"), "train", *SMALL, "--out", str(out)],
        env=head,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert json.loads((out / "summary.json").read_text())["status"] == "done"
    assert "step 4/4" in made.stdout
    assert made.stderr == ""  # and so no lines of Ray's own


def test_a_batch_that_no_node_can_hold_is_refused(head: dict[str, str], tmp_path: Path) -> None:
    large = ["shapes-demo", "--data.shapes.num-train", "65536", "--training.batch-size", "65536"]
    made = subprocess.run(
        [str(BIN / "raytrain"), "train", *large, "--data.canvas-px", "1024", "--out", str(tmp_path / "run")],
        env=head,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 2, made.stdout + made.stderr
    assert made.stderr.startswith("raytrain: a batch of 65536 samples of 3.0 MiB takes at least 960.0 GiB")
    assert made.stderr.count("\n") == 1


def test_as_a_submitted_job(head: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    job = {**head, "RAY_ADDRESS": head["JOBS"]}
    command = [str(BIN / "ray"), "job", "submit", "--working-dir", ".", "--"]
    command += ["raytrain", "train", *SMALL, "--out", str(out)]
    deadline = time.monotonic() + 120
    while True:
        made = subprocess.run(
            command, env=job, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
        # The head takes jobs some seconds after its dashboard answers.
        if "No available agent" not in made.stderr or time.monotonic() > deadline:
            break
        time.sleep(3)
    assert made.returncode == 0, made.stdout + made.stderr
    assert json.loads((out / "summary.json").read_text())["status"] == "done"


def test_another_ray_version_is_said_in_one_line(head: dict[str, str], tmp_path: Path) -> None:
    pretend = "import ray, sys; ray.__version__ = '2.59.0'; from raytrain.cli import main; sys.exit(main())"
    made = subprocess.run(
        [sys.executable, "-c", pretend, "train", *SMALL, "--out", str(tmp_path / "run")],
        env=head,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 5, made.stdout + made.stderr
    here = f"on Python {platform.python_version()}"
    line = (
        f"runs Ray {ray.__version__} {here}, this process Ray 2.59.0 {here}; install the same on both sides"
    )
    assert made.stderr.splitlines()[-1] == f"raytrain: Ray cluster {head['RAY_ADDRESS']} {line}"


def test_a_wrong_token_is_said_in_one_line(head: dict[str, str], tmp_path: Path) -> None:
    made = subprocess.run(
        [str(BIN / "raytrain"), "train", *SMALL, "--out", str(tmp_path / "run")],
        env={**head, "RAY_AUTH_TOKEN": secrets.token_hex(32)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 5
    assert made.stderr.splitlines()[-1].startswith("raytrain: Ray cluster 127.0.0.1:")
