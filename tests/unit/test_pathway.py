"""One pathway's step: determinism, exact state, divergence, isolation, number of operations, ranks."""

import re
from functools import partialmethod

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from pipelines.forms.randomness import generator, hash_keys
from pipelines.stream.batch import Batch
from pipelines.views.standardise import Standardiser
from raytrain.config import (
    AugmentationConfig,
    ClappConfig,
    HingeCpcConfig,
    InfonceConfig,
    LbpConfig,
    OptimizerConfig,
    PatchesConfig,
    PathwayConfig,
    SupervisedConfig,
    TrainingConfig,
    Vgg6Config,
)
from raytrain.errors import ConfigError, DivergedError
from raytrain.pathway import Pathway
from tests.given import given_of

CPU = torch.device("cpu")
OBJECTIVES = (
    ClappConfig(),
    ClappConfig(symmetric=True),
    ClappConfig(synchronous=True, feedback=True),
    HingeCpcConfig(),
    InfonceConfig(),
    InfonceConfig(local=False, symmetric=False),
    SupervisedConfig(pool="flat"),
)


def batch_of(step, *, images=4, positions=None):
    positions = np.arange(images) + images * step if positions is None else positions
    keys = [f"image-{position}" for position in positions]
    pixels = [
        generator("pixels", int(p)).integers(0, 256, size=(3, 72, 72), dtype=np.uint8) for p in positions
    ]
    return Batch(
        epoch=1,
        step=step,
        keys=keys,
        key_hashes=hash_keys(keys),
        positions=np.asarray(positions),
        valid=np.ones(len(keys), dtype=bool),
        groups=np.zeros(len(keys), dtype=np.int64),
        labels=torch.from_numpy(np.asarray(positions) % 3),
        factors=torch.zeros(len(keys), 0),
        pixels=torch.from_numpy(np.stack(pixels)),
    )


def build(
    objective=OBJECTIVES[0], *, name="lbp", seed=0, width=1 / 32, training=None, optimizer=None, **encoder
):
    config = PathwayConfig(
        augmentation=AugmentationConfig(crop_px=64, flip=True),
        operator=LbpConfig(),
        objective=objective,
        encoder=Vgg6Config(width=width, **encoder),
        optimizer=optimizer or OptimizerConfig(learning_rate=1e-3),
    )
    return Pathway(
        name,
        config,
        seed=seed,
        canvas_px=72,
        num_classes=3,
        device=CPU,
        training=training or TrainingConfig(),
        standardiser=Standardiser(mean=[0.3], deviation=[0.25]),
    )


def test_views_put_rows_first_and_follow_the_sample_not_its_place():
    pathway = build()
    views = pathway.views(batch_of(0), train=True)
    assert views.shape == (7, 4, 7, 1, 16, 16)
    assert pathway.num_cells == 49
    turned = pathway.views(batch_of(0, positions=[3, 2, 1, 0]), train=True)
    assert torch.equal(turned, views.flip(1))
    assert not torch.equal(views, pathway.views(batch_of(0), train=False))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda config: f"{config.name}")
def test_same_words_give_the_same_weights_and_every_parameter_moves(objective):
    first, second, other = build(objective), build(objective), build(objective, name="rg")
    before = {name: tensor.clone() for name, tensor in first.state_tensors().items()}
    for step in range(2):
        losses = [pathway.step(batch_of(step)).losses for pathway in (first, second, other)]
        assert losses[0].shape == (len(first.loss_names),)
        assert torch.equal(losses[0], losses[1])
        assert not torch.equal(losses[0], losses[2])
    assert first.weights_sha256() == second.weights_sha256() != other.weights_sha256()
    still = [name for name, tensor in before.items() if torch.equal(tensor, first.state_tensors()[name])]
    assert not still


def test_step_equals_one_adam_step_on_the_sum_of_all_losses():
    ours, plain = build(), build()
    losses = ours.step(batch_of(3), rank=2).losses
    patches = plain.views(batch_of(3), train=True)
    rng = generator("negatives", 0, "lbp", 1, 3, 2)
    draws = plain.objective.draw(rng, given_of(4), num_rows=7, num_columns=7)
    maps, total = patches.flatten(0, 2), []
    for index, layer in enumerate(plain.encoder.layers):
        representation, maps = layer(maps.detach())
        cells = representation.mean((2, 3)).view(7, 4, 7, -1)
        total.append(plain.objective.layer_loss(index, cells, given_of(4, draws)))
    torch.stack(total).sum().backward()
    parameters = [*plain.encoder.parameters(), *plain.objective.parameters()]
    torch.optim.Adam(parameters, lr=1e-3).step()
    torch.testing.assert_close(losses, torch.stack(total).detach())
    trained = [*ours.encoder.parameters(), *ours.objective.parameters()]
    # Adam's first step is the sign of the gradient: entries of almost no gradient may differ
    differ = [((a - b).abs() > 1e-5).float().mean().item() for a, b in zip(trained, parameters, strict=True)]
    assert max(differ) < 0.01


@pytest.mark.parametrize("implementation", ["fused", "foreach"])
def test_state_goes_out_and_comes_back_exactly(implementation):
    optimizer = OptimizerConfig(implementation=implementation)
    whole, first = (build(optimizer=optimizer, batch_norm=True) for _ in range(2))
    for step in range(4):
        whole.step(batch_of(step))
    for step in range(2):
        first.step(batch_of(step))
    saved = {name: tensor.clone() for name, tensor in first.state_tensors().items()}
    assert {name.split(".")[0] for name in saved} == {"encoder", "objective", "optimizer"}
    second = build(optimizer=optimizer, batch_norm=True, seed=7)
    second.seed = 0
    second.load_state_tensors(saved)
    assert all(torch.equal(saved[name], tensor) for name, tensor in second.state_tensors().items())
    assert saved.keys() == second.state_tensors().keys()
    for step in range(2, 4):
        second.step(batch_of(step))
    assert second.weights_sha256() == whole.weights_sha256()


def test_state_of_other_settings_is_refused_by_name_and_shape():
    state = build(width=1 / 64).state_tensors()
    with pytest.raises(
        ConfigError, match=r"encoder\.layers\.0\.conv\.weight .* float32\[2, 1, 3, 3\].*\[4, 1, 3, 3\]"
    ):
        build(width=1 / 32).load_state_tensors(state)
    with pytest.raises(
        ConfigError, match=r"pathways\.lbp: encoder\.layers\.0\.norm\.\S+ is missing in the checkpoint"
    ):
        build(width=1 / 64, batch_norm=True).load_state_tensors(state)
    pathway = build(width=1 / 64)
    pathway.step(batch_of(0))
    state = pathway.state_tensors()
    state.pop("optimizer.encoder.layers.2.conv.bias.step")
    with pytest.raises(
        ConfigError, match=r"encoder\.layers\.2\.conv\.bias\.step is missing in the checkpoint"
    ):
        build(width=1 / 64).load_state_tensors(state)


def test_a_loss_that_is_not_finite_stops_before_the_update():
    pathway = build()
    pathway.step(batch_of(0))
    with torch.no_grad():
        pathway.encoder.layers[2].conv.weight[0, 0, 0, 0] = float("nan")
    before = pathway.weights_sha256()
    text = r"pathway lbp: loss of layer3 is nan at epoch 1, step 5; stopped before the update"
    with pytest.raises(DivergedError, match=text):
        pathway.step(batch_of(5))
    assert pathway.weights_sha256() == before


def poison_gradient(pathway, value=float("inf")):
    weight = pathway.encoder.layers[1].conv.weight
    return weight.register_hook(lambda gradient: gradient * value)


def test_a_gradient_that_is_not_finite_is_named():
    pathway = build()
    poison_gradient(pathway)
    before = pathway.weights_sha256()
    with pytest.raises(DivergedError, match=re.escape("gradient of encoder.layers.1.conv.weight is ")):
        pathway.step(batch_of(0))
    assert pathway.weights_sha256() == before


def test_deferred_check_leaves_out_updates_at_once_and_names_the_first_bad_step():
    pathway, calm = build(), build()
    pathway._defers_check = True  # what CUDA does: no synchronisation a step
    for step in range(3):
        pathway.step(batch_of(step))
        calm.step(batch_of(step))
    pathway.check()
    pathway.step(batch_of(3))
    calm.step(batch_of(3))
    hook = poison_gradient(pathway, float("nan"))
    pathway.step(batch_of(4))
    hook.remove()
    pathway.step(batch_of(5))  # finite again, but the pathway has diverged: nothing may change any more
    assert pathway.weights_sha256() == calm.weights_sha256()
    states = (pathway.state_tensors(), calm.state_tensors())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    with pytest.raises(
        DivergedError, match=r"gradient of encoder.layers.1.conv.weight is nan at epoch 1, step 4"
    ):
        pathway.check()


def test_local_layers_are_isolated_and_end_to_end_ones_are_not():
    for objective, expected in (
        (ClappConfig(), True),
        (HingeCpcConfig(), False),
        (InfonceConfig(), True),
        (InfonceConfig(local=False), False),
    ):
        plain, changed = build(objective), build(objective)
        with torch.no_grad():
            changed.encoder.layers[5].conv.weight.mul_(1.5)
        for pathway in (plain, changed):
            pathway.step(batch_of(0))
        first, second = (p.encoder.layers[0].conv.weight for p in (plain, changed))
        assert torch.equal(first, second) is expected


def test_step_frees_gradients_and_keeps_no_graph():
    pathway = build()
    result = pathway.step(batch_of(0), stop=True)
    assert result.stop is True
    assert not result.losses.requires_grad
    assert all(parameter.grad is None for parameter in pathway.encoder.parameters())


def test_represent_is_cell_by_cell_the_last_layer():
    pathway = build(batch_norm=True)
    pathway.step(batch_of(0))
    images = batch_of(1).pixels
    features = pathway.represent(images, dtype=torch.float32)
    assert features.shape == (4, 49, 32)
    assert pathway.represent(images).dtype == torch.float16
    views = pathway.views(batch_of(1), train=False)
    one = pathway.encoder(views[3, 2, 5][None])
    torch.testing.assert_close(features[2, 3 * 7 + 5], one[0].detach().mean((1, 2)))
    torch.testing.assert_close(features[:2], pathway.represent(images[:2], dtype=torch.float32))


def test_statistics_from_one_pass():
    pathway = build(batch_norm=True)
    norm, batches = pathway.encoder.layers[0].norm, [batch_of(step) for step in range(3)]
    pathway.step(batches[0])
    pathway.reset_statistics()
    means = []
    for batch in batches:
        pathway.accumulate_statistics(batch.pixels)
        maps = pathway.views(batch, train=False).flatten(0, 2)
        means.append(pathway.encoder.layers[0].conv(maps).mean((0, 2, 3)).detach())
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0))
    assert norm.momentum == 0.1
    plain = build()
    digest = plain.weights_sha256()
    plain.reset_statistics()
    plain.accumulate_statistics(batches[0].pixels)
    assert plain.weights_sha256() == digest


def test_bf16_and_channels_last_stay_near_fp32():
    losses = [
        build(training=training).step(batch_of(0)).losses
        for training in (
            TrainingConfig(),
            TrainingConfig(channels_last=True),
            TrainingConfig(precision="bf16"),
        )
    ]
    torch.testing.assert_close(losses[1], losses[0])
    assert all(loss.dtype == torch.float32 for loss in losses)
    assert not torch.equal(losses[2], losses[0]), "nothing was computed in bfloat16"
    torch.testing.assert_close(losses[2], losses[0], rtol=1e-2, atol=1e-2)


def test_compiled_layers_give_the_same_step(monkeypatch):
    compile_module = torch.nn.Module.compile  # with the tracer alone: generating code takes a minute
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(compile_module, backend="eager"))
    compiled, plain = build(training=TrainingConfig(compile=True)), build()
    assert compiled.encoder.layers[0]._compiled_call_impl is not None
    assert compiled.state_tensors().keys() == plain.state_tensors().keys()
    for step in range(2):
        losses = [pathway.step(batch_of(step)).losses for pathway in (compiled, plain)]
        torch.testing.assert_close(losses[0], losses[1])
    features = [pathway.represent(batch_of(2).pixels, dtype=torch.float32) for pathway in (compiled, plain)]
    torch.testing.assert_close(features[0], features[1])


def test_too_small_a_patch_is_refused():
    config = PathwayConfig(cut=PatchesConfig(size_px=8, stride_px=4), encoder=Vgg6Config(width=1 / 64))
    with pytest.raises(
        ConfigError, match=r"pathways\.x\.cut\.size_px is 8; encoder vgg6 .* needs at least 16"
    ):
        Pathway(
            "x",
            config,
            seed=0,
            canvas_px=64,
            num_classes=0,
            device=CPU,
            training=TrainingConfig(),
            standardiser=Standardiser(mean=[0.0] * 3, deviation=[1.0] * 3),
        )


class CountOperations(TorchDispatchMode):
    """Counts dispatched operations that are no views: an upper bound of the kernel launches."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        returns = function._schema.returns
        view = bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        self.count += not view
        return result


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_clapp_step_dispatches_few_operations(precision):
    pathway = build(training=TrainingConfig(precision=precision))
    pathway.step(batch_of(0))
    with CountOperations() as counted:
        pathway.step(batch_of(1))
    print(precision, "operations:", counted.count)
    assert 200 < counted.count <= 900


def two_steps(rank):
    clapp, supervised = build(), build(SupervisedConfig(), batch_norm=True)
    last, images, stops = dist.get_world_size() - 1, 4 // dist.get_world_size(), []
    for step in range(2):
        whole = batch_of(step)
        share = batch_of(step, positions=whole.positions[images * rank : images * (rank + 1)])
        stops.append(bool(clapp.step(share, rank=rank, stop=rank == last and step == 1).stop))
        losses = supervised.step(share, rank=rank).losses
    return {
        "clapp": clapp.weights_sha256(),
        "stops": stops,
        "losses": losses,
        "supervised": supervised.state_tensors(),
    }


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_hold_equal_replicas_and_equal_one_process(ranks, world_size):
    found = ranks.run(world_size, two_steps)
    assert len({rank["clapp"] for rank in found}) == 1
    assert [rank["stops"] for rank in found] == [[False, True]] * world_size
    alone = build(SupervisedConfig(), batch_norm=True)
    for step in range(2):
        losses = alone.step(batch_of(step)).losses
    for rank in found:
        torch.testing.assert_close(rank["losses"], losses, rtol=1e-4, atol=1e-5)
