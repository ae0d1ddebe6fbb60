"""What every kind of samples must hold to, on a few generated samples of each."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from pipelines.modalities import MODALITIES, modality_of
from pipelines.modalities.base import Modality
from pipelines.modalities.events import BYTES_AN_EVENT, UNKNOWN_EVENTS
from pipelines.modalities.parts import Part
from pipelines.order.plan import ChunkPlan
from pipelines.sources import open_manifest
from pipelines.storage.manifest import Manifest
from pipelines.stream.source import StreamSource
from pipelines.views.events import Events
from raytrain.config import RunConfig, from_mapping
from raytrain.config.cuts import CutConfig, ModalityName
from raytrain.errors import ConfigError
from raytrain.reporting.operator_sheet import operator_sheet
from tests.clip_runs import clip_values
from tests.conftest import small_values
from tests.event_runs import event_values

KINDS = sorted(MODALITIES)


def config_of(kind: str, folder: Path) -> RunConfig:
    if kind == "image":
        values: dict[str, Any] = small_values(out=str(folder))
        values["data"] = {"source": "shapes", "canvas_px": 32}
        return from_mapping(values)
    return from_mapping(clip_values(folder) if kind == "clip" else event_values(folder))


class Case:
    """Two chunks of one kind, of four samples each."""

    def __init__(self, kind: str, folder: Path) -> None:
        config = config_of(kind, folder)
        self.manifest: Manifest = open_manifest(config.data)
        self.kind: Modality = MODALITIES[kind]
        self.config = self.kind.settled(config, self.manifest)
        self.source = StreamSource(
            manifest=self.manifest,
            rows=self.manifest.indices("pretrain"),
            data=self.config.data,
            seed=0,
            plan=ChunkPlan(num_samples=8, chunk_samples=4),
            clips=self.kind.planner(self.config, self.config.pathways),
        )
        self.chunks = [self.source.chunk(number) for number in (0, 1)]


@pytest.fixture(scope="module", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def room(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.full(shape, 77, dtype=dtype)


def whole(pixels: torch.Tensor | Events) -> dict[str, Any]:
    if isinstance(pixels, torch.Tensor):
        return {"pixels": pixels.tolist()}
    return {entry.name: np.asarray(getattr(pixels, entry.name)).tolist() for entry in fields(pixels)}


def test_there_is_one_for_every_name_of_the_settings_and_each_says_all_of_its_cuts() -> None:
    assert set(MODALITIES) == set(get_args(ModalityName))
    for cut in get_args(CutConfig):
        word, axes = MODALITIES[cut.modality].axes[cut.name]
        assert word
        assert axes.count(",") >= 5


def test_what_is_joined_is_what_the_pieces_show(case: Case) -> None:
    first, second = case.chunks
    parts = [
        Part(first, np.array([3, 0]), np.array([1, 2])),
        Part(second, np.array([1, 2]), np.array([3, 0])),
    ]
    places = [(first, 2), (second, 3), (second, 0), (first, 1)]
    for pathway in case.config.pathways.values():
        joined = case.kind.join(parts, case.kind.request(pathway), room)
        assert len(joined.pixels) == 4
        singles = {id(chunk): list(case.kind.pieces(chunk, pathway, size=1)) for chunk in case.chunks}
        expected = [whole(singles[id(chunk)][place]) for chunk, place in places]
        for place in range(4):
            one = [Part(places[place][0], np.array([0]), np.array([places[place][1]]))]
            alone = case.kind.join(one, case.kind.request(pathway), room).pixels
            assert whole(alone) == expected[place]
        assert case.kind.pictures(joined.pixels).shape[:2] == (4, 3)
        assert np.array_equal(
            case.kind.pictures(joined.pixels),
            np.concatenate([case.kind.pictures(singles[id(chunk)][place]) for chunk, place in places]),
        )
        assert case.kind.amounts(joined.pixels)["samples"] == 4


def test_an_empty_sample_and_a_blank_have_the_form_of_the_others(case: Case) -> None:
    sensor = (case.config.data.events.sensor_width, case.config.data.events.sensor_height)
    blank = case.kind.blank(case.config.data, sensor=sensor, planner=case.source.clips, epoch=0)
    columns = case.chunks[0].columns
    assert {name: value.dtype for name, value in blank.columns.items()} == {
        name: np.asarray(column[0]).dtype for name, column in columns.items()
    }
    for pathway in case.config.pathways.values():
        seen = next(case.kind.pieces(case.chunks[0], pathway, size=1))
        empty = case.kind.empty(pathway, canvas_px=case.config.data.canvas_px, sensor=sensor)
        assert type(empty) is type(seen)
        assert case.kind.pictures(empty).shape == case.kind.pictures(seen).shape
        assert not case.kind.pictures(empty).any()
        assert case.kind.floor(empty).shape == case.kind.floor(seen).shape


def test_bytes_of_a_sample_bound_what_a_chunk_holds(case: Case) -> None:
    told = case.kind.sample_bytes(case.config, list(case.config.pathways), case.manifest)
    held = sum(
        (column.values if hasattr(column, "values") else column).nbytes
        for name, column in case.chunks[0].columns.items()
        if ":" not in name and name != "sensor"
    )
    if case.kind.name == "events":  # generated: nobody has counted them
        assert told == BYTES_AN_EVENT * UNKNOWN_EVENTS
    else:
        assert held / 4 <= told
    assert case.kind.words(
        next(case.kind.pieces(case.chunks[0], next(iter(case.config.pathways.values())), size=2))
    )


def test_a_sheet_of_clips_needs_pathways_of_clips(tmp_path: Path) -> None:
    manifest = open_manifest(config_of("clip", tmp_path).data)
    with pytest.raises(ConfigError) as caught:
        operator_sheet(config_of("image", tmp_path), manifest, tmp_path / "sheet.png", num_samples=2)
    assert str(caught.value) == (
        "samples of kind clip are drawn as pathways see them, but pathways.identity takes image; use cut "
        "frames, volume or motion"
    )


def test_naming_a_kind_loads_neither_torch_nor_a_video_decoder() -> None:
    code = (
        "import sys, pipelines.modalities; print(sorted({'torch', 'ray', 'av', 'decord'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_a_run_and_its_pathways_name_the_same_kind(case: Case) -> None:
    assert {modality_of(case.config), *map(modality_of, case.config.pathways.values())} == {case.kind}
