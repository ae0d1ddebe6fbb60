"""Processes are killed while a run goes on; its final weights must be the undisturbed run's, bit by bit."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from raytrain import api
from raytrain.config import from_mapping, to_toml
from tests.conftest import run_values

pytestmark = [pytest.mark.chaos, pytest.mark.ray]
NUM_IMAGES, EPOCHS, STEPS_PER_EPOCH = 96, 3, 6


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class folder with one image that cannot be read, so that a sample is quarantined in every epoch."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(NUM_IMAGES):
        folder = root / "train" / f"class{index % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((72, 72)).save(folder / f"{index:03d}.png")
    (root / "test" / "class0").mkdir(parents=True)
    Image.new("RGB", (72, 72)).save(root / "test" / "class0" / "one.png")
    broken = root / "train" / "class1" / "007.png"
    broken.write_bytes(broken.read_bytes()[:40])
    return root


def settings(images: Path, out: Path, executor: str = "ray") -> dict[str, Any]:
    values = run_values(out=str(out), training__executor=executor)
    values["data"] = {
        "source": "folder",
        "root": str(images),
        "canvas_px": 72,
        "select_fraction": 0.0,
        "test_fraction": 0.0,
        "chunk_mib": 0.25,
        "window_mib": 0.5,
        "quarantine_budget": 0.05,
    }
    values["training"]["checkpoint_every"] = 2
    return values


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed")
    return weights(api.train(from_mapping(settings(images, out, "inline"))).summary)


def weights(summary: dict[str, Any]) -> dict[str, str]:
    return {pathway["name"]: pathway["weights_sha256"] for pathway in summary["pathways"]}


class Command:
    """`raytrain train` in a process group of its own."""

    def __init__(self, images: Path, out: Path, **data: Any) -> None:
        self.out = out
        toml = out.with_suffix(".toml")
        values = settings(images, out)
        values["data"] |= data
        toml.write_text(to_toml(from_mapping(values)))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "raytrain", "train", "--config", str(toml)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, condition: Callable[[], Any], timeout_s: float = 600) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)
        self.end()
        raise AssertionError(f"it did not happen in time\n{self.process.communicate()[0]}")

    def end(self) -> None:
        """Kill it and what it started, so that a test that fails leaves nothing behind."""
        os.killpg(self.process.pid, signal.SIGKILL)

    def wait_for_step(self, pathway: str, step: int) -> None:
        self.wait_for(lambda: last_step(self.out, pathway) >= step)

    def finish(self, timeout_s: float = 600) -> int:
        try:
            output, _ = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.end()
            raise
        (self.out / "said.txt").write_text(output)
        return self.process.returncode

    def summary(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.out / "summary.json").read_text())
        return loaded


def last_step(out: Path, pathway: str) -> int:
    with contextlib.suppress(OSError):
        text = (out / "metrics.jsonl").read_text()
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return max((line["step"] for line in lines if line["pathway"] == pathway), default=0)
    return 0


def process_of(out: Path, pattern: str) -> int:
    """Return the newest process that log.txt names behind a pattern, 0 when there is none."""
    with contextlib.suppress(OSError):
        found = re.findall(pattern + r"[^\n]* process (\d+)", (out / "log.txt").read_text())
        return int(found[-1]) if found else 0
    return 0


def kill_worker(command: Command, pathway: str) -> None:
    os.kill(process_of(command.out, f"{pathway} rank 0 starts"), signal.SIGKILL)


def test_a_killed_worker_comes_back_and_the_others_live_on(
    images: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    command = Command(images, tmp_path / "run")
    command.wait_for_step("lbp", STEPS_PER_EPOCH + 3)  # in epoch 2, beyond a checkpoint
    kill_worker(command, "lbp")
    assert command.finish() == 0
    summary = command.summary()
    assert weights(summary) == undisturbed
    assert {p["name"]: p["restarts"] for p in summary["pathways"]} == {"identity": 0, "lbp": 1}
    assert summary["data"]["quarantined"] == 1


def test_a_killed_broadcast_goes_on_from_the_readers_cursors(
    images: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    command = Command(images, tmp_path / "run")
    command.wait_for_step("identity", STEPS_PER_EPOCH + 2)
    os.kill(process_of(command.out, "broadcast starts"), signal.SIGKILL)
    assert command.finish() == 0
    assert weights(command.summary()) == undisturbed
    assert all(pathway["restarts"] == 0 for pathway in command.summary()["pathways"])


def test_a_killed_driver_goes_on_with_the_same_command(
    images: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    command = Command(images, tmp_path / "run")
    command.wait_for_step("lbp", STEPS_PER_EPOCH + 3)
    command.process.kill()
    command.process.communicate()
    again = Command(images, tmp_path / "run")
    assert again.finish() == 0
    assert "starts at step 0" not in (tmp_path / "run" / "log.txt").read_text().split("broadcast starts")[-1]
    assert weights(again.summary()) == undisturbed


def test_a_worker_gone_longer_than_its_lease_gets_a_stream_of_its_own(
    images: Path, tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    command = Command(images, tmp_path / "run", lease_s=2.0)
    command.wait_for_step("lbp", 3)
    worker = process_of(command.out, "lbp rank 0 starts")
    os.kill(worker, signal.SIGSTOP)
    try:
        # The window holds two chunks: without the lease identity would never come to its end.
        command.wait_for_step("identity", EPOCHS * STEPS_PER_EPOCH)
        assert last_step(command.out, "lbp") < 2 * STEPS_PER_EPOCH
    finally:
        os.kill(worker, signal.SIGCONT)
    assert command.finish() == 0
    assert weights(command.summary()) == undisturbed
    assert command.summary()["data"]["decodes_replayed"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_checkpoints_and_nothing_else(
    images: Path, tmp_path: Path, undisturbed: dict[str, str], number: signal.Signals
) -> None:
    shared_memory = set(Path("/dev/shm").iterdir())
    command = Command(images, tmp_path / "run")
    command.wait_for_step("lbp", STEPS_PER_EPOCH + 1)
    children = psutil.Process(command.process.pid).children(recursive=True)
    if number != signal.SIGTERM:  # a terminal's Ctrl-C, and its end, reach every process of the group
        os.killpg(command.process.pid, number)
    else:
        os.kill(command.process.pid, number)
    assert command.finish() == 130
    assert command.summary()["status"] == "stopped"
    _, alive = psutil.wait_procs(children, timeout=10)
    assert [process.cmdline() for process in alive] == []
    assert set(Path("/dev/shm").iterdir()) <= shared_memory
    again = Command(images, tmp_path / "run")
    assert again.finish() == 0
    assert weights(again.summary()) == undisturbed


@pytest.mark.slow
def test_ten_kills_at_random_steps(images: Path, tmp_path: Path, undisturbed: dict[str, str]) -> None:
    rng = random.Random(0)
    for trial in range(10):
        command = Command(images, tmp_path / f"run{trial}")
        pathway = rng.choice(["identity", "lbp"])
        command.wait_for_step(pathway, rng.randrange(1, EPOCHS * STEPS_PER_EPOCH - 3))
        time.sleep(rng.random() * 0.2)
        kill_worker(command, pathway)
        assert command.finish() == 0
        assert weights(command.summary()) == undisturbed, trial


WRITER = """
import sys, torch
from pathlib import Path
from pipelines.order.plan import Cursor
from raytrain.checkpoint import save_checkpoint
root = Path(sys.argv[1])
print("ready", flush=True)
for step in range(1, 10**6):
    tensors = {"a": torch.full((300, 1000), float(step)), "b": torch.full((7,), float(step))}
    save_checkpoint(root, tensors, step=step, cursor=Cursor(0, step), meta={}, keep=2)
"""


def test_twenty_kills_during_checkpoint_writing_leave_none_unreadable(tmp_path: Path) -> None:
    from raytrain.checkpoint import load_checkpoint, load_latest

    rng = random.Random(0)
    for trial in range(20):
        root = tmp_path / str(trial)
        command = [sys.executable, "-c", WRITER, str(root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            while not list(root.glob("step-*")):
                time.sleep(0.001)
            time.sleep(rng.random() * 0.05)
            process.kill()
        assert all(load_checkpoint(folder) is not None for folder in root.glob("step-*")), trial
        latest = load_latest(root)
        assert latest is not None
        assert (latest.tensors["a"] == latest.step).all()
