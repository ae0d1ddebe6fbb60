"""Batches that events bound, from the settings to the weights: inline, on packed generated recordings."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.forms.randomness import hash_sequence
from pipelines.order.permutation import epoch_order
from pipelines.order.plan import Cursor
from pipelines.storage.manifest import Manifest
from raytrain import api
from raytrain.config import RunConfig, from_mapping
from raytrain.errors import ConfigError, Interrupted
from raytrain.reporting.progress import event_rate
from raytrain.reporting.report.sections.training import waiting
from raytrain.reporting.run_data import load_run
from raytrain.training import run as run_module
from raytrain.training.plan import event_limits
from raytrain.training.replay import check_step, replay_step
from raytrain.training.run_folder import read_run
from tests.conftest import StopAfter

GENERATED = {
    "source": "moving_shapes",
    "select_fraction": 0.0,
    "chunk_mib": 0.1,
    "moving_shapes": {"num_train": 24, "num_test": 8, "size_px": 32, "duration_ms": 40},
}
COUNT = {
    "operator": "count",
    "encoder": {"name": "vgg6", "width": 0.0078125},
    "objective": {"name": "clapp", "num_steps": 1, "skip": 0},
}


def config(out: Path, root: Path | None, **training: Any) -> RunConfig:
    data = GENERATED if root is None else {"root": str(root), "select_fraction": 0.0, "chunk_mib": 0.1}
    settings = {"executor": "inline", "epochs": 3, "batch_size": 8, "log_every": 1, "device": "cpu"}
    return from_mapping(
        {
            "out": str(out),
            "report": False,
            "cache": {"enabled": False},
            "data": data,
            "training": settings | training,
            "probe": {"enabled": False},
            "pathways": {"count": COUNT},
        }
    )


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder: its manifest knows how many events each recording has."""
    root = tmp_path_factory.mktemp("packed")
    api.prepare(config(root / "run", None).data, str(root / "packed"), shards="encoded")
    return root / "packed"


@pytest.fixture(scope="module")
def bound(packed: Path) -> int:
    """Events of about four recordings."""
    return 4 * int(counts(packed).mean())


@pytest.fixture(scope="module")
def whole(packed: Path, bound: int, tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return api.train(config(tmp_path_factory.mktemp("whole") / "run", packed, batch_events=bound))


def counts(packed: Path) -> Any:
    manifest = Manifest.load(str(packed / "manifest.parquet"))
    assert manifest.num_events is not None
    return manifest.num_events[manifest.indices("pretrain")]


def lines(run: api.Run) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (run.folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_takes_the_batches_that_the_counts_say(whole: api.Run, packed: Path, bound: int) -> None:
    setup_counts = counts(packed)
    manifest = Manifest.load(str(packed / "manifest.parquet"))
    hashes = manifest.rows(manifest.indices("pretrain")).key_hashes
    logged, sizes, left_out = lines(whole), [], []
    for epoch in range(3):
        order, place = epoch_order(len(hashes), 0, epoch).samples_at(np.arange(len(hashes))), 0
        for line in (line for line in logged if line["epoch"] == epoch):
            size = 0
            while size < 8 and setup_counts[order[place : place + size + 1]].sum() <= bound:
                size += 1
            batch = order[place : place + size]
            positions = np.arange(place, place + size)
            assert line["sequence_hash"] == f"{hash_sequence(hashes[batch], positions):016x}"
            sizes.append(size)
            place += size
        left_out.append(len(hashes) - place)
    assert len(set(sizes)) > 1
    (pathway,) = whole.summary["pathways"]
    assert (pathway["epochs"], pathway["steps"]) == (3, len(logged))
    assert whole.summary["data"]["left_out_per_epoch"] == round(np.mean(left_out))


def test_pace_counts_what_there_was(whole: api.Run) -> None:
    (pathway,) = whole.summary["pathways"]
    assert [lines(whole)[0][key] for key in ("samples_per_s", "events_per_s")] == [0.0, 0.0]
    assert pathway["events_per_s"] == lines(whole)[-1]["events_per_s"] > pathway["samples_per_s"] > 0


def test_a_run_stopped_in_an_epoch_goes_on_bitwise(
    whole: api.Run, packed: Path, bound: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path / "run", packed, batch_events=bound)
    steps = [sum(line["epoch"] == epoch for line in lines(whole)) for epoch in range(3)]
    assert steps[0] != steps[1]
    in_last = sum(steps[:2]) + 2
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "StopSignal", lambda: StopAfter(in_last))
        with pytest.raises(Interrupted):
            api.train(settings)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["pathways"][0]["steps"] == in_last + 1
    again = api.train(settings)
    assert again.summary["pathways"][0]["weights_sha256"] == whole.summary["pathways"][0]["weights_sha256"]
    hashes = [[line["sequence_hash"] for line in lines(run)] for run in (again, whole)]
    assert hashes[0] == hashes[1]


def test_a_batch_of_one_recording_is_refused_where_batch_norm_needs_two(packed: Path, tmp_path: Path) -> None:
    longest = int(counts(packed).max())
    plain = config(tmp_path / "run", packed, batch_events=2 * longest - 1)
    encoder = replace(plain.pathways["count"].encoder, batch_norm=True)
    normed = replace(plain, pathways={"count": replace(plain.pathways["count"], encoder=encoder)})
    manifest = Manifest.load(str(packed / "manifest.parquet"))
    with pytest.raises(ConfigError, match=f"batch norm needs two samples: set it to {2 * longest:,} or more"):
        event_limits(normed, manifest)
    enough = replace(normed, training=replace(normed.training, batch_events=2 * longest))
    for settings in (plain, enough):
        assert event_limits(settings, manifest) is not None


def test_a_bound_that_never_binds_trains_as_none(packed: Path, tmp_path: Path) -> None:
    made = [
        api.train(config(tmp_path / str(events), packed, batch_events=events, epochs=1))
        for events in (0, 10**12)
    ]
    first, second = (run.summary["pathways"][0]["weights_sha256"] for run in made)
    assert first == second


def test_other_lanes_would_make_other_batches(whole: api.Run, packed: Path, bound: int) -> None:
    same = config(whole.folder, packed, batch_events=bound, epochs=4)
    other = replace(same, data=replace(same.data, lanes=2))
    text = f"{whole.folder} was made with 1 lane(s), not 2: by training.batch_events its batches would be "
    with pytest.raises(ConfigError, match="^" + re.escape(text)):
        api.train(other)


def test_uncounted_recordings_are_refused(tmp_path: Path) -> None:
    text = (
        "training.batch_events needs the number of events of every recording, which 24 of 24 in "
        "moving_shapes:// lack; `raytrain prepare` counts them"
    )
    with pytest.raises(ConfigError, match="^" + re.escape(text)):
        api.train(config(tmp_path / "run", None, batch_events=1000))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("pathway", "modality"),
    [
        ({}, "image"),
        ({"cut": {"name": "frames", "num_frames": 16, "rate_hz": 10.0}}, "clip"),
    ],
)
def test_what_has_no_events_is_refused(pathway: dict[str, Any], modality: str) -> None:
    text = f"training.batch_events is 7, but the samples are of kind {modality}, without events; leave it out"
    with pytest.raises(ConfigError, match=re.escape(text) + "$"):
        from_mapping({"training": {"batch_events": 7}, "pathways": {"identity": pathway}})


def test_a_bound_is_no_negative_number() -> None:
    with pytest.raises(ConfigError, match=r"training\.batch_events"):
        from_mapping({"training": {"batch_events": -1}, "pathways": {"count": COUNT}})


def test_a_step_is_replayed_on_its_batch(whole: api.Run) -> None:
    setup, last = read_run(whole.folder), lines(whole)[-1]
    found = replay_step(setup, "count", last["step"], say=lambda text: None)
    assert found.sequence_hash == last["sequence_hash"]
    assert found.losses == last["losses"]
    assert found.cursor == Cursor(2, found.steps_per_epoch - 1)


def test_a_step_that_is_not_there_is_said(whole: api.Run) -> None:
    text = r"^--step is 99; pathway count has steps 1 to 19, 6 to 7 an epoch$"
    with pytest.raises(ConfigError, match=text):
        check_step(read_run(whole.folder), "count", 99)


def test_the_report_has_the_pace_in_events(whole: api.Run) -> None:
    page = str(waiting(load_run(whole.folder)).blocks)
    assert "'samples/s', 'events', 'memory, MiB'" in page
    assert event_rate(whole.summary["pathways"][0]["events_per_s"]) in page


def test_a_dry_run_counts_the_steps_of_all_epochs(packed: Path, bound: int, tmp_path: Path) -> None:
    assert "(19 steps a pathway " in api.dry_run(config(tmp_path / "run", packed, batch_events=bound))
