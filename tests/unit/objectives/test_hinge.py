"""The hinge loss: draws, gradcheck, invariances, precision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.forms.randomness import generator
from raytrain.config import ClappConfig
from raytrain.objectives import build_objective
from raytrain.objectives.hinge import hinge_loss
from raytrain.objectives.scores import Pairs, draw_numbers, draw_signs, plan_scores
from tests.given import given_of

KINDS = ("same_image", "per_location", "everywhere")
CONFIGS = [
    ClappConfig(num_steps=2, synchronous=synchronous, negatives=kind, num_negatives=count)
    for synchronous in (False, True)
    for kind, count in (("same_image", 1), ("per_location", 1), ("everywhere", 1), ("everywhere", 3))
]


def problem(config, *, seed=0, images=4, channels=3, dtype=torch.float64):
    rng = generator("problem", seed)
    pairs = Pairs(num_rows=5, num_images=images, num_columns=2, num_steps=config.num_steps, skip=config.skip)
    rep = torch.from_numpy(rng.normal(size=(5, images, 2, channels))).to(dtype)
    matrices = torch.from_numpy(rng.normal(size=(config.num_steps, channels, channels))).to(dtype)
    signs, numbers = draw_signs(rng, pairs, config, ()), draw_numbers(rng, pairs, config, ())
    return pairs, rep, matrices, signs, numbers


def loss_of(config, pairs, rep, matrices, signs, numbers, **flags):
    scores = plan_scores(pairs, config, signs=signs, numbers=numbers, like=rep)
    return hinge_loss(rep, matrices, scores, pairs, **flags)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_gradcheck(config):
    pairs, rep, matrices, signs, numbers = problem(config)
    scores = plan_scores(pairs, config, signs=signs, numbers=numbers, like=rep)
    inputs = (rep.requires_grad_(), matrices.requires_grad_())
    assert torch.autograd.gradcheck(lambda z, w: 3 * hinge_loss(z, w, scores, pairs), inputs)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_gradients_of_the_two_sides_add_up(config):
    pairs, rep, matrices, signs, numbers = problem(config)
    grads = []
    for flags in ({}, {"to_context": False}, {"to_target": False}):
        z = rep.clone().requires_grad_()
        loss_of(config, pairs, z, matrices.requires_grad_(), signs, numbers, **flags).backward()
        grads.append(z.grad)
    torch.testing.assert_close(grads[0], grads[1] + grads[2])
    assert not torch.allclose(grads[1], grads[2])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), synchronous=st.booleans(), kind=st.sampled_from(KINDS[:2]))
def test_permuting_images_with_their_draws_changes_nothing(seed, synchronous, kind):
    config = ClappConfig(num_steps=2, synchronous=synchronous, negatives=kind)
    pairs, rep, matrices, signs, numbers = problem(config, seed=seed)
    order = generator("order", seed).permutation(4)
    place = np.argsort(order)
    parts = np.split(numbers, np.cumsum(pairs.step_sizes)[:-1], axis=-1)
    moved = [place[part.reshape(-1, 4, 2)[:, order]].reshape(1, -1) for part in parts]
    before = loss_of(config, pairs, rep, matrices, signs, numbers)
    after = loss_of(
        config,
        pairs,
        rep[:, torch.from_numpy(order)].contiguous(),
        matrices,
        None if signs is None else signs[order],
        np.concatenate(moved, axis=-1),
    )
    torch.testing.assert_close(before, after)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS), synchronous=st.booleans())
def test_rotating_channels_with_the_weights_changes_nothing(seed, kind, synchronous):
    config = ClappConfig(num_steps=2, synchronous=synchronous, negatives=kind, num_negatives=2)
    pairs, rep, matrices, signs, numbers = problem(config, seed=seed)
    q = torch.linalg.qr(torch.from_numpy(generator("turn", seed).normal(size=(3, 3))))[0]
    before = loss_of(config, pairs, rep, matrices, signs, numbers)
    after = loss_of(config, pairs, rep @ q, q.T @ matrices @ q, signs, numbers)
    torch.testing.assert_close(before, after)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS), synchronous=st.booleans())
def test_zero_scores_cost_one_a_term(seed, kind, synchronous):
    config = ClappConfig(num_steps=2, synchronous=synchronous, negatives=kind, num_negatives=3)
    pairs, rep, matrices, signs, numbers = problem(config, seed=seed)
    terms = 2 if signs is None else len(set(signs.tolist()))
    loss = loss_of(config, pairs, rep, 0 * matrices, signs, numbers)
    torch.testing.assert_close(loss, torch.tensor(float(terms), dtype=loss.dtype))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(4, 7),
    images=st.integers(1, 5),
    columns=st.integers(1, 4),
    kind=st.sampled_from(KINDS),
)
def test_negatives_lie_where_their_kind_says(seed, rows, images, columns, kind):
    config = ClappConfig(num_steps=2, synchronous=True, negatives=kind, num_negatives=2)
    pairs = Pairs(num_rows=rows, num_images=images, num_columns=columns, num_steps=2, skip=1)
    numbers = draw_numbers(generator(seed), pairs, config, (2, 1))
    scores = plan_scores(pairs, config, signs=None, numbers=numbers, like=torch.zeros(()))
    own, negative = scores.locations[..., :1, :].numpy(), scores.locations[..., 1:, :].numpy()
    row, image, column = np.unravel_index(own, (rows, images, columns))
    context_row = pairs.context // pairs.row_size
    assert np.array_equal(row, np.broadcast_to(context_row + pairs.step + 2, row.shape))
    assert np.array_equal(image, np.broadcast_to(pairs.image, image.shape))
    their_row, their_image, their_column = np.unravel_index(negative, (rows, images, columns))
    if kind == "everywhere":
        assert (their_row >= pairs.step + 2).all()
    else:
        assert np.array_equal(their_row, np.broadcast_to(row, their_row.shape))
        assert np.array_equal(their_column, np.broadcast_to(column, their_row.shape))
    if kind == "same_image":
        assert all(
            len(np.unique(their_image[0, 0, n][(pairs.step == 0) & (pairs.image == b)])) == 1
            for b in range(images)
            for n in range(2)
        )
    torch.testing.assert_close(scores.weights[0, 0].sum(), torch.tensor(2.0))


def build(config, channels=(4, 8)):
    return build_objective(config, channels=channels, num_cells=49, num_classes=0, seed_words=(0, "a"))


def test_draws_are_fresh_for_every_layer_and_set_and_repeat_with_the_key():
    objective = build(ClappConfig())
    draws = [
        objective.draw(generator("negatives", key), given_of(32), num_rows=7, num_columns=7).scores
        for key in (0, 0, 1)
    ]
    assert draws[0].locations.shape == draws[0].weights.shape == (2, 2, 1, 105 * 32)
    assert torch.equal(draws[0].locations, draws[1].locations)
    assert torch.equal(draws[0].signs, draws[1].signs)
    assert not torch.equal(draws[0].locations, draws[2].locations)
    flat = draws[0].locations.flatten(0, 1)
    assert not any(torch.equal(flat[i], flat[j]) for i in range(4) for j in range(i))


def test_symmetric_has_one_set_of_weights():
    symmetric, asymmetric = build(ClappConfig(symmetric=True)), build(ClappConfig())
    count = [sum(p.numel() for p in o.parameters()) for o in (symmetric, asymmetric)]
    assert count == [5 * (16 + 64), 2 * 5 * (16 + 64)]
    assert len(asymmetric.layer_parameters(1)) == 2


def test_under_autocast_only_the_products_are_narrow():
    config = ClappConfig(num_steps=2, symmetric=True)
    pairs, rep, matrices, signs, numbers = problem(config, channels=16, dtype=torch.float32)
    rep, matrices = rep.requires_grad_(), (matrices * 0.02).requires_grad_()
    scores = plan_scores(pairs, config, signs=signs, numbers=numbers, like=rep.detach())
    wide = hinge_loss(rep, matrices, scores, pairs)
    wide_grads = torch.autograd.grad(wide, (rep, matrices))
    with torch.autocast("cpu", torch.bfloat16):
        narrow = hinge_loss(rep, matrices, scores, pairs)
        narrow_grads = torch.autograd.grad(narrow, (rep, matrices))
    assert narrow.dtype == torch.float32
    assert narrow != wide, "the products were not taken in bfloat16"
    # a loss summed in bfloat16 would be off by 2^-8; the products' own rounding is far smaller here
    assert abs(narrow - wide) < 2e-3 * wide
    for ours, expected in zip(narrow_grads, wide_grads, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - expected).norm() < 0.02 * expected.norm()


def test_a_score_that_is_not_a_number_makes_the_loss_not_a_number():
    config = ClappConfig(num_steps=2, symmetric=True)
    pairs, rep, matrices, signs, numbers = problem(config)
    rep[2, 1, 0, 0] = float("nan")
    assert loss_of(config, pairs, rep, matrices, signs, numbers).isnan()
