"""resnet18 and resnet34: published sizes, a plain forward pass, sizes of maps, weights of others."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from raytrain.config import Resnet18Config, Resnet34Config
from raytrain.encoders import build_encoder, load_pretrained
from raytrain.errors import ConfigError, DataError

SMALL = 1 / 8


def small(in_channels=3, **values):
    return build_encoder(Resnet18Config(width=SMALL, **values), in_channels=in_channels, seed_words=(0, "r"))


def stored_weights(channels=(8, 8, 16, 32, 64), *, in_channels=3, prefix="", counters=True, classifier=True):
    """Return generated weights under the names that torchvision and timm give them."""
    draw = torch.Generator().manual_seed(5)
    weights = {}

    def conv(name, after, before, size):
        weights[f"{name}.weight"] = torch.randn(after, before, size, size, generator=draw) / (before * size)

    def norm(name, count):
        for part in ("weight", "running_var"):
            weights[f"{name}.{part}"] = torch.rand(count, generator=draw) + 0.5
        for part in ("bias", "running_mean"):
            weights[f"{name}.{part}"] = torch.randn(count, generator=draw)
        if counters:
            weights[f"{name}.num_batches_tracked"] = torch.tensor(7)

    stem, *stages = channels
    conv("conv1", stem, in_channels, 7)
    norm("bn1", stem)
    before = stem
    for stage, after in enumerate(stages, 1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            conv(f"{name}.conv1", after, before, 3)
            norm(f"{name}.bn1", after)
            conv(f"{name}.conv2", after, after, 3)
            norm(f"{name}.bn2", after)
            if stage > 1 and block == 0:
                conv(f"{name}.downsample.0", after, before, 1)
                norm(f"{name}.downsample.1", after)
            before = after
    if classifier:
        weights |= {"fc.weight": torch.zeros(1000, before), "fc.bias": torch.zeros(1000)}
    return {f"{prefix}{name}": values for name, values in weights.items()}


def plain(weights, maps):
    """Return the maps of stem and stages in evaluation mode, written down with the stored names."""

    def norm(name, maps):
        parts = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(maps, *parts)

    maps = F.conv2d(maps, weights["conv1.weight"], stride=2, padding=3)
    maps = F.max_pool2d(F.relu(norm("bn1", maps)), 3, 2, 1)
    results = [maps]
    for stage in range(1, 5):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            inner = F.conv2d(maps, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            inner = F.conv2d(F.relu(norm(f"{name}.bn1", inner)), weights[f"{name}.conv2.weight"], padding=1)
            if stride == 2:
                maps = F.conv2d(maps, weights[f"{name}.downsample.0.weight"], stride=2)
                maps = norm(f"{name}.downsample.1", maps)
            maps = F.relu(norm(f"{name}.bn2", inner) + maps)
        results.append(maps)
    return results


@pytest.mark.parametrize(
    ("config", "count"), [(Resnet18Config(), 11_176_512), (Resnet34Config(), 21_284_672)]
)
def test_published_number_of_parameters(config, count):
    encoder = build_encoder(config, in_channels=3, seed_words=(0, "r"))
    assert sum(values.numel() for values in encoder.parameters()) == count
    assert encoder.channels == (64, 64, 128, 256, 512)


@pytest.mark.parametrize(
    "style", [{}, {"counters": False, "classifier": False}, {"prefix": "module."}, {"prefix": "backbone."}]
)
def test_loaded_weights_compute_what_they_did(tmp_path, style):
    save_file(stored_weights(**style), tmp_path / "weights.safetensors")
    encoder = small()
    left = load_pretrained(encoder, tmp_path / "weights.safetensors")
    assert all(name.endswith("num_batches_tracked") for name in left)
    assert bool(left) == (style.get("counters") is False)
    maps = torch.randn(2, 3, 65, 50, generator=torch.Generator().manual_seed(0))
    seen = []
    with torch.no_grad():
        encoder.eval()(maps, lambda _, layer_map: seen.append(layer_map))
    for own, expected in zip(seen, plain(stored_weights(), maps), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)


def test_first_convolution_of_other_channels_stays(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(stored_weights(), path)
    fresh, loaded = small(in_channels=6), small(in_channels=6, pretrained=str(path))
    assert load_pretrained(fresh, path) == ["layers.0.conv.weight"]
    assert all(a.equal(b) for a, b in zip(fresh.parameters(), loaded.parameters(), strict=True))
    assert loaded.layers[0].conv.weight.equal(small(in_channels=6).layers[0].conv.weight)
    assert loaded.layers[1].blocks[0].conv1.weight.equal(stored_weights()["layer1.0.conv1.weight"])
    assert loaded.layers[0].norm.num_batches_tracked == 7


def test_wrong_weights_are_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(DataError, match=r"no such file; set encoder.pretrained"):
        load_pretrained(small(), path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(DataError, match="not readable as safetensors"):
        load_pretrained(small(), path)
    weights = stored_weights()
    del weights["layer3.1.bn2.bias"]
    save_file(weights | {"layer1.2.conv1.weight": torch.zeros(1)}, path)
    words = r"without layers.3.blocks.1.norm2.bias; unknown layers.1.blocks.2.conv1.weight"
    with pytest.raises(DataError, match=words):
        load_pretrained(small(), path)
    save_file(stored_weights((8, 8, 16, 32, 48)), path)
    with pytest.raises(DataError, match=r"another shape of layers\.4"):
        load_pretrained(encoder := small(), path)
    untouched = zip(encoder.parameters(), small().parameters(), strict=True)
    assert all(a.equal(b) for a, b in untouched)


def test_zero_init_residual_begins_as_the_shortcut():
    encoder = small(zero_init_residual=True).eval()
    stage = encoder.layers[1]
    maps = torch.rand(1, 8, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(stage(maps)[0], maps)
    assert all((block.norm2.weight == 0).all() for block in stage.blocks)
    assert (small().layers[1].blocks[0].norm2.weight == 1).all()


def test_layers_learn_one_by_one():
    """A layer's loss reaches its own weights, as local objectives need it."""
    encoder, maps = small(in_channels=2), torch.randn(4, 2, 33, 33)
    for layer, channels in zip(encoder.layers, encoder.channels, strict=True):
        representation_map, maps = layer(maps.detach())
        assert representation_map.shape[1] == channels
        representation_map.mean((2, 3)).square().sum().backward()
        assert all(values.grad is not None and values.grad.isfinite().all() for values in layer.parameters())


@pytest.mark.parametrize("size_px", [1, 2, 3, 5])
def test_smallest_input(size_px):
    for layer, before in zip(small().layers, (3, 8, 8, 16, 32), strict=True):
        layer.eval()
        side = layer.smallest_input(size_px)
        assert layer(torch.zeros(1, before, side, side))[0].shape[2] == size_px
        if side > 1:
            assert layer(torch.zeros(1, before, side - 1, side - 1))[0].shape[2] < size_px
    assert small().smallest_px == 1


def test_wrong_width():
    with pytest.raises(ConfigError, match="64 channels times it must be whole"):
        Resnet34Config(width=0.3)


def test_weights_that_are_only_counted_are_not_read(tmp_path: Path) -> None:
    with torch.device("meta"):
        counted = small(pretrained=str(tmp_path / "gone.safetensors"))
    assert all(weights.is_meta for weights in counted.parameters())
