from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipelines.forms.chunk import Chunk, from_table, to_table
from pipelines.forms.randomness import hash_keys
from pipelines.order.plan import BatchPlan, ChunkPlan, Cursor
from pipelines.stream.batch import BatchReader
from pipelines.stream.stage import PIECE, OperatorStage, StageSettings, operated_name, operated_sample_bytes
from pipelines.views.standardise import Standardiser
from raytrain.config import (
    AugmentationConfig,
    ClappConfig,
    DtcwtConfig,
    IdentityConfig,
    LbpConfig,
    OperatorConfig,
    PathwayConfig,
    RgConfig,
    TrainingConfig,
    Vgg6Config,
)
from raytrain.pathway import Pathway

CANVAS, CROP, SEED = 40, 32, 5
OPERATORS: list[OperatorConfig] = [IdentityConfig(), LbpConfig(), RgConfig(), DtcwtConfig()]


@pytest.fixture(autouse=True)
def threads() -> None:
    """A stage sets one thread for its process; set it before, so that no test depends on the order."""
    torch.set_num_threads(1)


def pathway_of(operator: OperatorConfig, **changes: Any) -> PathwayConfig:
    return PathwayConfig(
        augmentation=AugmentationConfig(crop_px=CROP, flip=True),
        operator=operator,
        placement="stream",
        encoder=Vgg6Config(width=2**-7),
        objective=ClappConfig(num_steps=1),
        **changes,
    )


def chunk_of(length: int, epoch: int = 1) -> Chunk:
    """The last chunk of its epoch, with random images."""
    positions = np.arange(length)
    keys = [f"sample {position}" for position in positions]
    pixels: NDArray[np.uint8] = np.random.default_rng(1).integers(
        0, 256, (length, 3, CANVAS, CANVAS), dtype=np.uint8
    )
    return Chunk(
        number=epoch,
        epoch=epoch,
        rows=positions,
        positions=positions,
        valid=np.ones(length, np.bool_),
        keys=keys,
        key_hashes=hash_keys(keys),
        labels=positions,
        groups=positions,
        factors=np.zeros((length, 0), np.float32),
        columns={"images": pixels},
    )


def staged(chunk: Chunk, *pathways: PathwayConfig, **told: Any) -> Chunk:
    pathways_by_name = {operated_name(pathway): pathway for pathway in pathways}
    return OperatorStage(StageSettings(pathways_by_name, CANVAS, SEED, **told)).operate(chunk)


def worker_of(config: PathwayConfig, channels: int) -> Pathway:
    return Pathway(
        "one",
        config,
        seed=SEED,
        canvas_px=CANVAS,
        num_classes=2,
        device=torch.device("cpu"),
        training=TrainingConfig(),
        standardiser=Standardiser.from_json({"mean": [0.1] * channels, "deviation": [0.3] * channels}),
    )


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: str(operator.name))
def test_the_stage_makes_what_the_worker_would_make(operator: OperatorConfig) -> None:
    chunk, config = chunk_of(PIECE + 6), pathway_of(operator)
    plan = BatchPlan(
        chunks=ChunkPlan(num_samples=len(chunk), chunk_samples=len(chunk)), batch_size=len(chunk) // 2
    )
    made = staged(chunk, config)
    # Through the table, as Ray Data would send it.
    sent = from_table(to_table(made))
    name = operated_name(config)
    worker = worker_of(config, made.operated[name].shape[1])
    for step in range(2):
        of_stage = BatchReader(plan, lambda number: sent, config).read(Cursor(1, step))
        plain = BatchReader(plan, lambda number: chunk, replace(config, placement="worker")).read(
            Cursor(1, step)
        )
        assert torch.equal(worker.views(of_stage, train=True), worker.views(plain, train=True))
        # It was read from the stage's: without draws, or with other pixels, it is another.
        spoiled = replace(of_stage, operated={name: of_stage.operated[name] + 1})
        assert not torch.equal(worker.views(spoiled, train=True), worker.views(plain, train=True))


def test_another_epoch_has_other_draws() -> None:
    config = pathway_of(LbpConfig())
    one, two = (staged(chunk_of(4, epoch), config).operated[operated_name(config)] for epoch in (1, 2))
    assert one.shape == two.shape == (4, 1, CROP, CROP)
    assert not np.array_equal(one, two)


def test_samples_are_counted_once_an_output() -> None:
    counted: dict[str, int] = {}

    def count(name: str, samples: int) -> None:
        counted[name] = counted.get(name, 0) + samples

    lbp, rg = pathway_of(LbpConfig()), pathway_of(RgConfig())
    same_as_lbp = replace(lbp, workers=3, stream="other", encoder=Vgg6Config(width=0.5))
    staged(chunk_of(6), lbp, rg, same_as_lbp, on_operated=count)
    assert counted == {operated_name(lbp): 6, operated_name(rg): 6}


def test_the_chunk_is_left_as_it_is() -> None:
    chunk = chunk_of(6)
    before = chunk.images.copy()
    made = staged(chunk, pathway_of(IdentityConfig()))
    np.testing.assert_array_equal(chunk.images, before)
    assert chunk.operated == {}
    assert made.images is chunk.images


def test_equal_settings_have_one_name_and_other_settings_another() -> None:
    lbp = pathway_of(LbpConfig())
    assert operated_name(lbp) == operated_name(replace(lbp, objective=ClappConfig(num_steps=2)))
    assert operated_name(lbp).startswith("lbp-")
    others = [
        pathway_of(RgConfig()),
        replace(lbp, augmentation=AugmentationConfig(crop_px=CROP)),
        replace(lbp, augmentation=AugmentationConfig(crop_px=CROP - 2, flip=True)),
    ]
    assert len({operated_name(pathway) for pathway in (lbp, *others)}) == 4


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: str(operator.name))
def test_the_bytes_of_a_view_are_told_before(operator: OperatorConfig) -> None:
    config = pathway_of(operator)
    made = staged(chunk_of(4), config).operated[operated_name(config)]
    assert operated_sample_bytes(config, CANVAS) == made.nbytes / 4
