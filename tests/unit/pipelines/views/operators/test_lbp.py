"""Local binary patterns against the recorded and the installed scikit-image, and their invariances."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage.feature import local_binary_pattern

from pipelines.views.operators.lbp import (
    Lbp,
    bilinear_codes,
    circle_offsets,
    grey_601,
    minimum_rotation,
    nearest_codes,
    published_offsets,
)
from raytrain.config.operators import LbpConfig

PARITY = np.load(Path(__file__).parents[4] / "fixtures" / "operators_parity.npz")
IMAGES = ["rand", "rand_rot90", "lowcontrast", "flat", "ramp", "checker", "impulse"]

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 12)


def rgb(grey: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
    """u8[H, W] -> u8[1, 3, H, W] of that grey."""
    return torch.as_tensor(np.ascontiguousarray(grey))[None, None].expand(1, 3, -1, -1)


def random_grey(height: int, width: int, *, seed: int, levels: int = 256) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, levels, (height, width), dtype=np.uint8)


def plain_pattern(grey: NDArray[np.uint8], offsets: list[tuple[int, int]]) -> NDArray[np.int64]:
    """The definition, pixel by pixel."""
    height, width = grey.shape
    codes = np.zeros((height, width), dtype=np.int64)
    for row in range(height):
        for column in range(width):
            for point, (down, right) in enumerate(offsets):
                inside = 0 <= row + down < height and 0 <= column + right < width
                value = int(grey[row + down, column + right]) if inside else 0
                codes[row, column] |= (value >= int(grey[row, column])) << point
    return codes


def test_grey_is_pillows_for_every_green_and_blue() -> None:
    ramp = torch.arange(256, dtype=torch.uint8)
    for red in range(0, 256, 15):
        image = torch.stack(
            (torch.full((256, 256), red, dtype=torch.uint8), *torch.meshgrid(ramp, ramp, indexing="ij"))
        )
        pillow = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).convert("L")
        assert np.array_equal(grey_601(image[None])[0].numpy(), np.asarray(pillow))


@pytest.mark.parametrize("name", IMAGES)
def test_integer_neighbourhood_matches_the_fixture(name: str) -> None:
    grey = PARITY[f"lbp.{name}.image"]
    codes = nearest_codes(torch.from_numpy(grey)[None], circle_offsets(8, 1))
    assert codes.dtype == torch.uint8
    assert np.array_equal(codes[0].numpy(), PARITY[f"lbp.{name}.int3x3_code"])
    expected = PARITY[f"lbp.{name}.int3x3_ror"].astype(np.float32) / 255
    assert np.array_equal(Lbp(LbpConfig())(rgb(grey))[0, 0].numpy(), expected)


def test_table_is_the_recorded_minimum_rotation() -> None:
    codes = torch.arange(256, dtype=torch.int32)
    assert np.array_equal(minimum_rotation(codes, 8).numpy(), PARITY["lbp.ror_lut8"])
    operator = Lbp(LbpConfig())
    assert operator.table is not None
    assert len(operator.table.unique()) == 36


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(("num_points", "radius_px", "key"), [(8, 1, "P8R1"), (24, 3, "P24R3")])
def test_bilinear_matches_recorded_scikit_image(name: str, num_points: int, radius_px: int, key: str) -> None:
    grey = PARITY[f"lbp.{name}.image"]
    codes = bilinear_codes(torch.from_numpy(grey)[None], circle_offsets(num_points, radius_px))
    if num_points == 8:
        assert np.array_equal(codes[0].numpy(), PARITY[f"lbp.{name}.skimage_P8R1_code"])
    expected = PARITY[f"lbp.{name}.skimage_{key}_ror"]
    assert np.array_equal(minimum_rotation(codes, num_points)[0].numpy(), expected)
    config = LbpConfig(num_points=num_points, radius_px=radius_px, interpolation="bilinear")
    scaled = Lbp(config)(rgb(grey))[0, 0].numpy()
    assert np.array_equal(scaled, expected.astype(np.float32) / np.float32(2**num_points - 1))


@pytest.mark.parametrize(("num_points", "radius_px"), [(4, 1), (8, 1), (16, 2), (20, 4), (24, 3)])
@pytest.mark.parametrize("levels", [2, 4, 256])
def test_bilinear_matches_scikit_image_ties_included(num_points: int, radius_px: int, levels: int) -> None:
    grey = random_grey(60, 41, seed=num_points, levels=levels)
    expected = local_binary_pattern(grey, num_points, radius_px, method="ror").astype(np.int64)
    codes = bilinear_codes(torch.from_numpy(grey)[None], circle_offsets(num_points, radius_px))
    assert np.array_equal(minimum_rotation(codes, num_points)[0].numpy(), expected)


@pytest.mark.parametrize(("num_points", "radius_px"), [(4, 3), (8, 1), (8, 2), (12, 2), (24, 3), (7, 2)])
def test_nearest_pixels_match_the_definition(num_points: int, radius_px: int) -> None:
    grey = np.stack([random_grey(9, 7, seed=seed, levels=9) for seed in range(3)])
    offsets = [
        tuple(int(math.copysign(math.floor(abs(step) + 0.5), step)) for step in offset)
        for offset in circle_offsets(num_points, radius_px)
    ]
    codes = nearest_codes(torch.from_numpy(grey), circle_offsets(num_points, radius_px))
    for image, code in zip(grey, codes, strict=True):
        assert np.array_equal(code.numpy(), plain_pattern(image, offsets))


def test_minimum_rotation_of_24_bits_matches_the_definition() -> None:
    codes = np.random.default_rng(0).integers(0, 2**24, 200)
    expected = [
        min((code >> k | code << (24 - k)) & (2**24 - 1) for k in range(24)) for code in codes.tolist()
    ]
    assert minimum_rotation(torch.from_numpy(codes).int(), 24).tolist() == expected


def test_published_variant_has_no_rotation_and_ends_at_one_half() -> None:
    grey = random_grey(10, 12, seed=3)
    offsets = [
        (round(3 * math.cos(math.tau / 24 * p)), round(3 * math.sin(math.tau / 24 * p))) for p in range(24)
    ]
    assert published_offsets(24, 3) == offsets
    assert offsets[0] == (3, 0)
    expected = plain_pattern(grey, offsets).astype(np.float64) / (2**25 - 1)
    operator = Lbp(LbpConfig(compat="paper2023", num_points=8, radius_px=1))
    np.testing.assert_allclose(operator(rgb(grey))[0, 0].numpy(), expected, rtol=1e-7)
    assert operator.value_range == (0.0, (2**24 - 1) / (2**25 - 1))
    turned = operator(rgb(np.rot90(grey)))[0, 0].numpy()
    assert (np.rot90(operator(rgb(grey))[0, 0].numpy()) == turned).mean() < 0.5


@settings(max_examples=30, deadline=None)
@given(seed=seeds, height=sides, width=sides, levels=st.sampled_from([2, 5, 256]))
@pytest.mark.parametrize(("num_points", "radius_px"), [(8, 1), (4, 2), (24, 3)])
def test_a_quarter_turn_of_the_image_turns_the_map(
    seed: int, height: int, width: int, levels: int, num_points: int, radius_px: int
) -> None:
    operator = Lbp(LbpConfig(num_points=num_points, radius_px=radius_px))
    images = torch.from_numpy(
        np.random.default_rng(seed).integers(0, levels, (2, 3, height, width), dtype=np.uint8)
    )
    assert torch.equal(operator(images.rot90(1, (2, 3))), operator(images).rot90(1, (2, 3)))


@settings(max_examples=30, deadline=None)
@given(seed=seeds, height=sides, width=sides)
@pytest.mark.parametrize(("num_points", "radius_px"), [(8, 1), (24, 3)])
def test_a_rising_change_of_grey_changes_nothing(
    seed: int, height: int, width: int, num_points: int, radius_px: int
) -> None:
    generator = np.random.default_rng(seed)
    rising = np.sort(generator.choice(256, 40, replace=False)).astype(np.uint8)
    rising[0] = 0  # the border counts as 0 and must stay below the rest
    grey = random_grey(height, width, seed=seed, levels=40)
    operator = Lbp(LbpConfig(num_points=num_points, radius_px=radius_px))
    assert torch.equal(operator(rgb(grey)), operator(rgb(rising[grey])))
