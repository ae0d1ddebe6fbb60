"""Layers of an encoder: shapes, positions of the representation, parity of pooling and of whole layers."""

import pytest
import torch
import torch.nn.functional as F

from raytrain.config import Vgg6Config
from raytrain.encoders import Layer, build_encoder
from raytrain.layers import Convolution3x3, max_pool_relu


def small(**settings):
    return build_encoder(Vgg6Config(width=0.0625, **settings), in_channels=2, seed_words=(0, "lbp"))


def test_vgg6_has_the_published_size():
    encoder = build_encoder(Vgg6Config(), in_channels=1, seed_words=(0, "a"))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 16_224_512
    assert encoder.channels == (128, 256, 256, 512, 1024, 1024)


@pytest.mark.parametrize("loss_at", ["after_pool", "before_pool"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_map_sizes(loss_at, batch_norm):
    encoder = small(loss_at=loss_at, batch_norm=batch_norm)
    maps, sizes = torch.rand(3, 2, 16, 16), []
    for layer in encoder.layers:
        representation, maps = layer(maps)
        sizes.append((representation.shape[-1], maps.shape[-1]))
    inputs, outputs = (16, 16, 8, 8, 4, 2), (16, 8, 8, 4, 2, 1)
    assert sizes == list(zip(outputs if loss_at == "after_pool" else inputs, outputs, strict=True))
    side = (outputs if loss_at == "after_pool" else inputs)[-1]
    assert encoder(torch.rand(3, 2, 16, 16)).shape == (3, 64, side, side)


@pytest.mark.parametrize("loss_at", ["after_pool", "before_pool"])
@pytest.mark.parametrize("pool", [False, True])
def test_layer_equals_convolution_relu_pool(loss_at, pool):
    torch.manual_seed(0)
    layer = Layer(2, 5, pool=pool, loss_at=loss_at).double()
    images = torch.randn(4, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    representation, following = layer(images)
    activity = F.relu(F.conv2d(images, layer.conv.weight, layer.conv.bias, padding=1))
    pooled = F.max_pool2d(activity, 2) if pool else activity
    expected = pooled if loss_at == "after_pool" else activity
    weights, weights_next = torch.randn_like(expected), torch.randn_like(pooled)
    inputs = [images, *layer.parameters()]
    ours = torch.autograd.grad((representation * weights).sum() + (following * weights_next).sum(), inputs)
    plain = torch.autograd.grad((expected * weights).sum() + (pooled * weights_next).sum(), inputs)
    torch.testing.assert_close(representation, expected)
    torch.testing.assert_close(following, pooled)
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("size", [(2, 2), (2, 3), (1, 1), (4, 4)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolution_equals_torch_s_on_small_maps_too(size, layout):
    torch.manual_seed(0)
    convolution = Convolution3x3(3, 5).double()
    images = torch.randn(4, 3, *size, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    ours = convolution(images)
    expected = F.conv2d(images, convolution.weight, convolution.bias, padding=1)
    torch.testing.assert_close(ours, expected)
    gradient, inputs = torch.randn_like(expected), [images, *convolution.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(ours, inputs, gradient), torch.autograd.grad(expected, inputs, gradient)
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_max_pool_relu_is_relu_then_pool_bit_for_bit(layout, dtype):
    values = torch.randn(3, 4, 7, 6, generator=torch.Generator().manual_seed(1)).to(dtype)
    maps = values.contiguous(memory_format=layout).requires_grad_()
    plain = values.contiguous(memory_format=layout).requires_grad_()
    ours, expected = max_pool_relu(maps), F.max_pool2d(F.relu(plain), 2)
    assert (expected == 0).any(), "the case holds no window whose every pixel is gated"
    assert torch.equal(ours, expected)
    gradient = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    ours.backward(gradient)
    expected.backward(gradient)
    assert torch.equal(maps.grad, plain.grad)


def test_max_pool_relu_gradcheck():
    maps = torch.randn(2, 3, 6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(max_pool_relu, maps)


def test_initial_values_depend_on_the_words_alone():
    before = torch.random.get_rng_state()
    first = small().state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    again = small().state_dict()
    other = build_encoder(Vgg6Config(width=0.0625), in_channels=2, seed_words=(0, "rg")).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_relu_in_place_leaves_the_input_alone():
    images = torch.randn(2, 2, 4, 4)
    kept = images.clone()
    Layer(2, 3, pool=False)(images)
    assert torch.equal(images, kept)
