"""The motion objective: two cross entropies, dropout from the given draws, unknown samples left out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipelines.forms.clips import NUM_SPEEDS
from pipelines.forms.randomness import generator
from raytrain.config import MotionObjectiveConfig
from raytrain.errors import ConfigError
from raytrain.objectives import build_objective
from tests.given import given_of

IMAGES, CHANNELS, CELLS = 4, 3, 6
LABELS = torch.tensor([[0, 11], [-1, -1], [1, 2], [0, 3]])


def build(**settings):
    return build_objective(
        MotionObjectiveConfig(**{"hidden": 5, **settings}),
        channels=(8, CHANNELS),
        num_cells=CELLS,
        num_classes=0,
        seed_words=(0, "mov"),
    ).double()


def draw(objective, seed=0):
    return objective.draw(generator("negatives", seed), given_of(IMAGES), num_rows=1, num_columns=1)


def representation():
    return torch.randn(2, IMAGES, 3, CHANNELS, dtype=torch.float64, requires_grad=True)


def test_loss_is_the_sum_of_two_cross_entropies_of_the_known():
    objective, rows = build(), representation()
    draws = draw(objective)
    features, known = rows.permute(1, 0, 2, 3).reshape(IMAGES, -1), LABELS[:, 0] >= 0
    expected = 0
    for head, mask, labels in zip((objective.kind, objective.speed), draws, LABELS.T, strict=True):
        hidden = (features @ head.hidden.weight.T + head.hidden.bias) * mask
        logits = hidden @ head.output.weight.T + head.output.bias
        expected = expected + F.cross_entropy(logits[known], labels[known])
    loss = objective.layer_loss(1, rows, given_of(IMAGES, draws, motion=LABELS))
    torch.testing.assert_close(loss, expected)
    assert torch.autograd.gradcheck(
        lambda z: objective.layer_loss(1, z, given_of(IMAGES, draws, motion=LABELS)), (rows,)
    )
    loss.backward()
    assert rows.grad[:, 1].abs().max() == 0, "a sample of unknown motion teaches nothing"
    assert (rows.grad[:, [0, 2, 3]] != 0).any(-1).all()
    assert (objective.layers, objective.local) == ((1,), False)
    assert all(parameter.grad is not None for parameter in objective.layer_parameters(1))


def test_nothing_known_costs_nothing():
    objective = build()
    loss = objective.layer_loss(
        1, representation(), given_of(IMAGES, draw(objective), motion=torch.full((IMAGES, 2), -1))
    )
    assert loss == 0


def test_heads_have_the_published_shapes():
    objective = build_objective(
        MotionObjectiveConfig(), channels=(512,), num_cells=4, num_classes=0, seed_words=(0, "mov")
    )
    shapes = {name: tuple(value.shape) for name, value in objective.named_parameters() if "weight" in name}
    assert shapes == {
        "kind.hidden.weight": (512, 2_048),
        "kind.output.weight": (2, 512),
        "speed.hidden.weight": (512, 2_048),
        "speed.output.weight": (NUM_SPEEDS, 512),
    }
    assert NUM_SPEEDS == 12


def test_predict_is_the_network_without_dropout():
    objective, rows = build(), representation()
    features = rows.permute(1, 0, 2, 3).flatten(1)
    kind, speed = objective.predict(rows)
    assert (kind.shape, speed.shape) == ((IMAGES, 2), (IMAGES, 12))
    torch.testing.assert_close(kind, objective.kind.output(objective.kind.hidden(features)))
    torch.testing.assert_close(speed, objective.speed.output(objective.speed.hidden(features)))
    again = objective.predict(rows)
    assert torch.equal(kind, again[0])
    dropped = objective.kind(features, draw(objective)[0])
    assert not torch.allclose(kind, dropped)
    without = build(dropout=0.0)
    known = LABELS[:, 0] >= 0
    expected = sum(
        F.cross_entropy(logits[known], labels[known])
        for logits, labels in zip(without.predict(rows), LABELS.T, strict=True)
    )
    torch.testing.assert_close(
        without.layer_loss(1, rows, given_of(IMAGES, draw(without), motion=LABELS)), expected
    )


def test_masks_are_a_function_of_the_generator_alone():
    objective = build(hidden=400, dropout=0.25)
    first, again, other = draw(objective), draw(objective), draw(objective, seed=1)
    torch.manual_seed(5)
    assert torch.equal(first, again)
    assert torch.equal(first, draw(objective))
    assert not torch.equal(first, other)
    assert first.shape == (2, IMAGES, 400)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0, 0], first[0, 1])
    assert set(first.unique().tolist()) == {0.0, 1 / 0.75}
    assert abs(float((first > 0).double().mean()) - 0.75) < 0.03


def test_logits_are_wide_under_autocast():
    objective = build().float()
    rows = torch.randn(2, IMAGES, 3, CHANNELS)
    with torch.autocast("cpu", torch.bfloat16):
        assert {logits.dtype for logits in objective.predict(rows)} == {torch.float32}
        assert (
            objective.layer_loss(1, rows, given_of(IMAGES, draw(objective), motion=LABELS)).dtype
            == torch.float32
        )


@pytest.mark.parametrize(("name", "value"), [("dropout", 1.0), ("dropout", -0.1), ("hidden", 0)])
def test_settings_are_checked(name, value):
    with pytest.raises(ConfigError, match=rf"objective.{name} is {value}; it must be at least"):
        MotionObjectiveConfig(**{name: value})


def test_two_heads_learn_two_things():
    rng = np.random.default_rng(0)
    objective = build(hidden=16, dropout=0.2).float()
    labels = torch.from_numpy(np.stack([rng.integers(0, 2, 64), rng.integers(0, 12, 64)], 1))
    code = torch.cat([F.one_hot(labels[:, 0], 2), F.one_hot(labels[:, 1], 12), torch.ones(64, 4)], 1)
    rows = code.float().view(1, 64, CELLS, CHANNELS)
    optimizer = torch.optim.Adam(objective.parameters(), 0.05)
    for _ in range(60):
        draws = objective.draw(rng, given_of(64), num_rows=1, num_columns=1)
        optimizer.zero_grad()
        objective.layer_loss(1, rows, given_of(64, draws, motion=labels)).backward()
        optimizer.step()
    kind, speed = objective.predict(rows)
    assert torch.equal(kind.argmax(1), labels[:, 0])
    assert float((speed.argmax(1) == labels[:, 1]).float().mean()) > 0.95
