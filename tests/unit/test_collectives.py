"""Ranks with different rows equal one process with the joint batch."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from raytrain.collectives import GradientAverager, all_reduce_sum, world_size
from raytrain.config import MotionObjectiveConfig, MovnetConfig, SupervisedConfig, Vgg6Config
from raytrain.encoders import build_encoder
from raytrain.layers import GlobalBatchNorm, GlobalBatchNorm2d, GlobalBatchNorm3d
from raytrain.objectives import build_objective
from tests.given import given_of

ROWS, COLUMNS, IMAGES = 2, 2, 8
LABELS = torch.tensor([0, 1, 2, 1, -1, 2, -1, -1])  # 4 and 1 labelled on two ranks; 2, 2, 1, 0 on four
MOTIONS = torch.tensor([[0, 4], [1, 2], [0, 11], [1, 0], [-1, -1], [1, 7], [-1, -1], [-1, -1]])
HIDDEN = 8


@dataclass
class Model:
    encoder: nn.Module
    objective: nn.Module

    def parameters(self):
        return [*self.encoder.parameters(), *self.objective.parameters()]


def build():
    encoder = build_encoder(Vgg6Config(width=1 / 64, batch_norm=True), in_channels=2, seed_words=(0, "a"))
    objective = build_objective(
        SupervisedConfig(), channels=encoder.channels, num_cells=4, num_classes=3, seed_words=(0, "a")
    )
    return Model(encoder.double(), objective.double())


def build_volume():
    encoder = build_encoder(MovnetConfig(width=1 / 32), in_channels=2, seed_words=(0, "v"))
    objective = build_objective(
        MotionObjectiveConfig(hidden=HIDDEN),
        channels=encoder.channels,
        num_cells=1,
        num_classes=0,
        seed_words=(0, "v"),
    )
    return Model(encoder.double(), objective.double())


def joint_patches():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(ROWS, IMAGES, COLUMNS, 2, 16, 16, dtype=torch.float64, generator=generator)


def backward(model, patches, labels):
    grid = patches.shape[:3]
    representation = model.encoder.representation(model.encoder(patches.flatten(0, 2)), grid)
    loss = model.objective.layer_loss(5, representation, given_of(len(labels), targets=labels))
    loss.backward()
    return loss.detach()


def joint_clips():
    generator = torch.Generator().manual_seed(4)
    return torch.randn(IMAGES, 2, 9, 67, 67, dtype=torch.float64, generator=generator)


def joint_masks():
    return torch.rand(2, IMAGES, HIDDEN, generator=torch.Generator().manual_seed(5)).double() * 2


def backward_volume(model, share):
    clips = joint_clips()[share]
    representation = model.encoder.representation(model.encoder(clips), (1, len(clips), 1))
    given = given_of(len(clips), joint_masks()[:, share], motion=MOTIONS[share])
    loss = model.objective.layer_loss(4, representation, given)
    loss.backward()
    return loss.detach()


def statistics(model):
    return {name: value for name, value in model.encoder.state_dict().items() if "running" in name}


def one_rank(rank):
    images = IMAGES // world_size()
    share = slice(images * rank, images * (rank + 1))
    model, averager = build(), GradientAverager()
    loss = backward(model, joint_patches()[:, share].contiguous(), LABELS[share])
    own = [parameter.grad.clone() for parameter in model.parameters()]
    own_loss, parameters = loss.clone(), model.parameters()
    stop = loss.new_tensor([float(rank == 1)])
    averager.launch(parameters[:4], scalars=loss.reshape(1))
    averager.launch(parameters[4:], scalars=stop)
    scalars = averager.wait()
    volume, volume_averager = build_volume(), GradientAverager()
    volume_loss = backward_volume(volume, share)
    volume_averager.launch(volume.parameters(), scalars=volume_loss.reshape(1))
    volume_scalars = volume_averager.wait()
    value = torch.tensor([1.0 + rank, 2.0], requires_grad=True)
    total = all_reduce_sum(value)
    (total * (1.0 + rank)).sum().backward()
    return {
        "own": own,
        "own_loss": own_loss,
        "averaged": [parameter.grad for parameter in parameters],
        "scalars": scalars,
        "statistics": statistics(model),
        "volume_own_loss": volume_loss,
        "volume_loss": volume_scalars[0],
        "volume_averaged": [parameter.grad for parameter in volume.parameters()],
        "volume_statistics": statistics(volume),
        "total": total.detach(),
        "total_grad": value.grad,
        "world_size": world_size(),
    }


@pytest.fixture(scope="module", params=[2, 4], ids="{} ranks".format)
def each(request, ranks):
    """What every rank found, by rank."""
    return ranks.run(request.param, one_rank)


@pytest.fixture(scope="module")
def joint():
    model = build()
    loss = backward(model, joint_patches(), LABELS)
    return {
        "loss": loss,
        "gradients": [parameter.grad for parameter in model.parameters()],
        "statistics": statistics(model),
    }


def test_ranks_alone_are_not_the_joint_batch(each, joint):
    for rank in each:
        assert not torch.isclose(rank["own_loss"], joint["loss"], rtol=1e-3)
        assert not any(
            torch.allclose(ours, whole, rtol=1e-3)
            for ours, whole in zip(rank["own"], joint["gradients"], strict=True)
            if whole.norm() > 1e-9
        )


def test_averaged_over_the_ranks_they_are(each, joint):
    for rank in each:
        torch.testing.assert_close(rank["scalars"][0], joint["loss"])
        torch.testing.assert_close(rank["averaged"], joint["gradients"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(rank["statistics"], joint["statistics"])
        assert rank["world_size"] == len(each)


def test_volumes_and_their_motion_too(each):
    model = build_volume()
    loss = backward_volume(model, slice(None))
    gradients = [parameter.grad for parameter in model.parameters()]
    assert not torch.isclose(each[0]["volume_own_loss"], each[1]["volume_own_loss"], rtol=1e-3)
    for rank in each:
        torch.testing.assert_close(rank["volume_loss"], loss)
        torch.testing.assert_close(rank["volume_averaged"], gradients, rtol=1e-8, atol=1e-11)
        torch.testing.assert_close(rank["volume_statistics"], statistics(model))
    assert any(gradient.norm() > 1e-3 for gradient in gradients)


def test_one_rank_s_wish_to_stop_reaches_all(each):
    assert [float(rank["scalars"][1]) for rank in each] == [1 / len(each)] * len(each)


def test_sum_and_its_gradient_span_the_ranks(each):
    weights = sum(range(1, len(each) + 1))
    for rank in each:
        assert rank["total"].tolist() == [weights, 2.0 * len(each)]
        assert rank["total_grad"].tolist() == [weights, weights]


def test_one_process_is_left_as_it_is():
    values = torch.ones(2, requires_grad=True)
    assert all_reduce_sum(values) is values
    assert world_size() == 1
    weight = nn.Parameter(torch.ones(3))
    weight.grad = gradient = torch.arange(3.0)
    averager = GradientAverager()
    averager.launch([weight], scalars=torch.tensor([2.0]))
    averager.launch([], scalars=torch.tensor([5.0]))
    assert averager.wait().tolist() == [2.0, 5.0]
    assert weight.grad is gradient


@pytest.mark.parametrize(
    ("kind", "plain_kind", "size"),
    [(GlobalBatchNorm2d, nn.BatchNorm2d, (5, 5)), (GlobalBatchNorm3d, nn.BatchNorm3d, (2, 5, 5))],
)
def test_batch_norm_of_one_process_is_torch_s_own(kind, plain_kind, size):
    ours, plain = kind(3), plain_kind(3)
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3, *size))).float()
    assert isinstance(ours, GlobalBatchNorm)
    with pytest.raises(ValueError, match=f"expected {len(size) + 2}D input"):
        ours(maps[0])
    assert torch.equal(ours(maps), plain(maps))
    assert torch.equal(ours.running_var, plain.running_var)
    assert torch.equal(ours.eval()(maps), plain.eval()(maps))


def test_a_channel_of_one_value_is_normalised_to_0():
    norm = GlobalBatchNorm2d(3)
    maps = torch.full((1, 3, 1, 1), 5.0, requires_grad=True)
    assert torch.equal(norm(maps), torch.zeros(1, 3, 1, 1))
    assert torch.allclose(norm.running_mean, torch.full((3,), 0.5))
    assert torch.allclose(norm.running_var, torch.full((3,), 0.9))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_batch_of_none_passes_batch_norm_and_leaves_no_trace(momentum):
    norm = GlobalBatchNorm2d(3, momentum=momentum)
    norm(torch.randn(4, 3, 2, 2))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    nothing = torch.zeros(0, 3, 2, 2, requires_grad=True)
    norm(nothing).sum().backward()
    assert nothing.grad.shape == nothing.shape
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
