"""Whole layers, local and end to end, against the published code's values (case E of the parity fixture)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from raytrain.config import ClappConfig
from raytrain.encoders import Encoder, Layer, mean_over_pixels
from raytrain.objectives.clapp import Clapp
from raytrain.objectives.hinge import HingeDraws, HingeObjective
from raytrain.objectives.scores import Pairs, plan_scores
from tests.given import given_of

FIXTURE = np.load(Path(__file__).parents[2] / "fixtures" / "clapp_parity.npz")
CHANNELS, POOLED, CONFIG = (6, 8, 10), (False, True, True), ClappConfig()
PAIRS = Pairs(num_rows=7, num_images=4, num_columns=7, num_steps=5, skip=1)


def patches(dtype):
    images = torch.tensor(FIXTURE["E.img"], dtype=dtype)
    cut = images.unfold(2, 16, 8).unfold(3, 16, 8)  # B, C, R, Q, p, p
    return cut.permute(2, 0, 3, 1, 4, 5).flatten(0, 2).contiguous()


def build(names, dtype):
    """Return layers with the fixture's weights; `names` are (convolution, tag of the layer) bottom first."""
    inputs = (1, *CHANNELS[:-1])
    layers = [Layer(a, b, pool=pool) for a, b, pool in zip(inputs, CHANNELS, POOLED, strict=True)]
    for layer, name in zip(layers, names, strict=True):
        layer.conv.weight.data = torch.tensor(FIXTURE[f"{name}.weight"])
        layer.conv.bias.data = torch.tensor(FIXTURE[f"{name}.bias"])
    return Encoder(layers, channels=CHANNELS).to(dtype)


def load_predictor(objective, layer, tag):
    predictor = objective.predictors[str(layer)]
    for name, ours in (("Wpred", predictor.weight), ("Wmirror", predictor.mirror_weight)):
        stored = [FIXTURE[f"{tag}.{name}.{k}.weight"][:, :, 0, 0] for k in range(5)]
        ours.data = torch.tensor(np.stack(stored))


def draws_of(tags, like):
    sets = [[f"{tag}.loss", f"{tag}.mirror"] for tag in tags]
    signs = np.array([[FIXTURE[f"{name}.sign"] for name in pair] for pair in sets]).astype(np.int64)
    chosen = np.array([[FIXTURE[f"{name}.neg"] for name in pair] for pair in sets]).astype(np.int64)
    numbers = chosen[..., None, PAIRS.step, PAIRS.image]
    return HingeDraws(PAIRS, plan_scores(PAIRS, CONFIG, signs=signs, numbers=numbers, like=like))


def compare(ours, expected, tolerance):
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=tolerance[0], atol=tolerance[1])


def compare_convolution(convolution, name, tolerance):
    """Judge sums of thousands of float32 pixels by the largest entry: plain torch is no nearer."""
    for ours, part in ((convolution.weight, "weight"), (convolution.bias, "bias")):
        expected = FIXTURE[f"{name}.{part}.grad"]
        compare(ours.grad, expected, (tolerance[0], tolerance[0] * np.abs(expected).max()))


def compare_predictor(objective, layer, tag, tolerance):
    predictor = objective.predictors[str(layer)]
    for name, ours in (("Wpred", predictor.weight), ("Wmirror", predictor.mirror_weight)):
        stored = [FIXTURE[f"{tag}.{name}.{k}.weight.grad"][:, :, 0, 0] for k in range(5)]
        compare(ours.grad, np.stack(stored), tolerance)


PRECISIONS = [(torch.float64, (1e-10, 1e-14)), (torch.float32, (2e-5, 1e-6))]


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_local_layers(dtype, tolerance):
    tags = [f"E.local.L{i}" for i in (1, 2, 3)]
    encoder = build([f"{tag}.layer0" for tag in tags], dtype)
    objective = Clapp(CONFIG, channels=CHANNELS, num_cells=49, num_classes=0)
    for layer, tag in enumerate(tags):
        load_predictor(objective, layer, tag)
    objective = objective.to(dtype)
    draws, maps = draws_of(tags, next(objective.parameters())), patches(dtype)
    for index, (layer, tag) in enumerate(zip(encoder.layers, tags, strict=True)):
        representation_map, maps = layer(maps)
        representation = mean_over_pixels(representation_map).view(7, 4, 7, -1)
        compare(representation.permute(1, 3, 0, 2), FIXTURE[f"{tag}.rep"], tolerance)
        loss = objective.layer_loss(index, representation, given_of(4, draws))
        maps = maps.detach()
        loss.backward()
        compare(loss, FIXTURE[f"{tag}.loss"], tolerance)
        compare_convolution(layer.conv, f"{tag}.layer0", tolerance)
        compare_predictor(objective, index, tag, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_end_to_end(dtype, tolerance):
    tag = "E.e2e.L1"
    encoder = build([f"{tag}.layer{i}" for i in (0, 2, 5)], dtype)
    objective = HingeObjective(CONFIG, channels=CHANNELS, layers=(2,))
    load_predictor(objective, 2, tag)
    objective = objective.to(dtype)
    representation = encoder.representation(encoder(patches(dtype)), (7, 4, 7))
    draws = draws_of([tag], next(objective.parameters()))
    loss = objective.layer_loss(2, representation, given_of(4, draws))
    loss.backward()
    compare(representation.permute(1, 3, 0, 2), FIXTURE[f"{tag}.rep"], tolerance)
    compare(loss, FIXTURE[f"{tag}.loss"], tolerance)
    for layer, place in zip(encoder.layers, (0, 2, 5), strict=True):
        compare_convolution(layer.conv, f"{tag}.layer{place}", tolerance)
    compare_predictor(objective, 2, tag, tolerance)
