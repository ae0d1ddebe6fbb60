"""The supervised objective: plain cross entropy on the last layer, unlabelled samples left out."""

import pytest
import torch
import torch.nn.functional as F

from raytrain.config import SupervisedConfig
from raytrain.errors import ConfigError
from raytrain.objectives import build_objective
from tests.given import given_of

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
    loss = objective.layer_loss(1, rep, given_of(5, targets=labels))
    images = rep.permute(1, 0, 2, 3)
    features = images.mean((1, 2)) if pool == "mean" else images.reshape(5, -1)
    expected = F.cross_entropy(objective.classifier(features)[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(loss, expected)
    assert objective.layers == (1,)
    assert not objective.local
    assert torch.autograd.gradcheck(lambda z: objective.layer_loss(1, z, given_of(5, targets=labels)), (rep,))


def test_no_label_at_all_costs_nothing():
    loss = build("mean").layer_loss(1, torch.ones(*GRID, 6, dtype=torch.float64), given_of(5))
    assert loss == 0


def test_without_classes_it_is_refused():
    with pytest.raises(
        ConfigError, match=r"supervised needs labels of at least 2 classes, the data has 0; choose"
    ):
        build("mean", num_classes=0)


SETS = torch.tensor([[1, 0, 1, 0], [-1, -1, -1, -1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0]])


@pytest.mark.parametrize("pool", ["mean", "flat"])
def test_several_labels_cost_the_binary_cross_entropy_of_the_labelled(pool):
    objective = build(pool)
    rep = torch.randn(*GRID, 6, dtype=torch.float64, requires_grad=True)
    loss = objective.layer_loss(1, rep, given_of(5, targets=SETS))
    images = rep.permute(1, 0, 2, 3)
    features = images.mean((1, 2)) if pool == "mean" else images.reshape(5, -1)
    p = torch.sigmoid(objective.classifier(features))[[0, 2, 3, 4]]
    y = SETS[[0, 2, 3, 4]].double()
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    torch.testing.assert_close(loss, expected)
    assert torch.autograd.gradcheck(lambda z: objective.layer_loss(1, z, given_of(5, targets=SETS)), (rep,))
    loss.backward()
    assert rep.grad[:, 1].abs().max() == 0, "an unlabelled image teaches nothing"
    assert rep.grad[:, 2].abs().min() > 0, "an image of no class at all does"


def test_no_label_set_at_all_costs_nothing():
    unknown = torch.full((5, 4), -1)
    assert (
        build("mean").layer_loss(1, torch.ones(*GRID, 6, dtype=torch.float64), given_of(5, targets=unknown))
        == 0
    )


@pytest.mark.parametrize("labels", [torch.tensor([0, 3, 1, 2, 0]), SETS])
def test_permuting_images_with_their_labels_changes_nothing(labels):
    objective, order = build("flat"), torch.tensor([3, 0, 4, 2, 1])
    rep = torch.randn(*GRID, 6, dtype=torch.float64)
    before = objective.layer_loss(1, rep, given_of(5, targets=labels))
    torch.testing.assert_close(
        objective.layer_loss(1, rep[:, order], given_of(5, targets=labels[order])), before
    )


def test_label_sets_of_another_length_are_no_broadcast():
    with pytest.raises(ValueError, match="must be the same as input size"):
        build("mean").layer_loss(
            1, torch.ones(*GRID, 6, dtype=torch.float64), given_of(5, targets=SETS[:, :1])
        )
