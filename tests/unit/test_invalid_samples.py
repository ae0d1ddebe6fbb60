"""A sample that could not be decoded teaches nothing: with it a step is the step without it."""

import pytest
import torch

from raytrain.config import OptimizerConfig
from raytrain.health import HealthMeter
from raytrain.optim import build_optimizer
from tests.steps import KINDS, batch_of, difference, pathway_of, step_of

BROKEN = (1, 5, 6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_with_broken_samples_is_the_step_without_them(kind):
    with_them = step_of(pathway_of(kind), batch_of(kind, range(8), broken=BROKEN))
    without = step_of(pathway_of(kind), batch_of(kind, (0, 2, 3, 4, 7)))
    assert difference(with_them, without) == 0
    taught = step_of(pathway_of(kind), batch_of(kind, range(8), broken=BROKEN, valid=True))
    assert difference(taught, without) > 1e-3, "what stands in their places does teach if it may"


@pytest.mark.parametrize("kind", KINDS)
def test_one_good_sample_is_enough_for_a_step(kind):
    alone = step_of(pathway_of(kind), batch_of(kind, range(4), broken=(0, 2, 3)))
    assert difference(alone, step_of(pathway_of(kind), batch_of(kind, (1,)))) == 0
    assert all(value.isfinite().all() for value in alone["gradients"].values() if value is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_a_good_sample_changes_nothing(kind):
    pathway = pathway_of(kind)
    decaying = OptimizerConfig(weight_decay=0.1)
    pathway.optimizer = build_optimizer(decaying, pathway._parameters.items())
    pathway.step(batch_of(kind, range(4)))
    before = {name: value.clone() for name, value in pathway.state_tensors().items()}
    meter = HealthMeter()
    losses = pathway.step(batch_of(kind, range(4), broken=range(4)), watch=meter).losses
    assert losses.tolist() == [0] * len(pathway.loss_names)
    assert meter.read(losses)[1] == {}
    after = pathway.state_tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
