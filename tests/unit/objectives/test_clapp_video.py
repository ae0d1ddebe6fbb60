"""The hinge over all pairs of a clip: the published code's values, blocks, invariances, what is too short."""

from pathlib import Path

import numpy as np
import pytest
import torch

import raytrain.objectives.clapp_video as clapp_video
from raytrain.config import ClappVideoConfig
from raytrain.errors import ConfigError
from raytrain.objectives import build_objective
from raytrain.objectives.clapp_video import all_pairs_hinge_loss
from tests.given import given_of

FIXTURE = np.load(Path(__file__).parents[2] / "fixtures" / "clapp_parity.npz")
ROWS, IMAGES, COLUMNS, CHANNELS = 5, 3, 4, 3


def problem(seed=0, num_steps=2, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.normal(size=(ROWS, IMAGES, COLUMNS, CHANNELS))).to(dtype)
    matrices = torch.from_numpy(rng.normal(size=(num_steps, CHANNELS, CHANNELS))).to(dtype)
    return 0.6 * rows, 0.6 * matrices


def plain(rows, matrices, *, spatial):
    """Write the formula down with the whole score matrix."""
    num_steps = len(matrices)
    states, losses = rows[: len(rows) - num_steps], []
    for k, matrix in enumerate(matrices, start=1):
        predictions = torch.einsum("oi,rbqi->rbqo", matrix, states)
        targets = rows[k : len(rows) - num_steps + k]
        spec = "rbqc,stuc->rbqstu" if spatial else "rbqc,stqc->rbst"
        scores = torch.einsum(spec, predictions, targets)
        n = round(scores.numel() ** 0.5)
        scores = scores.reshape(n, n)
        own = torch.eye(n, dtype=torch.bool)
        losses.append(((1 - scores[own]).relu().mean() + (1 + scores[~own]).relu().mean()) / 2)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("block", [1 << 22, 7])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, (1e-10, 1e-14)), (torch.float32, (2e-5, 1e-6))]
)
@pytest.mark.parametrize("kind", ["flat", "spatial"])
def test_loss_and_gradients_equal_the_published_code(kind, dtype, tolerance, block, monkeypatch):
    monkeypatch.setattr(clapp_video, "BLOCK_SCORES", block)
    relative, absolute = tolerance
    z = torch.tensor(FIXTURE["F.z"], dtype=dtype).requires_grad_()  # batch, channel, time, y, x
    matrices = torch.tensor(FIXTURE[f"F.{kind}.W"], dtype=dtype).requires_grad_()
    loss = all_pairs_hinge_loss(z.permute(2, 0, 3, 4, 1).flatten(2, 3), matrices, spatial=kind == "spatial")
    loss.backward()
    for ours, name in ((loss.detach(), "loss"), (z.grad, "dz"), (matrices.grad, "dW")):
        expected = FIXTURE[f"F.{kind}.{name}"]
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(ours.numpy(), expected, rtol=relative, atol=absolute)


@pytest.mark.parametrize("block", [1 << 22, 100, 1])
@pytest.mark.parametrize("spatial", [False, True])
def test_blocks_change_nothing(spatial, block, monkeypatch):
    monkeypatch.setattr(clapp_video, "BLOCK_SCORES", block)
    rows, matrices = problem()
    inputs = [rows.requires_grad_(), matrices.requires_grad_()]
    ours, expected = (
        all_pairs_hinge_loss(rows, matrices, spatial=spatial),
        plain(rows, matrices, spatial=spatial),
    )
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        torch.autograd.grad(3 * ours, inputs), torch.autograd.grad(3 * expected, inputs)
    )


@pytest.mark.parametrize("spatial", [False, True])
def test_gradcheck(spatial):
    rows, matrices = problem(seed=1)
    assert torch.autograd.gradcheck(
        lambda z, w: all_pairs_hinge_loss(z, w, spatial=spatial),
        (rows.requires_grad_(), matrices.requires_grad_()),
    )


def test_memory_of_the_scores_is_bounded(monkeypatch):
    monkeypatch.setattr(clapp_video, "BLOCK_SCORES", 500)
    rows, _ = problem()
    predictions, targets = (rows[first : first + 3].reshape(-1, CHANNELS) for first in (0, 1))
    blocks = list(clapp_video._score_blocks(predictions, targets))
    assert sum(len(scores) for _, scores in blocks) == len(targets) == 36
    assert max(scores.numel() for _, scores in blocks) <= 500
    assert len(blocks) == 3


@pytest.mark.parametrize("spatial", [False, True])
def test_permuting_images_and_pixels_changes_nothing(spatial):
    rows, matrices = problem()
    before = all_pairs_hinge_loss(rows, matrices, spatial=spatial)
    for moved in (rows[:, [2, 0, 1]], rows[:, :, [3, 1, 0, 2]]):
        torch.testing.assert_close(all_pairs_hinge_loss(moved, matrices, spatial=spatial), before)
    assert not torch.isclose(all_pairs_hinge_loss(rows.flip(0), matrices, spatial=spatial), before)


def test_a_single_vector_has_no_negative():
    rows, matrices = problem(num_steps=4)
    loss = all_pairs_hinge_loss(rows[:, :1], matrices, spatial=False)
    own = torch.stack(
        [(rows[k + 1, 0] * (rows[0, 0] @ matrix.t())).sum() for k, matrix in enumerate(matrices)]
    )
    torch.testing.assert_close(loss, 0.5 * (1 - own).relu().mean())


def build(num_rows=None, channels=(2, CHANNELS), **settings):
    return build_objective(
        ClappVideoConfig(num_steps=2, **settings),
        channels=channels,
        num_cells=ROWS * COLUMNS,
        num_classes=0,
        seed_words=(0, "a"),
        num_rows=num_rows,
    )


@pytest.mark.parametrize("vectors", ["flat", "spatial"])
@pytest.mark.parametrize("local", [False, True])
def test_the_objective_is_that_loss_of_its_layers(local, vectors):
    objective = build(local=local, vectors=vectors, num_rows=(9, ROWS)).double()
    rows, _ = problem()
    assert objective.layers == ((0, 1) if local else (1,))
    assert objective.local is local
    assert objective.device == torch.device("cpu")
    draws = objective.draw(np.random.default_rng(0), given_of(IMAGES), num_rows=1, num_columns=1)
    (weight,) = objective.layer_parameters(1)
    loss = objective.layer_loss(1, rows, given_of(IMAGES, draws))
    torch.testing.assert_close(loss, plain(rows, weight, spatial=vectors == "spatial"))
    loss.backward()
    trained = {name for name, value in objective.named_parameters() if value.grad is not None}
    assert trained == {"predictors.1.weight"}


@pytest.mark.parametrize("vectors", ["flat", "spatial"])
def test_observe_counts_the_terms(vectors, monkeypatch):
    monkeypatch.setattr(clapp_video, "BLOCK_SCORES", 50)
    objective, (rows, _) = build(vectors=vectors).double(), problem()
    (weight,) = objective.layer_parameters(1)
    weight.data.mul_(4)
    spec = "rbqc,stuc->rbqstu" if vectors == "spatial" else "rbqc,stqc->rbst"
    figures = []
    for k, matrix in enumerate(weight.detach(), start=1):
        scores = torch.einsum(spec, rows[:-2] @ matrix.t(), rows[k : k + ROWS - 2])
        n = round(scores.numel() ** 0.5)
        scores, own = scores.reshape(n, n), torch.eye(n, dtype=torch.bool)
        active = (scores[own] < 1).double().mean(), (scores[~own] > -1).double().mean()
        figures.append(torch.stack([scores.abs().mean(), *active]))
    names = ("score", "active_positive", "active_negative")
    expected = dict(zip(names, torch.stack(figures).mean(0), strict=True))
    seen = objective.observe(1, rows, given_of(IMAGES))
    torch.testing.assert_close(seen, expected)
    assert 0 < seen["active_negative"] < 1


def test_scores_are_wide_under_autocast():
    rows, matrices = problem(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = all_pairs_hinge_loss(rows, matrices, spatial=True)
    assert torch.equal(narrow, all_pairs_hinge_loss(rows, matrices, spatial=True))
    given = given_of(IMAGES, torch.ones(()))
    objective, plainly = build(), build().observe(1, rows, given)
    with torch.autocast("cpu", torch.bfloat16):
        assert objective.layer_loss(1, rows.bfloat16(), given).dtype == torch.float32
        assert objective.observe(1, rows, given) == plainly


TOO_SHORT = r"objective.num_steps is 2, but layer{} has {} of time and needs 3; raise cut.num_frames or lower"


def test_too_few_steps_of_time_are_refused():
    with pytest.raises(ConfigError, match=TOO_SHORT.format(2, "1 step")):
        build(num_rows=(9, 1))
    with pytest.raises(ConfigError, match=TOO_SHORT.format(1, "2 steps")):
        build(num_rows=(2, 9))
    build(num_rows=(2, 9), local=False)
    with pytest.raises(ConfigError, match=TOO_SHORT.format(2, "2 steps")):
        build().layer_loss(1, problem()[0][:2], given_of(IMAGES))


def test_settings_are_checked():
    with pytest.raises(ConfigError, match=r"objective.num_steps is 0; it must be at least 1"):
        ClappVideoConfig(num_steps=0)
