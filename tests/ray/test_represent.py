"""Calibration through Ray: one decode pass for all controls, statistics bitwise those of one process."""

import dataclasses
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from raytrain.config import RunConfig
from raytrain.evaluation.represent import Calibrator, RepresentRequest, decoded
from raytrain.evaluation.represent_ray import calibrate_through_ray
from raytrain.pathway import Pathway
from tests.ray.faults import once
from tests.unit.evaluation.test_calibration import build, check_equal, make

pytestmark = pytest.mark.ray


@dataclasses.dataclass(frozen=True)
class WriteDown:
    """Notes every decoded chunk in a file that all processes share."""

    path: Path

    def __call__(self, made: object) -> None:
        with self.path.open("a") as file:
            file.write(f"{made.decodes}\n")  # type: ignore[attr-defined]


def build_or_die(config: RunConfig, folder: Path, name: str, device: torch.device) -> Pathway:
    if name == "lbp" and once(folder, "killed")():
        os.kill(os.getpid(), signal.SIGKILL)
    return build(config, name, device)


@pytest.mark.parametrize(("num_actors", "killed"), [(1, False), (3, False), (3, True)])
def test_controls_are_calibrated_in_one_pass(tmp_path: Path, num_actors: int, killed: bool) -> None:
    request, source = make()
    alone = Calibrator(request, list(request.checkpoints))
    for chunk in decoded(source):
        alone.add(chunk)
    if killed:
        request = dataclasses.replace(request, build=partial(build_or_die, request.config, tmp_path))
    counted = dataclasses.replace(source, on_decoded=WriteDown(tmp_path / "decodes"))
    found = calibrate_through_ray(request, counted, num_actors=num_actors, num_gpus=0.0, decode_tasks=1)
    assert found.keys() == request.checkpoints.keys()
    for name, statistics in alone.statistics().items():
        check_equal(found[name], statistics)
    assert (tmp_path / "killed").exists() == killed
    assert sum(map(int, (tmp_path / "decodes").read_text().split())) == 26


def test_nothing_is_decoded_where_nothing_is_to_be_calibrated(tmp_path: Path) -> None:
    request, source = make()
    request = RepresentRequest(
        config=request.config, checkpoints=request.checkpoints, build=request.build, wanted=("floor.pixels",)
    )
    counted = dataclasses.replace(source, on_decoded=WriteDown(tmp_path / "decodes"))
    assert calibrate_through_ray(request, counted, num_actors=2, num_gpus=0.0, decode_tasks=1) == {}
    assert not (tmp_path / "decodes").exists()
