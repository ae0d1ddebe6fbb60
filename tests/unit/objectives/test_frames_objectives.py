"""Objectives over whole frames: time in rows, one column; against a plain float64 formula with loops."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from pipelines.forms.randomness import generator
from raytrain.config import ClappConfig, HingeCpcConfig, SupervisedConfig, Vgg6Config
from raytrain.encoders import build_encoder
from raytrain.objectives import build_objective
from tests.given import given_of

FRAMES, CLIPS, STEPS, SKIP = 9, 4, 5, 1
CHANNELS = (2, 3)
OFFSETS = [k + 1 + SKIP for k in range(STEPS)]
SETTINGS = [
    {"synchronous": synchronous, "symmetric": symmetric, "negatives": negatives, "num_negatives": count}
    for synchronous, symmetric, (negatives, count) in product(
        (False, True),
        (False, True),
        (("same_image", 1), ("same_image", 2), ("per_location", 1), ("everywhere", 1), ("everywhere", 3)),
    )
]


def build(config, num_classes=0):
    return build_objective(
        config, channels=CHANNELS, num_cells=FRAMES, num_classes=num_classes, seed_words=(0, "frames")
    ).double()


def frames_of(channels):
    rng = generator("frames", channels)
    return torch.from_numpy(rng.normal(size=(FRAMES, CLIPS, 1, channels))).requires_grad_()


def replayed(config, seed, num_layers):
    """Repeat the draws: signs [L, S, B] or None, negatives by (layer, set, n, k, time, clip)."""
    rng, sets, count = generator("draws", seed), 1 if config.symmetric else 2, config.num_negatives
    places = [(k, t, b) for k in range(STEPS) for t in range(FRAMES - OFFSETS[k]) for b in range(CLIPS)]
    signs = None
    if not config.synchronous:
        signs = 2 * rng.integers(0, 2, size=(num_layers, sets, CLIPS)) - 1
    if config.negatives == "same_image":
        drawn = rng.integers(0, CLIPS, size=(num_layers, sets, count, STEPS, CLIPS))
    elif config.negatives == "per_location":
        drawn = rng.integers(0, CLIPS, size=(num_layers, sets, count, len(places)))
    else:
        high = [(FRAMES - OFFSETS[k]) * CLIPS for k, _, _ in places]
        drawn = rng.integers(0, high, size=(num_layers, sets, count, len(places)))
    number = {place: index for index, place in enumerate(places)}

    def negative(layer, pair_set, n, k, t, b):
        """Return (time, clip) of a negative."""
        if config.negatives == "same_image":
            return t + OFFSETS[k], int(drawn[layer, pair_set, n, k, b])
        found = int(drawn[layer, pair_set, n, number[k, t, b]])
        if config.negatives == "per_location":
            return t + OFFSETS[k], found
        return found // CLIPS + OFFSETS[k], found % CLIPS

    return signs, negative


def plain_set(context, target, matrices, config, signs, negative):
    """Return the hinge loss of one set of weights: means by image, then images, then steps."""
    losses = []
    for k, matrix in enumerate(matrices):
        positives, negatives = [], []
        for b in range(CLIPS):
            times = range(FRAMES - OFFSETS[k])
            own = [1 - context[t, b, 0] @ matrix @ target[t + OFFSETS[k], b, 0] for t in times]
            others = [
                1 + context[t, b, 0] @ matrix @ target[s, c, 0]
                for t in times
                for s, c in (negative(n, k, t, b) for n in range(config.num_negatives))
            ]
            if signs is None or signs[b] > 0:
                positives.append(torch.stack(own).relu().mean())
            if signs is None or signs[b] < 0:
                negatives.append(torch.stack(others).relu().mean())
        losses.append(sum(torch.stack(kind).mean() for kind in (positives, negatives) if kind))
    return torch.stack(losses).mean()


def plain(frames, weights, config, signs, negative, layer):
    total = 0
    for number, matrices in enumerate(weights):
        context = frames.detach() if not config.symmetric and number == 0 else frames
        target = frames.detach() if number == 1 else frames
        total = total + plain_set(
            context,
            target,
            matrices,
            config,
            None if signs is None else signs[layer, number],
            lambda *place, number=number: negative(layer, number, *place),
        )
    return total


@pytest.mark.parametrize("kind", [ClappConfig, HingeCpcConfig])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_hinge_objectives_predict_over_time(settings, kind):
    config = kind(num_steps=STEPS, skip=SKIP, **settings)
    objective = build(config)
    layers = (0, 1) if kind is ClappConfig else (1,)
    assert objective.layers == layers
    rng = generator("draws", 7)
    draws = objective.draw(rng, given_of(CLIPS), num_rows=FRAMES, num_columns=1)
    signs, negative = replayed(config, 7, len(layers))
    for position, layer in enumerate(layers):
        frames, weights = frames_of(CHANNELS[layer]), objective.layer_parameters(layer)
        loss = objective.layer_loss(layer, frames, given_of(CLIPS, draws))
        expected = plain(frames, weights, config, signs, negative, position)
        torch.testing.assert_close(loss, expected)
        inputs = [frames, *weights]
        torch.testing.assert_close(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs))
        seen = objective.observe(layer, frames.detach(), given_of(CLIPS, draws))
        assert all(bool(value.isfinite()) for value in seen.values())


def test_the_longest_prediction_of_the_paper_fits():
    """16 frames, K = 5, skip 1: targets 2 .. 6 frames ahead, 14 .. 10 contexts a clip."""
    objective = build(ClappConfig())
    pairs = objective.pairs(num_rows=16, num_images=2, num_columns=1)
    assert pairs.step_sizes == (28, 26, 24, 22, 20)
    assert objective.pairs(num_rows=7, num_images=2, num_columns=1).step_sizes[-1] == 2


@pytest.mark.parametrize("pool", ["mean", "flat"])
@pytest.mark.parametrize("several", [False, True])
def test_supervised_sees_the_mean_or_all_frames(pool, several):
    objective, frames = build(SupervisedConfig(pool=pool), num_classes=3), frames_of(3)
    features = torch.stack(
        [
            sum(frames[t, b, 0] for t in range(FRAMES)) / FRAMES
            if pool == "mean"
            else torch.cat([frames[t, b, 0] for t in range(FRAMES)])
            for b in range(CLIPS)
        ]
    )
    logits = features @ objective.classifier.weight.T + objective.classifier.bias
    if several:
        labels = torch.tensor([[1, 0, 1], [-1, -1, -1], [0, 0, 0], [0, 1, 1]])
        known = labels[:, 0] >= 0
        expected = F.binary_cross_entropy_with_logits(logits[known], labels[known].double())
    else:
        labels = torch.tensor([2, -1, 0, 1])
        expected = -logits.log_softmax(1)[[0, 2, 3], [2, 0, 1]].mean()
    draws = objective.draw(generator("draws"), given_of(CLIPS), num_rows=FRAMES, num_columns=1)
    loss = objective.layer_loss(1, frames, given_of(CLIPS, draws, targets=labels))
    torch.testing.assert_close(loss, expected)
    inputs = [frames, *objective.parameters()]
    torch.testing.assert_close(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs))


def test_an_encoder_of_images_keeps_frames_and_clips_apart():
    encoder = build_encoder(Vgg6Config(width=1 / 128), in_channels=1, seed_words=(0, "a")).eval()
    clips = torch.rand(FRAMES, CLIPS, 1, 1, 16, 24)
    with torch.no_grad():
        rows = encoder.representation(encoder(clips.flatten(0, 2)), clips.shape[:3])
        alone = encoder(clips[5, 2]).mean((2, 3))
    assert rows.shape == (FRAMES, CLIPS, 1, 8)
    torch.testing.assert_close(rows[5, 2], alone)
