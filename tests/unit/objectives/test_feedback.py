"""Feedback from the layer above: factors, gated losses and gradients of a whole step, bad settings."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.forms.randomness import generator, hash_keys
from pipelines.stream.batch import Batch
from pipelines.views.standardise import Standardiser
from raytrain.config import ClappConfig, PathwayConfig, TrainingConfig, Vgg6Config
from raytrain.errors import ConfigError
from raytrain.objectives.feedback import feedback_factors
from raytrain.objectives.scores import Pairs
from raytrain.pathway import Pathway
from tests.given import given_of

PAIRS = Pairs(num_rows=5, num_images=3, num_columns=2, num_steps=2, skip=1)
NUM_PAIRS = sum(PAIRS.step_sizes)


def plain_factors(values):
    """The published rule, for each step: sigmoid(3 (g - mean) / mean) of an image's mean term g."""
    terms = np.stack([np.maximum(0, 1 - values[0]), np.maximum(0, 1 + values[1:]).mean(0)])
    factors = np.empty_like(terms)
    for k in range(PAIRS.num_steps):
        for kind in range(2):
            means = [terms[kind, (PAIRS.step == k) & (PAIRS.image == b)].mean() for b in range(3)]
            for b, mean in enumerate(means):
                relative = (mean - np.mean(means)) / np.mean(means)
                factors[kind, (PAIRS.step == k) & (PAIRS.image == b)] = 1 / (1 + np.exp(-3 * relative))
    return np.concatenate([factors[:1], np.repeat(factors[1:], len(values) - 1, axis=0)])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), num_negatives=st.integers(1, 3))
def test_factors_equal_the_published_rule(seed, num_negatives):
    values = generator("values", seed).normal(size=(1 + num_negatives, NUM_PAIRS))
    factors = feedback_factors(torch.from_numpy(values), PAIRS)
    np.testing.assert_allclose(factors.numpy(), plain_factors(values), rtol=1e-12)
    assert len(factors[0].unique()) == 3 * 2, "one factor for each image and step"


def test_without_any_loss_above_all_images_weigh_one_half():
    values = torch.full((2, NUM_PAIRS), 2.0)
    values[1] = -2.0
    torch.testing.assert_close(feedback_factors(values, PAIRS), torch.full((2, NUM_PAIRS), 0.5))


def build(**objective):
    config = PathwayConfig(
        objective=ClappConfig(synchronous=True, num_steps=2, **objective),
        encoder=Vgg6Config(width=1 / 64),
    )
    pathway = Pathway(
        "lbp",
        config,
        seed=0,
        canvas_px=64,
        num_classes=0,
        device=torch.device("cpu"),
        training=TrainingConfig(),
        standardiser=Standardiser(mean=[0.5] * 3, deviation=[0.25] * 3),
    )
    with torch.no_grad():
        for layer in pathway.encoder.layers:
            layer.conv.weight *= 2.2  # lively layers
    return pathway


def batch_of(images=4):
    pixels = generator("p").integers(0, 256, (images, 3, 64, 64))
    contrast = np.linspace(0.2, 1, images)[:, None, None, None]  # so that images differ in their losses
    keys = [f"image-{i}" for i in range(images)]
    return Batch(
        epoch=1,
        step=0,
        keys=keys,
        key_hashes=hash_keys(keys),
        positions=np.arange(images),
        valid=np.ones(images, dtype=bool),
        groups=np.zeros(images, dtype=np.int64),
        labels=torch.full((images,), -1),
        factors=torch.zeros(images, 0),
        pixels=torch.from_numpy((pixels * contrast).astype(np.uint8)),
    )


def plain_losses(pathway, batch):
    """All layers' losses, top down, as the published code takes them: term by term, kept in one graph."""
    patches = pathway.views(batch, train=True)
    rng = generator("negatives", 0, "lbp", 1, 0, 0)
    draws = pathway.objective.draw(rng, given_of(4), num_rows=7, num_columns=7)
    maps, cells = patches.flatten(0, 2), []
    for layer in pathway.encoder.layers:
        representation_map, maps = layer(maps.detach())
        cells.append(representation_map.mean((2, 3)).view(7 * 4 * 7, -1))
    step, context = draws.pairs.step, torch.from_numpy(draws.pairs.context)
    gates, losses = None, []
    for index in reversed(range(6)):
        loss, own_gates = 0.0, []
        for number, matrices in enumerate(pathway.objective.layer_parameters(index)):
            place = draws.scores.locations[index, number]
            source = (
                cells[index]
                if number == 1 or len(pathway.objective.layer_parameters(index)) == 1
                else (cells[index].detach())
            )
            others = cells[index].detach() if number == 1 else cells[index]
            own_gates.append([])
            for k in range(2):
                at = torch.from_numpy(np.flatnonzero(step == k))
                predicted = source[context[at]] @ matrices[k]
                scores = [(predicted * others[row[at]]).sum(-1).view(-1, 4, 7) for row in place]
                kinds = [(1 - scores[0]).relu(), (1 + scores[1]).relu()]
                means = torch.stack([term.mean((0, 2)) for term in kinds])
                weights = torch.ones(2, 4) if gates is None else gates[number][k]
                loss = loss + (means * weights).mean(1).sum() / 2
                g = means.detach()
                own_gates[-1].append(torch.sigmoid(3 * (g - g.mean(1, True)) / g.mean(1, True)))
        gates = own_gates
        losses.insert(0, loss)
    return torch.stack(losses)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_step_weighs_each_layer_by_the_one_above(symmetric, monkeypatch):
    gated, plain = build(feedback=True, symmetric=symmetric), build(feedback=True, symmetric=symmetric)
    expected = plain_losses(plain, batch_of())
    expected.sum().backward()
    monkeypatch.setattr(gated, "_update", lambda losses, batch: None)  # leaves the gradients to look at
    torch.testing.assert_close(gated.step(batch_of()).losses, expected.detach())
    for name, ours in gated._parameters.items():
        theirs = plain._parameters[name].grad
        assert theirs.abs().max() > 0
        assert (ours.grad - theirs).norm() < 1e-4 * theirs.norm(), name


def test_only_the_top_layer_has_the_loss_of_a_step_without_feedback():
    gated = build(feedback=True).step(batch_of()).losses
    plain = build().step(batch_of()).losses
    torch.testing.assert_close(gated[5], plain[5])
    assert (gated[:5] < 0.9 * plain[:5]).all()


def test_feedback_needs_both_terms():
    text = r"objective\.feedback weighs both terms of every image; set objective\.synchronous = true"
    with pytest.raises(ConfigError, match=text):
        ClappConfig(feedback=True)
