"""Calibration and features through Ray, bitwise those of one process, also where processes are killed."""

import dataclasses
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from raytrain.config import RunConfig
from raytrain.evaluation.represent import (
    Bad,
    Calibrator,
    Features,
    RepresentRequest,
    decoded,
    represent_inline,
)
from raytrain.evaluation.represent_ray import calibrate_through_ray, represent_through_ray
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


class Kept:
    """Features by the place they begin at."""

    def __init__(self) -> None:
        self.parts: dict[int, Features] = {}

    def write(self, start: int, features: Features, bad: list[Bad | None]) -> None:
        assert start not in self.parts
        self.parts[start] = features


def build_or_die_next(config: RunConfig, folder: Path, name: str, device: torch.device) -> Pathway:
    first = name != "lbp" or once(folder, "calibrated")()
    return build(config, name, device) if first else build_or_die(config, folder, name, device)


def test_features_are_those_of_one_process_also_when_an_actor_is_killed(tmp_path: Path) -> None:
    request, source = make()
    request = dataclasses.replace(request, wanted=("identity.control", "lbp.control", "floor.pixels"))
    here, there = Kept(), Kept()
    represent_inline(request, source, source, here)  # type: ignore[arg-type]
    request = dataclasses.replace(request, build=partial(build_or_die_next, request.config, tmp_path))
    represent_through_ray(request, source, source, there, num_actors=2, num_gpus=0.0, decode_tasks=1)  # type: ignore[arg-type]
    assert (tmp_path / "killed").exists()
    assert here.parts.keys() == there.parts.keys()
    assert len(here.parts) == 3
    for start, features in here.parts.items():
        assert features.keys() == there.parts[start].keys()
        for name, values in features.items():
            np.testing.assert_array_equal(values, there.parts[start][name])


def test_nothing_is_decoded_where_nothing_is_to_be_calibrated(tmp_path: Path) -> None:
    request, source = make()
    request = RepresentRequest(
        config=request.config, checkpoints=request.checkpoints, build=request.build, wanted=("floor.pixels",)
    )
    counted = dataclasses.replace(source, on_decoded=WriteDown(tmp_path / "decodes"))
    assert calibrate_through_ray(request, counted, num_actors=2, num_gpus=0.0, decode_tasks=1) == {}
    assert not (tmp_path / "decodes").exists()
