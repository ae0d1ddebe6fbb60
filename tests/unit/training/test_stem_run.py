"""Whole runs with a trained front end, and which loss trains it."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from pipelines.order.plan import Cursor
from pipelines.sources import open_manifest
from pipelines.stream.batch import BatchReader
from raytrain import api
from raytrain.config import RunConfig, from_mapping
from raytrain.errors import ConfigError, Interrupted
from raytrain.training import run as run_module
from raytrain.training.estimate import first_batch
from raytrain.training.factory import estimate_standardisers
from raytrain.training.plan import RunSetup
from tests.conftest import StopAfter
from tests.event_runs import STEMS, event_values
from tests.given import given_of
from tests.ranks import Ranks

CPU = torch.device("cpu")


def train(out: Path, **more: object) -> api.Run:
    return api.train(from_mapping(event_values(out, tuple(STEMS), **more)))


def weights(run: api.Run) -> dict[str, str]:
    return {pathway["name"]: pathway["weights_sha256"] for pathway in run.summary["pathways"]}


@pytest.fixture(scope="module")
def stems(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return train(tmp_path_factory.mktemp("stems") / "run", probe={"batch_size": 8})


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_stems_train_and_are_measured(stems: api.Run) -> None:
    entries = {"+".join(entry["pathways"]) for entry in stems.summary["probes"]}
    assert entries == {*STEMS, "+".join(STEMS)}
    assert {floor["name"] for floor in stems.summary["probes"][0]["floors"]} == {"pixels"}
    assert {pathway["stem"] for pathway in stems.summary["pathways"]} == set(STEMS)
    assert "Not shown" not in api.report(stems.folder).read_text()


@pytest.mark.slow
def test_a_stopped_run_goes_on_bitwise(
    stems: api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "StopSignal", lambda: StopAfter(2))
        with pytest.raises(Interrupted):
            train(tmp_path)
    assert weights(train(tmp_path)) == weights(stems)


def setup_of(config: RunConfig) -> RunSetup:
    manifest = open_manifest(config.data)
    return RunSetup.build(config, manifest, Path(config.run_folder), estimate_standardisers(config, manifest))


def test_a_local_objective_trains_the_stem_by_the_first_layers_loss_alone(tmp_path: Path) -> None:
    setup = setup_of(from_mapping(event_values(tmp_path, ("matrix_lstm",))))
    batch = first_batch(setup, "matrix_lstm")
    pathway, twin = (setup.pathway("matrix_lstm", CPU) for _ in range(2))
    stem = pathway.encoder.stem
    assert stem is not None
    trained = dict(stem.named_parameters())
    found: dict[str, torch.Tensor] = {}
    for name, parameter in trained.items():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: found.__setitem__(name, p.grad.clone())
        )
    draws = []
    plain = pathway.objective.draw
    pathway.objective.draw = lambda *a, **k: draws.append(plain(*a, **k)) or draws[0]
    pathway.step(batch)

    twin.encoder.train()
    views = twin.cut_views(twin.views(batch, train=True))
    maps, _ = twin.encoder.layers[0](views.flatten(0, 2))
    representation = twin.encoder.representation(maps, views.shape[:3])
    twin.objective.layer_loss(
        0, representation, given_of(len(batch), draws[0], targets=batch.targets)
    ).backward()
    assert found.keys() == trained.keys()
    for name, parameter in twin.encoder.stem.named_parameters():
        assert (parameter.grad != 0).any()
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", STEMS)
def test_every_step_moves_every_weight_of_the_stem(name: str, tmp_path: Path) -> None:
    setup = setup_of(from_mapping(event_values(tmp_path, (name,))))
    pathway, batch = setup.pathway(name, CPU), first_batch(setup, name)
    before = {key: value.clone() for key, value in pathway.state_tensors().items() if "stem" in key}
    pathway.step(batch)
    after = pathway.state_tensors()
    still = {key: int((value == after[key]).sum()) for key, value in before.items()}
    assert not any(still.values()), f"unmoved values: {still}"


@pytest.mark.parametrize("name", STEMS)
def test_bf16_leaves_the_stem_in_fp32(name: str, tmp_path: Path) -> None:
    values = event_values(tmp_path, (name,))
    plain = setup_of(from_mapping(values)).pathway(name, CPU)
    values["training"]["precision"] = "bf16"
    setup = setup_of(from_mapping(values))
    pathway, batch = setup.pathway(name, CPU), first_batch(setup, name)
    assert torch.equal(*(p.cut_views(p.views_of(batch.pixels)) for p in (pathway, plain)))
    rounded, exact = (p.represent(batch.pixels, dtype=torch.float32) for p in (pathway, plain))
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
    pathway.accumulate_statistics(batch.pixels)
    assert pathway.step(batch).losses.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", STEMS)
def test_two_threads_give_the_same_bits_every_time(name: str, tmp_path: Path) -> None:
    setup = setup_of(from_mapping(event_values(tmp_path, (name,))))
    batch, before = first_batch(setup, name), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = set()
        for _ in range(4):
            pathway = setup.pathway(name, CPU)
            pathway.step(batch)
            found.add(pathway.weights_sha256())
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


def two_steps(rank: int, folder: Path) -> dict[str, torch.Tensor]:
    values = event_values(folder, tuple(STEMS))
    values["training"]["workers"] = dist.get_world_size()
    setup = setup_of(from_mapping(values))
    stems: dict[str, torch.Tensor] = {}
    for name in STEMS:
        pathway = setup.pathway(name, CPU)
        stream = BatchReader(setup.plan(name, rank), setup.source("main").chunk, setup.config.pathways[name])
        for step in range(2):
            pathway.step(stream.read(Cursor(0, step)), rank=rank)
        tensors = pathway.state_tensors().items()
        stems |= {f"{name} {key}": value for key, value in tensors if key.startswith("encoder.stem.")}
    return stems


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.slow
def test_ranks_average_the_stem(tmp_path: Path, ranks: Ranks, world_size: int) -> None:
    first, *others = ranks.run(world_size, two_steps, tmp_path)
    assert {key.split()[0] for key in first} == set(STEMS)
    for key, value in first.items():
        assert all(torch.equal(value, other[key]) for other in others), key
    setup = setup_of(from_mapping(event_values(tmp_path, ("est",))))
    alone, stream = (
        setup.pathway("est", CPU),
        BatchReader(setup.plan("est"), setup.source("main").chunk, setup.config.pathways["est"]),
    )
    for step in range(2):
        alone.step(stream.read(Cursor(0, step)))
    for key, value in alone.state_tensors().items():
        if key.startswith("encoder.stem."):
            torch.testing.assert_close(first[f"est {key}"], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"augmentation": {"shift_px": 32}}, "shift_px is 32, on a sensor of 32 x 32 px: nothing would be"),
        (
            {"cut": {"name": "patches", "size_px": 16, "stride_px": 8, "normalize": "patch"}},
            "cut.normalize is patch, but a patch of a stem's map that no event touches is flat",
        ),
    ],
)
def test_what_a_stem_cannot_do_is_said(tmp_path: Path, change: dict[str, object], message: str) -> None:
    values = event_values(tmp_path, ("matrix_lstm",))
    values["pathways"] = {"x": {**STEMS["matrix_lstm"], **change}}
    with pytest.raises(ConfigError, match=message):
        setup_of(from_mapping(values)).pathway("x", CPU)


def test_a_representation_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    for name in STEMS:
        setup = setup_of(from_mapping(event_values(tmp_path, (name,))))
        pathway, batch = setup.pathway(name, CPU), first_batch(setup, name)
        events = batch.pixels
        together = pathway.represent(events, dtype=torch.float32)
        start, stop = events.offsets[2], events.offsets[3]
        alone = type(events)(
            x=events.x[start:stop],
            y=events.y[start:stop],
            t=events.t[start:stop],
            p=events.p[start:stop],
            offsets=torch.tensor([0, stop - start]),
            width=events.width,
            height=events.height,
        )
        torch.testing.assert_close(
            pathway.represent(alone, dtype=torch.float32)[0], together[2], rtol=1e-4, atol=1e-5
        )
