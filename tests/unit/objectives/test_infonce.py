"""InfoNCE: parity with the formula, gradcheck, draws, invariances, memory, bad settings."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.forms.randomness import generator
from raytrain.bench.locality import peak_bytes
from raytrain.config import InfonceConfig, from_mapping
from raytrain.errors import ConfigError
from raytrain.objectives import build_objective
from raytrain.objectives.infonce import infonce_loss
from raytrain.objectives.scores import Pairs, draw_numbers, plan_choices
from tests.given import given_of

KINDS = ("same_image", "per_location", "everywhere")
CONFIGS = [
    InfonceConfig(num_steps=2, negatives=kind, num_negatives=count) for kind in KINDS for count in (1, 3)
]
ROWS, COLUMNS = 5, 2


def problem(config, *, seed=0, images=4, channels=3, dtype=torch.float64):
    rng = generator("problem", seed)
    pairs = Pairs(
        num_rows=ROWS, num_images=images, num_columns=COLUMNS, num_steps=config.num_steps, skip=config.skip
    )
    rep = torch.from_numpy(rng.normal(size=(ROWS, images, COLUMNS, channels))).to(dtype)
    matrices = torch.from_numpy(rng.normal(size=(config.num_steps, channels, channels))).to(dtype)
    return pairs, rep, matrices, draw_numbers(rng, pairs, config, ())


def loss_of(config, pairs, rep, matrices, numbers, **flags):
    choices, weights = plan_choices(pairs, config, numbers=numbers, like=rep)
    return infonce_loss(rep, matrices, choices, weights, pairs, **flags)


def plain_losses(config, pairs, rep, matrices, numbers):
    """The formula, score by score: (the logarithm itself, log(p + 1e-11) as the published code has it)."""
    z, images = rep.numpy(), pairs.num_images
    exact, published = [], []
    for k in range(config.num_steps):
        offset, terms = k + 1 + config.skip, []
        first = sum(pairs.step_sizes[:k])
        for y in range(ROWS - offset):
            for b in range(images):
                for x in range(COLUMNS):
                    number = numbers[:, first + (y * images + b) * COLUMNS + x]
                    predicted = z[y, b, x] @ matrices[k].numpy()
                    others = [z[y + offset, b, x]]
                    for n in number:
                        if config.negatives == "everywhere":
                            row, rest = divmod(n, images * COLUMNS)
                            others.append(z[offset + row, rest // COLUMNS, rest % COLUMNS])
                        else:
                            others.append(z[y + offset, n, x])
                    p = np.exp([predicted @ other for other in others])
                    terms.append(p[0] / p.sum())
        exact.append(-np.log(terms).mean())
        published.append(-np.log(np.array(terms) + 1e-11).mean())
    return np.mean(exact), np.mean(published)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_loss_equals_the_formula(config):
    pairs, rep, matrices, numbers = problem(config)
    exact, published = plain_losses(config, pairs, rep, matrices, numbers)
    loss = loss_of(config, pairs, rep, matrices, numbers).item()
    assert loss == pytest.approx(exact, rel=1e-12)
    assert loss == pytest.approx(published, rel=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_gradcheck(config):
    pairs, rep, matrices, numbers = problem(config)
    inputs = (rep.requires_grad_(), matrices.requires_grad_())
    assert torch.autograd.gradcheck(lambda z, w: loss_of(config, pairs, z, w, numbers) ** 2, inputs)


def test_gradients_of_the_two_sides_add_up():
    config = CONFIGS[-1]
    pairs, rep, matrices, numbers = problem(config)
    grads = []
    for flags in ({}, {"to_context": False}, {"to_target": False}):
        z = rep.clone().requires_grad_()
        loss_of(config, pairs, z, matrices.requires_grad_(), numbers, **flags).backward()
        grads.append(z.grad)
    torch.testing.assert_close(grads[0], grads[1] + grads[2])
    assert not torch.allclose(grads[1], grads[2])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS))
def test_permuting_images_with_their_draws_changes_nothing(seed, kind):
    config = InfonceConfig(num_steps=2, negatives=kind, num_negatives=3)
    pairs, rep, matrices, numbers = problem(config, seed=seed)
    order = generator("order", seed).permutation(4)
    place = np.argsort(order)
    moved = []
    for part in np.split(numbers, np.cumsum(pairs.step_sizes)[:-1], axis=-1):
        grid = part.reshape(3, -1, 4, COLUMNS)[:, :, order]
        if kind == "everywhere":
            row, image, column = np.unravel_index(grid, (ROWS, 4, COLUMNS))
            grid = (row * 4 + place[image]) * COLUMNS + column
        else:
            grid = place[grid]
        moved.append(grid.reshape(3, -1))
    before = loss_of(config, pairs, rep, matrices, numbers)
    turned = rep[:, torch.from_numpy(order)].contiguous()
    torch.testing.assert_close(
        loss_of(config, pairs, turned, matrices, np.concatenate(moved, axis=-1)), before
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS))
def test_rotating_channels_with_the_weights_changes_nothing(seed, kind):
    config = InfonceConfig(num_steps=2, negatives=kind, num_negatives=2)
    pairs, rep, matrices, numbers = problem(config, seed=seed)
    q = torch.linalg.qr(torch.from_numpy(generator("turn", seed).normal(size=(3, 3))))[0]
    before = loss_of(config, pairs, rep, matrices, numbers)
    torch.testing.assert_close(loss_of(config, pairs, rep @ q, q.T @ matrices @ q, numbers), before)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_equal_scores_cost_the_logarithm_of_their_number(config, images):
    pairs, rep, matrices, numbers = problem(config, images=images)
    loss = loss_of(config, pairs, rep, 0 * matrices, numbers)
    assert loss.item() == pytest.approx(np.log(1 + config.num_negatives))


def test_huge_scores_stay_finite_and_exact():
    config = InfonceConfig(num_steps=2, negatives="same_image", num_negatives=1)
    pairs, rep, matrices, numbers = problem(config, dtype=torch.float32)
    rep = rep * 1e3
    rep.requires_grad_()
    loss = loss_of(config, pairs, rep, matrices, numbers)
    loss.backward()
    assert loss > 1e5, "the softmax of these scores is 0 in float32: log(p + 1e-11) would end at 25"
    assert rep.grad.isfinite().all()
    assert rep.grad.abs().max() > 0


def test_a_score_that_is_not_a_number_makes_the_loss_not_a_number():
    config = CONFIGS[0]
    pairs, rep, matrices, numbers = problem(config)
    rep[2, 1, 0, 0] = float("nan")
    assert loss_of(config, pairs, rep, matrices, numbers).isnan()


def build(config, channels=(4, 8)):
    return build_objective(config, channels=channels, num_cells=49, num_classes=0, seed_words=(0, "a"))


def test_draws_are_fresh_for_every_layer_and_set_and_repeat_with_the_key():
    objective = build(InfonceConfig(symmetric=False))
    draws = [
        objective.draw(generator("negatives", key), given_of(32), num_rows=7, num_columns=7)
        for key in (0, 0, 1)
    ]
    assert draws[0].choices.shape == (2, 2, 17, 105 * 32)
    assert torch.equal(draws[0].choices, draws[1].choices)
    assert not torch.equal(draws[0].choices, draws[2].choices)
    negatives = draws[0].choices[:, :, 1:].flatten(0, 2)
    assert len(negatives.unique(dim=0)) == 2 * 2 * 16
    assert torch.equal(draws[0].choices[0, 0, 0], draws[0].choices[1, 1, 0]), "targets are not drawn"
    torch.testing.assert_close(draws[0].weights.sum(), torch.tensor(1.0))


def test_negatives_come_from_all_rows_columns_and_images_of_the_target_block():
    objective = build(InfonceConfig(num_steps=2))
    draws = objective.draw(generator(0), given_of(4), num_rows=7, num_columns=7)
    for step, first in ((0, 0), (1, 5 * 28)):
        last = first + (5 - step) * 28
        negatives = draws.choices[0, 0, 1:, first:last]
        block = torch.arange((step + 2) * 28, 7 * 28)
        assert torch.equal(negatives.unique(), block)


def test_local_has_a_loss_at_every_layer_and_end_to_end_one_at_the_last():
    local, joined = build(InfonceConfig()), build(InfonceConfig(local=False))
    assert (local.local, local.layers) == (True, (0, 1))
    assert (joined.local, joined.layers) == (False, (1,))
    assert [p.shape for p in local.layer_parameters(0)] == [(5, 4, 4)]
    assert [name for name, _ in joined.named_parameters()] == ["predictors.1.weight"]
    asymmetric = build(InfonceConfig(symmetric=False))
    assert len(asymmetric.layer_parameters(1)) == 2


def test_asymmetric_sums_two_losses_with_one_side_detached_each():
    objective = build(InfonceConfig(num_steps=2, symmetric=False)).double()
    draws = objective.draw(generator(0), given_of(3), num_rows=5, num_columns=2)
    rep = torch.from_numpy(generator("rep").normal(size=(5, 3, 2, 8))).requires_grad_()
    loss = objective.layer_loss(1, rep, given_of(3, draws))
    loss.backward()
    whole, rep.grad = rep.grad, None
    parts = []
    for number, flags in enumerate(({"to_context": False}, {"to_target": False})):
        matrices = objective.layer_parameters(1)[number].detach()
        choices = draws.choices[1, number]
        parts.append(infonce_loss(rep, matrices, choices, draws.weights, draws.pairs, **flags))
    sum(parts).backward()
    torch.testing.assert_close(loss, sum(parts))
    torch.testing.assert_close(whole, rep.grad)


def test_observed_score_is_the_mean_of_all_scores():
    objective = build(InfonceConfig(num_steps=2, num_negatives=3, symmetric=False)).double()
    draws = objective.draw(generator(0), given_of(3), num_rows=5, num_columns=2)
    rep = torch.from_numpy(generator("rep").normal(size=(5, 3, 2, 8)))
    flat, expected = rep.view(-1, 8).numpy(), []
    for number, matrices in enumerate(objective.layer_parameters(1)):
        choices = draws.choices[1, number].numpy()
        for pair, (k, context) in enumerate(zip(draws.pairs.step, draws.pairs.context, strict=True)):
            predicted = flat[context] @ matrices[k].detach().numpy()
            expected += [abs(predicted @ flat[choice]) for choice in choices[:, pair]]
    seen = objective.observe(1, rep, given_of(3, draws))
    assert seen.keys() == {"score"}
    assert seen["score"].item() == pytest.approx(np.mean(expected))


def test_memory_does_not_grow_with_the_number_of_negatives():
    peaks = []
    for count in (1, 16):
        objective = build(InfonceConfig(local=False, num_negatives=count), channels=(64,))
        draws = objective.draw(generator(0), given_of(8), num_rows=7, num_columns=7)
        rep = torch.randn(7, 8, 7, 64, requires_grad=True)
        peaks.append(
            peak_bytes(lambda o=objective, r=rep, d=draws: o.layer_loss(0, r, given_of(8, d)).backward())
        )
    predictions = 105 * 8 * 64 * 4
    assert peaks[1] < peaks[0] + predictions
    assert peaks[1] < 6 * predictions, "16 gathered copies would be 16 times the predictions"


def test_under_autocast_only_the_products_are_narrow():
    config = InfonceConfig(num_steps=2)
    pairs, rep, matrices, numbers = problem(config, channels=16, dtype=torch.float32)
    rep, matrices = rep.requires_grad_(), (matrices * 0.2).requires_grad_()
    wide = loss_of(config, pairs, rep, matrices, numbers)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = loss_of(config, pairs, rep, matrices, numbers)
    assert narrow.dtype == torch.float32
    assert narrow != wide, "the products were not taken in bfloat16"
    assert abs(narrow - wide) < 2e-3 * wide


def settings_with(objective):
    return {"pathways": {"a": {"objective": {"name": "infonce", **objective}}}}


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match=r"objective\.num_negatives is 0; it must be at least 1"):
        from_mapping(settings_with({"num_negatives": 0}))
    with pytest.raises(ConfigError, match=r"objective\.locl; did you mean 'local'\?"):
        from_mapping(settings_with({"locl": False}))
    with pytest.raises(ConfigError, match=r"objective\.num_steps 6 with skip 1 needs 8"):
        from_mapping(settings_with({"num_steps": 6}))
