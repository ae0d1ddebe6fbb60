"""The supervised objective: plain cross entropy on the last layer, unlabelled samples left out."""

import pytest
import torch
import torch.nn.functional as F

from raytrain.config import SupervisedConfig
from raytrain.errors import ConfigError
from raytrain.objectives import build_objective

GRID = (2, 5, 3)


def build(pool, num_classes=4):
    return build_objective(
        SupervisedConfig(pool=pool),
        channels=(7, 6),
        num_cells=6,
        num_classes=num_classes,
        seed_words=(0, "a"),
    ).double()


@pytest.mark.parametrize("pool", ["mean", "flat"])
def test_loss_is_the_cross_entropy_of_the_labelled(pool):
    objective = build(pool)
    rep = torch.randn(*GRID, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, -1, 3, 1, -1])
    loss = objective.layer_loss(1, rep, objective.draw(None, num_images=5, num_rows=2, num_columns=3), labels)
    images = rep.permute(1, 0, 2, 3)
    features = images.mean((1, 2)) if pool == "mean" else images.reshape(5, -1)
    expected = F.cross_entropy(objective.classifier(features)[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(loss, expected)
    assert objective.layers == (1,)
    assert not objective.local
    assert torch.autograd.gradcheck(lambda z: objective.layer_loss(1, z, None, labels), (rep,))


def test_no_label_at_all_costs_nothing():
    loss = build("mean").layer_loss(1, torch.ones(*GRID, 6, dtype=torch.float64), None, torch.full((5,), -1))
    assert loss == 0


def test_without_classes_it_is_refused():
    with pytest.raises(
        ConfigError, match=r"supervised needs labels of at least 2 classes, the data has 0; choose"
    ):
        build("mean", num_classes=0)
