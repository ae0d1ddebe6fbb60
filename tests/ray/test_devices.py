"""GPUs that a cluster promises and torch does not see: a cluster of its own, because these are faked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from raytrain.config import from_mapping, to_toml
from tests.conftest import small_values

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees the GPU that is to be missing"),
]
ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
import ray
ray.init(address="local", num_cpus=8, num_gpus=1, include_dashboard=False, log_to_driver=False)
from raytrain.cli import main
sys.exit(main(["train", "--config", sys.argv[1]]))
"""


def on_a_faked_gpu(folder: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Train on a cluster that claims one GPU."""
    values = small_values(out=str(folder / "run"), training__executor="ray", **changes)
    values["pathways"]["lbp"]["placement"] = "stream"
    path = folder / "run.toml"
    path.write_text(to_toml(from_mapping(values)))
    command = [sys.executable, "-c", PROGRAM, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def test_workers_and_a_stage_share_a_gpu_and_say_that_torch_does_not_see_it(tmp_path: Path) -> None:
    found = on_a_faked_gpu(tmp_path, training__device="auto")
    said = [line for line in found.stdout.splitlines() if line.startswith("device:")]
    assert said == [
        "device: cuda, 0.45 GPU a worker, 0.1 an operator stage; up to 3 processes share a GPU"
    ], found.stdout + found.stderr
    last = found.stderr.strip().splitlines()[-1]
    assert found.returncode == 5, found.stderr
    assert "was given a GPU of node" in last
    assert last.endswith("or set training.device = cpu")


def test_cpu_is_possible_beside_gpus(tmp_path: Path) -> None:
    found = on_a_faked_gpu(tmp_path, training__device="cpu")
    assert found.returncode == 0, found.stderr
    assert "device: cpu, cpu is asked for; 1 GPU is left alone" in found.stdout.splitlines()
    assert json.loads((tmp_path / "run" / "env.json").read_text())["device"] == "cpu"
