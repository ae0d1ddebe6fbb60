"""CLAPP's update written by hand, without autograd: modulation x postsynaptic gate x presynaptic activity."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipelines.forms.randomness import generator
from raytrain.config import ClappConfig, HingeCpcConfig, Vgg6Config
from raytrain.encoders import build_encoder, mean_over_pixels
from raytrain.objectives import build_objective
from tests.given import given_of

ROWS, IMAGES, COLUMNS, STEPS, SKIP = 5, 3, 2, 3, 1


def modulation(representation, matrices, draws, pair_set, position, *, to_context, to_target):
    """Return -d loss / d (representation, matrices) as the written rule gives it, pair by pair in float64."""
    z = representation.numpy()
    weights = matrices.detach().numpy()
    scores = draws.scores.at(position, pair_set)
    chosen, signs, shares = (part.numpy() for part in (scores.locations, scores.signs, scores.weights))
    flat = z.reshape(-1, z.shape[-1])
    dz, dw = np.zeros_like(flat), np.zeros_like(weights)
    pairs = draws.pairs
    for choice in range(len(chosen)):
        for pair, (k, context) in enumerate(zip(pairs.step, pairs.context, strict=True)):
            other, sign, share = chosen[choice, pair], signs[choice, pair], shares[choice, pair]
            gate = 1 - sign * (flat[context] @ weights[k] @ flat[other]) > 0
            gamma = sign * share * gate  # +: towards a target, -: away from a negative
            if to_context:
                dz[context] += gamma * (weights[k] @ flat[other])
            if to_target:
                dz[other] += gamma * (weights[k].T @ flat[context])
            dw[k] += gamma * np.outer(flat[context], flat[other])
    return torch.from_numpy(dz), torch.from_numpy(dw)


def hebbian(layer, maps, dz):
    """Return (weight update, bias update): each pixel's presynaptic patch times its gated share of dz."""
    activity = F.conv2d(maps, layer.conv.weight, layer.conv.bias, padding=1).detach()
    num, channels, height, width = activity.shape
    if layer.pool:
        pooled, winners = F.max_pool2d(F.relu(activity), 2, return_indices=True)
        share = (dz / pooled[0, 0].numel())[:, :, None].expand(-1, -1, pooled[0, 0].numel())
        routed = torch.zeros(num, channels, height * width, dtype=activity.dtype)
        routed.scatter_(2, winners.flatten(2), share)  # only the winner of a pool learns
    else:
        routed = (dz / (height * width))[:, :, None].expand(-1, -1, height * width)
    post = routed * (activity.flatten(2) > 0)
    pre = F.unfold(maps, 3, padding=1)
    return torch.einsum("ncp,nip->ci", post, pre).view_as(layer.conv.weight), post.sum((0, 2))


def network(config):
    encoder = build_encoder(Vgg6Config(width=1 / 64), in_channels=1, seed_words=("hebb",)).double()
    with torch.no_grad():
        for layer in encoder.layers:
            layer.conv.weight *= 4  # lively upper layers, so that both sides of the hinge occur
    objective = build_objective(
        config, channels=encoder.channels, num_cells=ROWS * COLUMNS, num_classes=0, seed_words=("hebb",)
    ).double()
    draws = objective.draw(generator("draws"), given_of(IMAGES), num_rows=ROWS, num_columns=COLUMNS)
    patches = torch.from_numpy(generator("patches").normal(size=(ROWS * IMAGES * COLUMNS, 1, 16, 16)))
    return encoder, objective, draws, patches


def local_step(encoder, objective, draws, patches, *, detach=True):
    """Return the inputs and representations of the layers after backward passes of all losses."""
    maps, inputs, representations, total = patches, [], [], 0.0
    for index, layer in enumerate(encoder.layers):
        inputs.append(maps.detach())
        representation_map, maps = layer(maps)
        representation = mean_over_pixels(representation_map).view(ROWS, IMAGES, COLUMNS, -1)
        representations.append(representation.detach())
        if index in objective.layers:
            total = total + objective.layer_loss(index, representation, given_of(IMAGES, draws))
        maps = maps.detach() if detach else maps
    total.backward()
    return inputs, representations


@pytest.mark.parametrize("synchronous", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_local_update_is_the_written_rule_at_every_layer(symmetric, synchronous):
    config = ClappConfig(num_steps=STEPS, skip=SKIP, symmetric=symmetric, synchronous=synchronous)
    encoder, objective, draws, patches = network(config)
    inputs, representations = local_step(encoder, objective, draws, patches)
    for index, layer in enumerate(encoder.layers):
        predictor = objective.predictors[str(index)]
        dz, dw = modulation(
            representations[index], predictor.weight, draws, 0, index, to_context=symmetric, to_target=True
        )
        torch.testing.assert_close(-dw, predictor.weight.grad, rtol=1e-9, atol=1e-15)
        if not symmetric:
            mirror = predictor.mirror_weight
            dz_mirror, dw_mirror = modulation(
                representations[index], mirror, draws, 1, index, to_context=True, to_target=False
            )
            torch.testing.assert_close(-dw_mirror, mirror.grad, rtol=1e-9, atol=1e-15)
            dz = dz + dz_mirror
        weight, bias = hebbian(layer, inputs[index], dz)
        assert weight.abs().max() > 0, f"layer {index} does not learn: the case shows nothing"
        torch.testing.assert_close(-weight, layer.conv.weight.grad, rtol=1e-9, atol=1e-15)
        torch.testing.assert_close(-bias, layer.conv.bias.grad, rtol=1e-9, atol=1e-15)


def test_end_to_end_training_is_another_update():
    local, objective, draws, patches = network(ClappConfig(num_steps=STEPS, skip=SKIP))
    local_step(local, objective, draws, patches)
    joined, objective, draws, patches = network(ClappConfig(num_steps=STEPS, skip=SKIP))
    local_step(joined, objective, draws, patches, detach=False)
    for index in range(5):
        ours, theirs = local.layers[index].conv.weight.grad, joined.layers[index].conv.weight.grad
        assert (ours - theirs).norm() > 1e-6 * ours.norm()
    torch.testing.assert_close(local.layers[5].conv.weight.grad, joined.layers[5].conv.weight.grad)


def test_hinge_cpc_trains_the_lowest_layer_from_the_top_loss():
    encoder, objective, draws, patches = network(HingeCpcConfig(num_steps=STEPS, skip=SKIP))
    assert objective.layers == (5,)
    assert not objective.local
    local_step(encoder, objective, draws, patches, detach=False)
    assert encoder.layers[0].conv.weight.grad.abs().max() > 0
