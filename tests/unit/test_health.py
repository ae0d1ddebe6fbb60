"""Health: figures against plain formulas, observation that changes nothing, and every collapse planted."""

import json
import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pipelines.forms.randomness import generator, hash_keys
from pipelines.stream.batch import Batch
from pipelines.views.standardise import Standardiser
from raytrain.config import (
    ClappConfig,
    HingeCpcConfig,
    LbpConfig,
    OptimizerConfig,
    PathwayConfig,
    SupervisedConfig,
    TrainingConfig,
    Vgg6Config,
)
from raytrain.health import GRACE_LINES, RANK_ROWS, HealthJudge, HealthMeter, effective_rank, summarise
from raytrain.pathway import Pathway
from tests.given import given_of

CPU = torch.device("cpu")
LAYERS = [f"layer{number}" for number in range(1, 7)]
SCORES = {"score", "active_positive", "active_negative"}
ALWAYS = {"dead", "rms", "rank"}


def batch_of(step, *, images=4, first=None):
    positions = np.arange(images) + (images * step if first is None else first)
    keys = [f"image-{position}" for position in positions]
    pixels = [generator("light", int(p)).integers(0, 256, (3, 64, 64), dtype=np.uint8) for p in positions]
    return Batch(
        epoch=0,
        step=step,
        keys=keys,
        key_hashes=hash_keys(keys),
        positions=positions,
        valid=np.ones(images, dtype=bool),
        groups=np.zeros(images, dtype=np.int64),
        labels=torch.from_numpy(positions % 3),
        factors=torch.zeros(images, 0),
        pixels=torch.from_numpy(np.stack(pixels)),
    )


def build(objective=None, *, width=1 / 32, training=None, device=CPU, **encoder):
    return Pathway(
        "lbp",
        PathwayConfig(
            operator=LbpConfig(),
            objective=objective or ClappConfig(),
            encoder=Vgg6Config(width=width, **encoder),
            optimizer=OptimizerConfig(learning_rate=1e-3),
        ),
        seed=0,
        canvas_px=64,
        num_classes=3,
        device=device,
        training=training or TrainingConfig(),
        standardiser=Standardiser(mean=[0.3], deviation=[0.25]),
    )


def observed(pathway, batch, **options):
    meter = HealthMeter()
    return meter.read(pathway.step(batch, watch=meter, **options).losses)


def rank_by_singular_values(rows):
    shares = np.linalg.svd(np.asarray(rows, np.float64), compute_uv=False)
    shares = shares[shares > 1e-12 * shares.max()] / shares.sum()
    return math.exp(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (200, 30), (RANK_ROWS, 300)])
def test_effective_rank_is_the_entropy_of_the_singular_values(shape):
    rows = generator("rank", *shape).normal(size=shape) * np.linspace(0, 1, shape[1])
    assert effective_rank(torch.from_numpy(rows)) == pytest.approx(rank_by_singular_values(rows), rel=1e-6)


def test_effective_rank_of_known_matrices():
    assert effective_rank(torch.zeros(10, 4)) == 0
    assert effective_rank(torch.full((300, 64), 0.37)) == pytest.approx(1, abs=1e-4)
    assert effective_rank(torch.eye(7).repeat(40, 3)) == pytest.approx(7, rel=0.01)
    many = torch.from_numpy(generator("many").normal(size=(4000, 20)))
    assert effective_rank(many) == pytest.approx(rank_by_singular_values(many), rel=0.02)


@pytest.mark.parametrize("num_columns", [1, 7, 49])
def test_the_rows_of_a_large_batch_are_spread_over_its_columns(num_columns):
    """Rows of one column only, as a plain stride would pick, have another rank than all rows."""
    rows = torch.eye(num_columns).repeat(RANK_ROWS, 1)
    assert effective_rank(rows) == pytest.approx(num_columns, rel=0.02)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("synchronous", [True, False])
def test_figures_of_the_scores_are_those_of_the_formula(symmetric, synchronous):
    settings = {"negatives": "everywhere", "num_negatives": 3} if synchronous else {}
    config = ClappConfig(num_steps=2, symmetric=symmetric, synchronous=synchronous, **settings)
    words = ("draws", 1)  # of which both signs come
    objective = build(config).objective
    cells = torch.from_numpy(generator("cells").normal(size=(7, 6, 7, 32))).float()
    draws = objective.draw(generator(*words), given_of(6), num_rows=7, num_columns=7)
    found = objective.observe(5, cells, given_of(6, draws))
    flat, pairs = cells.reshape(-1, 32).double(), draws.pairs
    sizes, positive, negative = [], [], []
    for number, matrices in enumerate(objective.layer_parameters(5)):
        scores = draws.scores.at(5, number)
        for pair in range(len(pairs.context)):
            predicted = flat[pairs.context[pair]] @ matrices[pairs.step[pair]].detach().double()
            for sign, place in zip(scores.signs[:, pair], scores.locations[:, pair], strict=True):
                score = float(predicted @ flat[place])
                sizes.append(abs(score))
                terms = positive if sign > 0 else negative
                terms.append(max(0.0, 1 - float(sign) * score) > 0)
    assert found.keys() == SCORES
    assert float(found["score"]) == pytest.approx(np.mean(sizes), rel=1e-4)
    assert 0 < np.mean(positive) < 1
    assert 0 < np.mean(negative) < 1
    assert float(found["active_positive"]) == pytest.approx(np.mean(positive), abs=1e-6)
    assert float(found["active_negative"]) == pytest.approx(np.mean(negative), abs=1e-6)


def test_a_meter_sees_every_layer_as_the_loss_did():
    pathway, plain = build(batch_norm=True), build(batch_norm=True)
    losses, health = observed(pathway, batch_of(0), rank=3)
    assert list(health) == LAYERS
    assert losses == plain.step(batch_of(0), rank=3).losses.tolist()
    plain = build(batch_norm=True)
    maps = plain.views(batch_of(0), train=True).flatten(0, 2)
    draws = plain.objective.draw(
        generator("negatives", 0, "lbp", 0, 0, 3), given_of(4), num_rows=7, num_columns=7
    )
    with torch.no_grad():
        for index, layer in enumerate(plain.encoder.layers):
            representation_map, maps = layer(maps)
            cells = representation_map.mean((2, 3))
            seen = health[f"layer{index + 1}"]
            assert seen.keys() == SCORES | ALWAYS
            assert seen["rms"] == pytest.approx(float(cells.square().mean().sqrt()), rel=1e-4)
            assert seen["dead"] == float((cells == 0).all(0).float().mean())
            assert seen["rank"] == pytest.approx(rank_by_singular_values(cells), rel=1e-3)
            scores = plain.objective.observe(index, cells.view(7, 4, 7, -1), given_of(4, draws))
            assert {name: seen[name] for name in SCORES} == pytest.approx(
                {name: float(value) for name, value in scores.items()}, rel=1e-3
            )


@pytest.mark.parametrize(
    ("objective", "scored"),
    [(HingeCpcConfig(), {"layer6"}), (SupervisedConfig(), set()), (None, set(LAYERS))],
)
def test_an_objective_defines_figures_for_the_layers_it_scores(objective, scored):
    losses, health = observed(build(objective), batch_of(0))
    assert list(health) == LAYERS
    for name, figures in health.items():
        assert figures.keys() == (ALWAYS | SCORES if name in scored else ALWAYS)
    assert len(losses) == max(1, len(scored))


def test_a_kind_of_terms_that_was_not_drawn_is_absent():
    pathway = build(ClappConfig(symmetric=True))
    found = [observed(pathway, batch_of(step, images=2))[1]["layer1"].keys() for step in range(4)]
    assert any(names & SCORES != SCORES for names in found)
    assert all({"score"} | ALWAYS <= names for names in found)


OBJECTIVES = (
    ClappConfig(),
    ClappConfig(symmetric=True, synchronous=True),
    HingeCpcConfig(),
    SupervisedConfig(),
)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda config: config.name)
def test_observation_changes_no_bit_and_draws_nothing(objective, precision):
    training = TrainingConfig(precision=precision)
    watched, alone = (build(objective, training=training, batch_norm=True) for _ in range(2))
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the one nobody may touch
    for step in range(3):
        losses = observed(watched, batch_of(step))[0]
        assert losses == alone.step(batch_of(step)).losses.tolist()
    states = watched.state_tensors(), alone.state_tensors()
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
    assert all(not tensor.requires_grad or tensor.grad is None for tensor in watched.encoder.parameters())


class Waits(TorchDispatchMode):
    """Names the operations that would wait for a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "_linalg_eigh", "masked_select", "_unique2")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__.split(".")[0]
        self.found += [name] if name in self.WAITING else []
        return function(*args, **(kwargs or {}))


def test_an_observed_step_does_not_wait_for_the_device():
    pathway, meter = build(), HealthMeter()
    pathway._defers_check = True  # as on CUDA
    with Waits() as waits:
        losses = pathway.step(batch_of(0), watch=meter).losses
        assert waits.found == []
        meter.read(losses)
    assert "_linalg_eigh" in waits.found, "the figures were made nowhere"


def watched_steps(rank):
    digests, images = [], 2 * dist.get_world_size()
    for watches in (False, True):
        pathway = build(batch_norm=True)
        for step in range(2):
            share = batch_of(step, images=2, first=images * step + 2 * rank)
            meter = HealthMeter() if watches and rank == 0 else None
            losses = pathway.step(share, rank=rank, watch=meter).losses
        digests.append(pathway.weights_sha256())
    return digests, meter and meter.read(losses)[1]


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.slow
def test_one_of_several_ranks_may_look(ranks, world_size):
    digests, health = zip(*ranks.run(world_size, watched_steps), strict=True)
    assert len({digest for pair in digests for digest in pair}) == 1
    assert list(health[0]) == LAYERS
    assert health[1:] == (None,) * (world_size - 1)


def lines_of(pathway, *, count=GRACE_LINES + 3, images=4, plant=None):
    """Train `count` steps, every one logged; `plant` before each."""
    for step in range(count):
        if plant:
            with torch.no_grad():
                plant(pathway)
        yield {"pathway": "lbp", "step": step, "health": observed(pathway, batch_of(step, images=images))[1]}


def warnings_of(pathway, **options):
    judge = HealthJudge()
    lines = list(lines_of(pathway, **options))
    found = [judge.take(line, channels=pathway.encoder.channels) for line in lines]
    assert not any(found[:GRACE_LINES]), "judged within the grace"
    return [warning for warnings in found for warning in warnings]


def top(pathway):
    return pathway.encoder.layers[5].conv


def plant_zero_weights(pathway):
    top(pathway).weight.zero_()
    top(pathway).bias.zero_()


def plant_constant_rows(pathway):
    top(pathway).weight.zero_()
    top(pathway).bias.copy_(torch.linspace(0.2, 2.0, 32))


def plant_dead_units(pathway):
    plant_zero_weights(pathway)
    top(pathway).bias[:2] = 2.0


def plant_huge_weights(pathway):
    top(pathway).weight.copy_(build().encoder.layers[5].conv.weight * 1e6)


class OneUnitAnImage(nn.Module):
    """A layer whose patches of an image all have one unit of their own."""

    def forward(self, maps):
        patches = torch.arange(len(maps)) // 7 % 4  # rows, images, columns
        return 4 * torch.eye(32)[patches][:, :, None, None].expand(-1, -1, 2, 2), maps


def plant_solved_pairs(pathway):
    pathway.encoder.layers[5] = OneUnitAnImage()
    for matrices in pathway.objective.layer_parameters(5):
        matrices.copy_(torch.eye(32) - 0.5)  # s = 8 for patches of one image, -8 for those of two


PLANTED = {
    "near zero": (
        plant_zero_weights,
        "lbp layer6: collapsed: representation near zero (mean |score| 0, not growing; rms 0; the loss is "
        "that of scores of 0); lower optimizer.learning_rate; optimizer.weight_decay pushes there, set it to "
        "0; or set encoder.batch_norm = true",
    ),
    "dead": (
        plant_dead_units,
        "lbp layer6: dead: 94% of the units are 0 on the whole batch; lower optimizer.learning_rate and "
        "optimizer.weight_decay, or set encoder.batch_norm = true",
    ),
    "one direction": (
        plant_constant_rows,
        "lbp layer6: collapsed to one direction: effective rank 1.00 of 32 channels; lower "
        "optimizer.learning_rate, or set encoder.batch_norm = true",
    ),
    "large": (plant_huge_weights, "lbp layer6: growing without bound: rms "),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_collapse_gets_its_warning_once_and_no_other(kind):
    plant, text = PLANTED[kind]
    (warning,) = warnings_of(build(batch_norm=False), plant=plant)
    assert (warning["layer"], warning["kind"]) == ("layer6", kind)
    assert warning["text"].startswith(text)


def test_solved_pairs_are_called_saturated(monkeypatch):
    def another_image(rng, pairs, config, sets):
        chosen = (np.arange(pairs.num_images) + 1) % pairs.num_images
        return np.broadcast_to(chosen[pairs.image], (*sets, 1, len(pairs.image)))

    monkeypatch.setattr("raytrain.objectives.hinge.draw_numbers", another_image)
    pathway = build(ClappConfig(synchronous=True))
    pathway.optimizer.step = lambda skip: None  # the planted weights stay
    with torch.no_grad():
        plant_solved_pairs(pathway)
    (warning,) = warnings_of(pathway)
    assert (warning["layer"], warning["kind"]) == ("layer6", "saturated")
    assert warning["text"].startswith(
        "lbp layer6: saturated: no gradient left (active hinge terms: 0.0% of the positive, 0.0% of the "
        "negative); lower optimizer.learning_rate, or stop earlier"
    )


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_healthy_short_run_is_not_warned(batch_norm):
    assert warnings_of(build(batch_norm=batch_norm), count=12) == []


HEALTHY = {
    "score": 0.5,
    "active_positive": 0.9,
    "active_negative": 0.9,
    "dead": 0.1,
    "rms": 1.0,
    "rank": 9.0,
}
STUCK = {**HEALTHY, "score": 5e-4, "active_positive": 1.0, "active_negative": 1.0}


def judged(*lines, channels=(64,)):
    """Return at which line, from 1, each warning came."""
    judge, found = HealthJudge(), []
    for number, figures in enumerate(lines, start=1):
        line = {"pathway": "lbp", "health": {"layer1": figures}}
        found += [(number, warning["kind"]) for warning in judge.take(line, channels=channels)]
    return found


def test_a_rule_must_hold_on_two_lines_in_a_row_after_the_grace():
    dead = {**HEALTHY, "dead": 0.95}
    assert GRACE_LINES == 3
    assert judged(*[dead] * 6) == [(4, "dead")]
    assert judged(*[HEALTHY, dead] * 5) == []
    assert judged(*[HEALTHY] * 5, dead, dead, HEALTHY, dead, dead) == [(7, "dead")]


def test_each_kind_is_said_once_a_layer():
    dead, large = {**HEALTHY, "dead": 0.95}, {**HEALTHY, "rms": 2e3}
    assert judged(*[dead] * 5, *[large] * 3, *[dead] * 3) == [(4, "dead"), (7, "large")]


def test_scores_that_leave_zero_are_not_called_stuck():
    leaving = [{**STUCK, "score": 1e-4 * 1.1**step} for step in range(10)]
    assert judged(*leaving) == []
    assert judged(*[STUCK] * 6) == [(4, "near zero")]
    assert judged(*reversed(leaving)) == [(4, "near zero")]


@pytest.mark.parametrize(
    ("changes", "spared"),
    [
        ({"dead": 0.91}, {"dead": 0.89}),
        ({"rank": 1.49}, {"rank": 1.51}),
        ({"rms": 1001.0}, {"rms": 999.0}),
        ({"score": 9.9e-4, **{k: 1.0 for k in STUCK if "active" in k}}, {"score": 1.1e-3}),
        ({"active_positive": 0.009, "active_negative": 0.009}, {"active_positive": 0.009}),
    ],
)
def test_thresholds(changes, spared):
    assert len(judged(*[HEALTHY | changes] * 6)) == 1
    assert judged(*[HEALTHY | spared] * 6) == []


def test_few_channels_may_lie_along_one_direction():
    assert judged(*[HEALTHY | {"rank": 1.2}] * 6, channels=(8,)) == []


def test_figures_that_an_objective_does_not_define_are_not_judged():
    assert judged(*[{name: HEALTHY[name] for name in ALWAYS}] * 6) == []
    assert judged(*[{"dead": 1.0, "rms": 0.0, "rank": 0.0}] * 6) == [(4, "dead")]


def test_a_summary_has_the_last_figures_and_each_warning_once():
    warning = {"layer": "layer1", "kind": "dead", "text": "a layer1: dead"}
    lines = [
        {"pathway": "a", "step": 1, "health": {"layer1": {"rms": 1.0}}},
        {"pathway": "b", "step": 1, "health": {"layer1": {"rms": 3.0}}},
        {"pathway": "a", "step": 9, "health": {"layer1": {"rms": 2.0}}, "warnings": [warning]},
        {"pathway": "a", "step": 9, "rank": 1},
        {"pathway": "a", "step": 8, "rank": 1, "warnings": [{**warning, "text": "a layer1: dead again"}]},
    ]
    assert summarise(lines) == {
        "health": [
            {"pathway": "a", "layer": "layer1", "step": 9, "rms": 2.0},
            {"pathway": "b", "layer": "layer1", "step": 1, "rms": 3.0},
        ],
        "warnings": ["a layer1: dead"],
    }
    assert summarise([]) == {"health": [], "warnings": []}


def test_figures_are_json():
    for line in lines_of(build(width=1 / 128), count=2):
        assert json.loads(json.dumps(line, allow_nan=False)) == line
