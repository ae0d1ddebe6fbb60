"""Whole runs on event recordings in this process: surfaces from one stream, patches and bins."""

from pathlib import Path
from typing import Any

import pytest

from raytrain import api
from raytrain.config import from_mapping
from raytrain.errors import ConfigError, Interrupted
from raytrain.training import run as run_module
from tests.conftest import StopAfter
from tests.event_runs import PATHWAYS, event_values


def train(out: Path, *names: str, **more: Any) -> api.Run:
    return api.train(from_mapping(event_values(out, names or tuple(PATHWAYS), **more)))


def weights(run: api.Run) -> dict[str, str]:
    return {pathway["name"]: pathway["weights_sha256"] for pathway in run.summary["pathways"]}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return train(tmp_path_factory.mktemp("three") / "run", probe={"batch_size": 8})


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_surfaces_train_and_are_measured(three: api.Run) -> None:
    entries = {"+".join(entry["pathways"]) for entry in three.summary["probes"]}
    assert entries == {*PATHWAYS, "count+voxels+frames"}
    floors = {floor["name"] for floor in three.summary["probes"][0]["floors"]}
    assert floors == {"pixels", "count", "voxel_grid", "binary_frames"}
    assert three.summary["data"]["decodes"] == 2 * 16
    page = api.report(three.folder).read_text()
    assert "brighter events red" in page
    assert "Not shown" not in page


def test_a_pathway_trains_alike_alone_and_beside_others(three: api.Run, tmp_path: Path) -> None:
    for name in ("count", "voxels"):
        assert weights(train(tmp_path / name, name))[name] == weights(three)[name]


def test_a_stopped_run_goes_on_bitwise(
    three: api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "StopSignal", lambda: StopAfter(2))
        with pytest.raises(Interrupted):
            train(tmp_path)
    assert weights(train(tmp_path)) == weights(three)


def test_packed_recordings_train_alike(three: api.Run, tmp_path: Path) -> None:
    values = event_values(tmp_path / "run", ("count",))
    api.prepare(from_mapping(values).data, str(tmp_path / "packed"), shards="encoded")
    values["data"] = {"root": str(tmp_path / "packed"), "chunk_mib": 0.5, "select_fraction": 0.0}
    run = api.train(from_mapping(values))
    assert run.summary["data"]["quarantined"] == 0
    assert weights(run)["count"] == weights(three)["count"]


def test_a_dry_run_says_how_many_events(tmp_path: Path) -> None:
    said = api.dry_run(from_mapping(event_values(tmp_path, ("count", "voxels"))))
    assert "pathway voxels: bins [3, 8, 1, 1, 32, 32] (bins, recordings, 1, polarities, px, px) of " in said
    assert " events, " in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "shapes"}, "the data are of kind image, but pathways.count.cut patches takes events"),
        ({}, "1 rows to predict along, but objective.num_steps 5 with skip 1 needs 7"),
    ],
)
def test_what_the_data_do_not_allow_is_said(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    values = event_values(tmp_path, ("count",))
    values["pathways"]["count"] = {
        **PATHWAYS["count"],
        "cut": {"size_px": 32, "stride_px": 8},
        "objective": "clapp",
    }
    values["data"] = change or values["data"]
    with pytest.raises(ConfigError, match=message):
        api.train(from_mapping(values))
