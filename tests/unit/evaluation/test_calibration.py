"""Statistics of batch norm: one pass over the pretrain split gives all controls what one each would."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.modalities import modality_of
from pipelines.sources import open_manifest
from pipelines.stream.source import StreamSource
from pipelines.views.standardise import Standardiser
from raytrain.config import RunConfig, from_mapping
from raytrain.evaluation.represent import (
    Calibrator,
    FeatureSink,
    RepresentRequest,
    decoded,
    evaluation_source,
    represent_inline,
)
from raytrain.pathway import Pathway
from tests.conftest import small_values

Statistics = dict[str, dict[str, torch.Tensor]]


def build(config: RunConfig, name: str, device: torch.device) -> Pathway:
    channels = 1 if name == "lbp" else 3
    return Pathway(
        name,
        config.pathways[name],
        seed=config.seed,
        canvas_px=config.data.canvas_px,
        num_classes=2,
        device=device,
        training=config.training,
        standardiser=Standardiser(mean=[0.4] * channels, deviation=[0.3] * channels),
    )


def make(**changes: Any) -> tuple[RepresentRequest, StreamSource]:
    values = small_values(probe={"enabled": True, "batch_size": 12}, **changes)
    config = from_mapping(values)
    manifest = open_manifest(config.data)
    request = RepresentRequest(
        config=config, checkpoints=dict.fromkeys(config.pathways, ""), build=partial(build, config)
    )
    return request, evaluation_source(config, manifest, manifest.indices("pretrain"))


def alone(request: RepresentRequest, source: StreamSource, name: str) -> dict[str, torch.Tensor]:
    """Return the statistics of one control by itself, as the definition says."""
    control = request.build(name, torch.device("cpu"))
    control.reset_statistics()
    for chunk in decoded(source):
        for piece in modality_of(request.config).pieces(chunk, request.config.pathways[name], size=8):
            control.accumulate_statistics(piece)
    return control.statistics()


def check_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_one_pass_gives_each_control_what_a_pass_of_its_own_gives() -> None:
    request, source = make()
    calibrator = Calibrator(request, list(request.checkpoints))
    for chunk in decoded(source):
        calibrator.add(chunk)
    found = calibrator.statistics()
    for name in request.checkpoints:
        check_equal(found[name], alone(request, source, name))
        batches = [value for key, value in found[name].items() if key.endswith("num_batches_tracked")]
        # chunks of 12, 12 and 2 samples, in pieces of at most 8
        assert batches
        assert {int(value) for value in batches} == {5}


def test_a_sample_that_could_not_be_decoded_does_not_count() -> None:
    request, source = make()
    with_it, without = (Calibrator(request, list(request.checkpoints)) for _ in range(2))
    for chunk in decoded(source):
        damaged = dataclasses.replace(chunk, valid=np.arange(len(chunk)) != 1)
        with_it.add(damaged)
        without.add(damaged.without_invalid())
    for name in request.checkpoints:
        check_equal(with_it.statistics()[name], without.statistics()[name])


class Decodes:
    """Counts the samples that are decoded of a stream."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, made: Any) -> None:
        self.count += made.decodes


@pytest.mark.parametrize(("batch_norm", "decodes"), [(True, 26), (False, 0)])
def test_the_pretrain_split_is_decoded_once_and_only_for_batch_norm(
    tmp_path: Path, batch_norm: bool, decodes: int
) -> None:
    encoder = {"name": "vgg6", "width": 0.0078125, "batch_norm": batch_norm}
    pathway = {"encoder": encoder, "objective": {"name": "clapp", "num_steps": 1}}
    pathways = {"identity": pathway, "lbp": {**pathway, "operator": "lbp"}, "other": pathway}
    request, source = make(pathways=pathways)
    wanted = tuple(f"{name}.control" for name in pathways)
    request = dataclasses.replace(request, wanted=wanted)
    counted = Decodes()
    evaluated = evaluation_source(request.config, source.manifest, np.arange(3))
    sink = FeatureSink(tmp_path, 3, request.config)
    represent_inline(request, evaluated, dataclasses.replace(source, on_decoded=counted), sink)
    sink.close({})
    assert counted.count == decodes
    assert sorted(path.stem for path in tmp_path.glob("*.control.npy")) == sorted(wanted)


def test_a_control_that_is_not_wanted_is_not_built() -> None:
    request, _ = make()
    built: list[str] = []

    def spy(name: str, device: torch.device) -> Pathway:
        built.append(name)
        return build(request.config, name, device)

    Calibrator(dataclasses.replace(request, build=spy), ["lbp"])
    assert built == ["lbp"]
