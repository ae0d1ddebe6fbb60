"""Patches against plain slices, and their normalisation against the plain formula."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.views.cuts import Patches
from raytrain.config.cuts import PatchesConfig


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    size=st.integers(8, 16),
    stride=st.integers(1, 20),
    channels=st.integers(1, 4),
)
def test_patches_are_the_plain_slices_rows_first(
    height: int, width: int, size: int, stride: int, channels: int
) -> None:
    maps = random_maps(2, channels, height, width)
    cut = Patches(PatchesConfig(size_px=size, stride_px=stride))
    if min(height, width) < size:
        with pytest.raises(ValueError, match=rf"at least {size} x {size} px"):
            cut(maps)
        return
    patches = cut(maps)
    num_rows, num_columns = cut.config.num_steps(height), cut.config.num_steps(width)
    assert patches.shape == (num_rows, 2, num_columns, channels, size, size)
    assert patches.is_contiguous()
    for row in range(num_rows):
        for column in range(num_columns):
            top, left = row * stride, column * stride
            expected = maps[:, :, top : top + size, left : left + size]
            assert torch.equal(patches[row, :, column], expected)


def test_the_paper_s_grid_is_seven_by_seven() -> None:
    assert Patches(PatchesConfig())(random_maps(3, 2, 64, 64)).shape == (7, 3, 7, 2, 16, 16)


def test_patches_never_share_memory_with_the_maps() -> None:
    maps = random_maps(1, 1, 8, 8)
    before = maps.clone()
    for normalize in ("none", "patch"):
        Patches(PatchesConfig(size_px=8, stride_px=1, normalize=normalize))(maps).zero_()
    assert torch.equal(maps, before)


@pytest.mark.parametrize("normalize", ["none", "patch"])
def test_layout_and_batch_do_not_matter(normalize: str) -> None:
    cut = Patches(PatchesConfig(normalize=normalize))
    maps = random_maps(3, 3, 40, 33)
    expected = cut(maps)
    laid_out = maps.to(memory_format=torch.channels_last)
    assert torch.equal(cut(laid_out), expected)
    assert torch.equal(cut(maps.transpose(2, 3).contiguous().transpose(2, 3)), expected)
    assert torch.equal(torch.cat([cut(single[None]) for single in maps], dim=1), expected)
    assert torch.equal(cut(maps), expected)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31), size=st.integers(8, 17), scale=st.floats(0.01, 100), shift=st.floats(-5, 5)
)
def test_normalised_patches_match_the_plain_formula(seed: int, size: int, scale: float, shift: float) -> None:
    maps = random_maps(2, 2, 24, 24, seed=seed) * scale + shift
    patches = Patches(PatchesConfig(size_px=size, stride_px=7))(maps).double().numpy()
    deviation = patches.std(axis=(-2, -1), keepdims=True)
    expected = (patches - patches.mean(axis=(-2, -1), keepdims=True)) / (deviation + 1e-5)
    found = Patches(PatchesConfig(size_px=size, stride_px=7, normalize="patch"))(maps).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 + 2e-5 * abs(shift) / scale)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), gain=st.floats(0.5, 2), offset=st.floats(-1, 1))
def test_lighting_of_a_patch_does_not_matter(seed: int, gain: float, offset: float) -> None:
    cut = Patches(PatchesConfig(normalize="patch"))
    maps = random_maps(1, 3, 24, 24, seed=seed)
    torch.testing.assert_close(cut(maps * gain + offset), cut(maps), rtol=0, atol=2e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 77.7, -1e4])
@pytest.mark.parametrize("size", [8, 11, 16])
def test_a_flat_patch_becomes_exactly_zero(value: float, size: int) -> None:
    maps = torch.full((2, 3, 20, 20), value)
    maps[1] = random_maps(3, 20, 20)
    patches = Patches(PatchesConfig(size_px=size, stride_px=4, normalize="patch"))(maps)
    assert not patches[:, 0].any()
    assert patches[:, 1].any()


@pytest.mark.parametrize(
    ("maps", "told"),
    [
        (torch.zeros(2, 3, 64, 64, dtype=torch.uint8), r"uint8\[2, 3, 64, 64\]"),
        (torch.zeros(3, 64, 64), r"float32\[3, 64, 64\]"),
        (torch.zeros(2, 3, 64, 15), r"float32\[2, 3, 64, 15\]"),
    ],
)
def test_wrong_maps_are_refused_with_their_shape(maps: torch.Tensor, told: str) -> None:
    with pytest.raises(ValueError, match=rf"float maps \[B, C, H, W\] of at least 16 x 16 px .* got {told}"):
        Patches(PatchesConfig())(maps)
