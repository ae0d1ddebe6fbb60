"""What only a GPU shows: nothing waits, late checks change no weight, the CPU agrees, all fit on one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from pipelines.order.plan import Cursor
from pipelines.stream.ahead import BatchAhead
from pipelines.stream.batch import Batch
from pipelines.stream.buffers import buffers_for
from raytrain import api
from raytrain.bench import clapp
from raytrain.config import HingeCpcConfig, SupervisedConfig, TrainingConfig, from_mapping
from raytrain.errors import DivergedError
from raytrain.health import HealthMeter
from raytrain.pathway import Pathway
from tests.conftest import run_values, small_values
from tests.unit.pipelines.stream.test_batch import EPOCHS, assert_is_plain, reader_of
from tests.unit.test_health import batch_of, build, observed

if not torch.cuda.is_available():
    pytest.skip("no CUDA device: skipped", allow_module_level=True)
pytestmark = pytest.mark.gpu
CPU = torch.device("cpu")
STEPS = 4


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise at every operation that waits for the device, blocking copies included."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def pinned(batch: Batch) -> Batch:
    """The batch as a reader for a GPU makes it."""
    return replace(batch, pixels=batch.pixels.pin_memory(), labels=batch.labels.pin_memory())


def trained(pathway: Pathway, *, steps: int = STEPS) -> str:
    for step in range(steps):
        pathway.step(batch_of(step))
    pathway.check()
    return pathway.weights_sha256()


@pytest.mark.parametrize("objective", [None, HingeCpcConfig(), SupervisedConfig()])
def test_a_late_finite_check_leaves_the_weights_of_an_immediate_one(
    device: torch.device, objective: Any
) -> None:
    late, immediate = (build(objective, device=device, batch_norm=True) for _ in range(2))
    immediate._defers_check = False
    assert late._defers_check
    assert trained(late) == trained(immediate)


def test_a_late_check_names_the_step_and_its_update_was_left_out(device: torch.device) -> None:
    pathway = build(device=device)
    pathway.step(batch_of(0))
    with torch.no_grad():
        pathway.encoder.layers[2].conv.bias.fill_(torch.inf)
    before = pathway.weights_sha256()
    pathway.step(batch_of(1))
    pathway.step(batch_of(2))
    with pytest.raises(DivergedError, match=r"pathway lbp: loss of layer3 is \S+ at epoch 0, step 1"):
        pathway.check()
    assert pathway.weights_sha256() == before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_waits_for_nothing_and_its_figures_are_those_of_the_cpu(
    device: torch.device, precision: Any
) -> None:
    training = TrainingConfig(precision=precision)
    pathway, here = (build(training=training, device=one, batch_norm=True) for one in (device, CPU))
    for one in (pathway, here):
        one.step(batch_of(0))
        one.check()
    batch, meter = pinned(batch_of(1)), HealthMeter()
    with no_waiting():
        losses = pathway.step(batch, watch=meter).losses
    for name, figures in observed(here, batch_of(1))[1].items():
        assert meter.read(losses)[1][name] == pytest.approx(figures, rel=0.05, abs=0.02)


def test_batches_are_copied_from_pinned_memory_by_a_stream_of_their_own(device: torch.device) -> None:
    memory = buffers_for(device)
    assert memory.take("pixels", (2, 3), torch.uint8).is_pinned()
    reader, _, plan = reader_of(1, 1, 0, 10)
    ahead = BatchAhead(reader, Cursor(), EPOCHS, device=device)
    try:
        for cursor in plan.cursors(Cursor(), EPOCHS):
            batch = ahead()
            assert batch.pixels.device.type == device.type
            assert_is_plain(batch.to(CPU), plan.positions(cursor), cursor)
    finally:
        ahead.close()


def test_one_rank_over_nccl_takes_the_step_of_no_group(device: torch.device, tmp_path: Path) -> None:
    alone = trained(build(device=device, batch_norm=True))
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        assert trained(build(device=device, batch_norm=True)) == alone
        values = torch.arange(3.0, device=device)
        dist.all_reduce(values)
        assert values.tolist() == [0.0, 1.0, 2.0]
    finally:
        dist.destroy_process_group()


def test_statistics_of_batch_norm_are_those_of_the_cpu(device: torch.device) -> None:
    there, here = (build(device=one, batch_norm=True) for one in (device, CPU))
    for pathway in (there, here):
        pathway.reset_statistics()
        for step in range(2):
            pathway.accumulate_statistics(batch_of(step).pixels)
    expected = here.statistics()
    assert any(value.abs().max() > 1e-3 for value in expected.values())
    torch.testing.assert_close(there.statistics(), expected, rtol=1e-3, atol=1e-4)


def test_features_are_those_of_the_cpu(device: torch.device) -> None:
    there, here = (build(device=one).represent(batch_of(0).pixels) for one in (device, CPU))
    assert there.dtype == here.dtype == torch.float16
    torch.testing.assert_close(there.cpu(), here, rtol=5e-3, atol=5e-3)


def test_bf16_is_near_fp32(device: torch.device) -> None:
    losses = [
        build(training=TrainingConfig(precision=precision), device=device).step(batch_of(0)).losses
        for precision in ("fp32", "bf16")
    ]
    assert losses[1].isfinite().all()
    assert not torch.equal(*losses)
    torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=0.05)


def test_a_step_is_replayed_bitwise(device: torch.device, tmp_path: Path) -> None:
    values = small_values(out=str(tmp_path), training__epochs=1, training__device=device.type)
    api.train(from_mapping(values))
    (found,), _ = api.replay(tmp_path, "lbp", 3, say=[].append)
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    line = next(one for one in lines if (one["pathway"], one["step"]) == ("lbp", 3))
    assert found.losses == line["losses"]
    assert found.sequence_hash == line["sequence_hash"]


def test_workers_and_an_operator_stage_share_one_gpu(device: torch.device, tmp_path: Path) -> None:
    values = run_values(out=str(tmp_path), training__epochs=1, training__device=device.type)
    values["pathways"]["lbp"]["placement"] = "stream"
    run = api.train(from_mapping(values))
    assert run.summary["status"] == "done"
    assert {pathway["name"] for pathway in run.summary["pathways"]} == {"identity", "lbp"}
    assert all(pathway["steps"] > 0 for pathway in run.summary["pathways"])
    assert json.loads((tmp_path / "env.json").read_text())["device"] == device.type


def test_the_bench_of_a_step_gives_its_rates(device: torch.device) -> None:
    rows = clapp.run(device=device.type, repeats=1, batch_size=8, width=1 / 32)
    rates = [row for row in rows if row["unit"] == "images/s"]
    assert len(rates) == 2
    assert all(row["value"] > 0 for row in rates)
