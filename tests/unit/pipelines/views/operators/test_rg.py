"""Intensity-free colour against exact rationals, and the published variant against its plain description."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.views.operators.rg import Rg, chromaticity, correct_colour, grey_peak
from raytrain.config.operators import RgConfig

PARITY = np.load(Path(__file__).parents[4] / "fixtures" / "operators_parity.npz")

seeds = st.integers(0, 2**32 - 1)


def fixture_image() -> torch.Tensor:
    return torch.from_numpy(PARITY["rg.image"]).permute(2, 0, 1)[None]


def test_matches_the_exact_rationals_black_included() -> None:
    expected = torch.from_numpy(PARITY["rg.expected_black_third"]).permute(2, 0, 1)[None]
    assert PARITY["rg.black_mask"].any()
    exact = chromaticity(fixture_image(), dtype=torch.float64)
    torch.testing.assert_close(exact, expected, rtol=0, atol=2e-16)
    torch.testing.assert_close(Rg(RgConfig())(fixture_image()), expected.float(), rtol=0, atol=6e-8)


def test_bytes_and_unit_floats_agree() -> None:
    images = fixture_image()
    floats = chromaticity(images.double() / 255, dtype=torch.float64)
    torch.testing.assert_close(floats, chromaticity(images, dtype=torch.float64), rtol=0, atol=2.3e-16)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, factor=st.integers(2, 5))
def test_intensity_does_not_matter(seed: int, factor: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256 // factor, (2, 3, 5, 4), dtype=np.uint8)
    images = torch.from_numpy(pixels)
    operator = Rg(RgConfig())
    torch.testing.assert_close(operator(images * factor), operator(images), rtol=0, atol=6e-8)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_swapping_red_and_green_swaps_the_channels(seed: int) -> None:
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (1, 3, 4, 6), dtype=np.uint8))
    operator = Rg(RgConfig())
    assert torch.equal(operator(images[:, [1, 0, 2]]), operator(images).flip(1))


def plain_shares(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """f64[3, H, W] -> f64[2, H, W], black 1/3."""
    total = rgb.sum(axis=0)
    return np.where(total == 0, 1 / 3, rgb[:2] / np.where(total == 0, 1, total))


def plain_peak(values: NDArray[np.float64]) -> float:
    """Left edge of the fullest of numpy's 100 histogram bins whose index lies in the window round 1/3."""
    counts, edges = np.histogram(values, bins=100)
    above_low, above_high = np.flatnonzero(edges > 1 / 3 - 0.05), np.flatnonzero(edges > 1 / 3 + 0.05)
    first = int(above_low[0]) if len(above_low) else 0
    last = int(above_high[0]) if len(above_high) else 100
    return float(edges[first] if first == last else edges[first + int(np.argmax(counts[first:last]))])


def plain_published(rgb: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Colour correction to bytes, then the shares of the bytes."""
    shares = plain_shares(rgb)
    red, green = (share / 3 / (plain_peak(share) + 1e-8) for share in shares)
    corrected = np.stack((red, green, 1 - (red + green))) * rgb.sum(axis=0)
    corrected[corrected > 255] = 255
    data = (corrected.astype(np.int64) % 256).astype(np.uint8)
    return data, plain_shares(data.astype(np.float64))


def photographs(seed: int, kind: str) -> NDArray[np.uint8]:
    generator = np.random.default_rng(seed)
    if kind == "noise":
        return generator.integers(0, 256, (4, 3, 13, 17), dtype=np.uint8)
    if kind == "flat":
        return np.broadcast_to(generator.integers(0, 256, (4, 3, 1, 1), dtype=np.uint8), (4, 3, 6, 5)).copy()
    grey = generator.normal(120, 60, (4, 1, 20, 20)) + generator.normal(0, 12, (4, 3, 20, 20))
    tint = {"greyish": [1, 1, 1], "red": [1, 0.1, 0.1], "blue": [0.1, 0.15, 1]}[kind]
    return np.clip(grey * np.array(tint)[:, None, None], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", ["noise", "flat", "greyish", "red", "blue"])
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_published_correction_matches_its_plain_description(kind: str, scale: float) -> None:
    images = photographs(5, kind).astype(np.float64) * scale
    shares = chromaticity(torch.from_numpy(images), dtype=torch.float64)
    peaks = [[plain_peak(channel) for channel in plain_shares(image)] for image in images]
    np.testing.assert_allclose(grey_peak(shares).numpy(), peaks, rtol=0, atol=1e-15)
    corrected = correct_colour(torch.from_numpy(images))
    assert corrected.dtype == torch.uint8
    for image, data in zip(images, corrected, strict=True):
        assert np.array_equal(data.numpy(), plain_published(image)[0])


def test_only_bins_inside_the_window_can_be_the_peak() -> None:
    # bins of .01 between 0 and 1; the window holds numbers 29 to 38
    values = torch.tensor(
        [0.0, 1.0] + [0.285] * 9 + [0.305] * 3 + [0.335] * 2 + [0.395] * 9, dtype=torch.float64
    )
    peaks = grey_peak(torch.stack((values, values.flip(0))).view(1, 2, 5, 5))
    np.testing.assert_allclose(peaks.numpy(), [[0.30, 0.30]], rtol=0, atol=1e-15)


def test_published_variant_is_almost_constant_on_photographs() -> None:
    images = photographs(7, "greyish")
    maps = Rg(RgConfig(compat="paper2023"))(torch.from_numpy(images)).numpy()
    expected = np.stack([plain_published(image / 255.0)[1] for image in images])
    np.testing.assert_allclose(maps, expected, rtol=0, atol=6e-8)
    assert len(np.unique(maps)) <= 6
    plain = Rg(RgConfig())(torch.from_numpy(images))
    assert len(plain.unique()) > 300


def test_negative_blue_wraps_like_the_published_cast() -> None:
    image = torch.tensor([200.0, 100.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 2, 2).clone()
    image[0, :, 0, 0] = torch.tensor([90.0, 100.0, 110.0])
    corrected = correct_colour(image)
    assert np.array_equal(corrected[0].numpy(), plain_published(image[0].numpy())[0])
    assert int(corrected[0, 2, 1, 1]) > 100  # far below 0 before the cast
