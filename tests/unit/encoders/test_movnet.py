"""movnet: published sizes, plain torch's own layers, what is too small, layouts, representation."""

import pytest
import torch
from torch import nn

from raytrain.config import MovnetConfig, Vgg6Config
from raytrain.encoders import build_encoder
from raytrain.errors import ConfigError

SMALL = 1 / 32


def small(**settings):
    return build_encoder(MovnetConfig(width=SMALL, **settings), in_channels=2, seed_words=(0, "mov"))


def plain(in_channels, channels, *, batch_norm):
    """Write the network down as the reference's text does, layer by layer."""

    def block(before, after, kernel, stride, padding, pool):
        parts = [nn.Conv3d(before, after, kernel, stride=stride, padding=padding), nn.ReLU()]
        parts += [nn.BatchNorm3d(after)] if batch_norm else []
        return parts + ([nn.MaxPool3d((1, 3, 3), (1, 2, 2))] if pool else [])

    a, b, c, d, e = channels
    return nn.ModuleList(
        nn.Sequential(*parts)
        for parts in (
            block(in_channels, a, (1, 7, 7), (1, 2, 2), 0, True),
            block(a, b, (1, 5, 5), (1, 2, 2), (0, 1, 1), True),
            block(b, c, (1, 3, 3), 1, (0, 1, 1), False),
            block(c, d, (3, 3, 3), (3, 1, 1), (0, 1, 1), False),
            block(d, e, (3, 3, 3), (3, 1, 1), (0, 1, 1), True),
        )
    )


def test_published_channels_and_features():
    encoder = build_encoder(MovnetConfig(), in_channels=3, seed_words=(0, "a"))
    assert encoder.channels == (96, 256, 512, 512, 512)
    kernels = 96 * 3 * 49 + 256 * 96 * 25 + 512 * 256 * 9 + 2 * 512 * 512 * 27
    assert sum(p.numel() for p in encoder.parameters()) == kernels + 3 * sum(encoder.channels)
    views = torch.empty(1, 2, 1, 3, 16, 120, 120)
    assert encoder.num_cells(views) * encoder.channels[-1] == 2_048
    assert encoder.rows(views) == encoder.steps(16) == (16, 16, 16, 5, 1)
    assert encoder.steps(54) == (54, 54, 54, 18, 6)


@pytest.mark.parametrize(("frames", "px"), [(16, 120), (54, 72), (9, 67), (20, 98)])
def test_every_map_has_the_size_that_is_said(frames, px):
    encoder = small().eval()
    seen = []
    with torch.no_grad():
        last = encoder(torch.rand(2, 2, frames, px, px), lambda index, maps: seen.append(tuple(maps.shape)))
    assert tuple(shape[1] for shape in seen) == encoder.channels
    assert tuple(shape[2] for shape in seen) == encoder.steps(frames)
    if (frames, px) == (16, 120):
        assert last.shape == (2, 16, 1, 2, 2)
    views = torch.empty(1, 2, 1, 2, frames, px, px)
    rows, images, columns, channels = encoder.representation(last, (1, 2, 1)).shape
    assert (images, channels) == (2, encoder.channels[-1])
    assert rows * columns == encoder.num_cells(views)


def test_the_smallest_input_is_the_smallest():
    encoder = small().eval()
    assert (encoder.smallest_px, encoder.smallest_frames) == (67, 9)
    with torch.no_grad():
        assert encoder(torch.rand(1, 2, 9, 67, 67)).shape[2:] == (1, 1, 1)
        for frames, px in ((8, 67), (9, 66)):
            with pytest.raises(RuntimeError):
                encoder(torch.rand(1, 2, frames, px, px))


def test_encoders_of_images_say_the_same():
    encoder = build_encoder(Vgg6Config(width=1 / 128), in_channels=1, seed_words=(0, "a"))
    views = torch.empty(7, 3, 5, 1, 16, 16)
    assert (encoder.smallest_px, encoder.smallest_frames) == (16, 1)
    assert encoder.num_cells(views) == 35
    assert encoder.rows(views) == (7,) * 6


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_equals_plain_torch(batch_norm, layout):
    encoder = small(batch_norm=batch_norm).double().to(memory_format=layout)
    reference = plain(2, encoder.channels, batch_norm=batch_norm).double()
    reference.load_state_dict(dict(zip(reference.state_dict(), encoder.state_dict().values(), strict=True)))
    clips = torch.randn(2, 2, 9, 75, 75, dtype=torch.float64)
    ours, theirs = clips.contiguous(memory_format=layout).requires_grad_(), clips.clone().requires_grad_()
    seen, maps = [], theirs
    last = encoder(ours, lambda index, shown: seen.append(shown))
    for layer, shown in zip(reference, seen, strict=True):
        maps = layer(maps)
        torch.testing.assert_close(shown, maps)
    weights = torch.randn_like(maps)
    torch.testing.assert_close(
        torch.autograd.grad((last * weights).sum(), [ours, *encoder.parameters()]),
        torch.autograd.grad((maps * weights).sum(), [theirs, *reference.parameters()]),
    )


def test_initial_values_are_normal_by_fan_out_and_depend_on_the_words_alone():
    encoder = build_encoder(MovnetConfig(width=0.25), in_channels=3, seed_words=(0, "a"))
    for layer in encoder.layers:
        weight = layer.conv.weight
        expected = (2 / (weight.shape[0] * weight[0, 0].numel())) ** 0.5
        assert float(weight.detach().std()) == pytest.approx(expected, rel=0.05)
        assert not layer.conv.bias.any()
    again = build_encoder(MovnetConfig(width=0.25), in_channels=3, seed_words=(0, "a"))
    other = build_encoder(MovnetConfig(width=0.25), in_channels=3, seed_words=(0, "b"))
    assert torch.equal(encoder.layers[3].conv.weight, again.layers[3].conv.weight)
    assert not torch.equal(encoder.layers[3].conv.weight, other.layers[3].conv.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_representation_has_time_in_rows_and_pixels_in_columns(dtype):
    maps = torch.randn(2, 16, 3, 4, 5).to(dtype).contiguous(memory_format=torch.channels_last_3d)
    rows = small().representation(maps, (1, 2, 1))
    assert rows.shape == (3, 2, 20, 16)
    assert rows.is_contiguous()
    assert rows.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(rows[2, 1, 1 * 5 + 3], maps[1, :, 2, 1, 3].to(rows.dtype))


@pytest.mark.parametrize("width", [0.0, -1.0])
def test_width_must_be_positive(width):
    with pytest.raises(ConfigError, match=r"encoder.width is .*; it must be greater than 0"):
        MovnetConfig(width=width)


def test_width_must_leave_whole_channels():
    with pytest.raises(ConfigError, match=r"encoder.width is 0.02; 32 channels times it must be whole"):
        MovnetConfig(width=0.02)
