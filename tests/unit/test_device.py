import os
from pathlib import Path

import pytest
import torch

from raytrain.config.machine import usable_cpus
from raytrain.device import device_here, given_device, gpus_here
from raytrain.errors import ClusterError


def test_a_gpu_that_torch_does_not_see_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ClusterError) as caught:
        given_device("cuda", whose="rank 1 of pathway lbp")
    assert str(caught.value) == (
        f"rank 1 of pathway lbp was given a GPU of node {os.uname().nodename}, but torch {torch.__version__} "
        "sees none there; install a torch with CUDA and the driver on that node, or set training.device = cpu"
    )
    assert given_device("cpu", whose="rank 1 of pathway lbp") == torch.device("cpu")


@pytest.mark.parametrize(
    ("there", "wanted", "device"),
    [
        (True, "auto", "cuda"),
        (True, "cuda", "cuda"),
        (True, "cpu", "cpu"),
        (False, "auto", "cpu"),
        (False, "cuda", "cpu"),  # what was trained on a GPU is looked at without one
    ],
)
def test_what_is_here_is_used_unless_cpu_is_wanted(
    monkeypatch: pytest.MonkeyPatch, there: bool, wanted: str, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert device_here(wanted).type == device
    assert gpus_here() == (8 if there else 0)


def test_the_cpus_of_a_container_are_what_its_quota_pays_for(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    everything = len(os.sched_getaffinity(0))
    assert usable_cpus(quota) == everything  # no such file
    for text, count in (("max 100000", everything), ("150000 100000", 1), ("50000 100000", 1)):
        quota.write_text(text + "\n")
        assert usable_cpus(quota) == count
