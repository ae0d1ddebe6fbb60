"""Dual-tree wavelets against two recorded libraries and against pytorch_wavelets' own module."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipelines.views.operators.dtcwt import Dtcwt, load_filters, pyramid
from raytrain.config.operators import DtcwtConfig

PARITY = np.load(Path(__file__).parents[4] / "fixtures" / "operators_parity.npz")


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def library(config: DtcwtConfig, num_levels: int) -> torch.nn.Module:
    from pytorch_wavelets import DTCWTForward

    return DTCWTForward(biort=config.biort, qshift=config.qshift, J=num_levels)


@pytest.mark.parametrize(("biort", "qshift"), [("near_sym_b", "qshift_b"), ("near_sym_a", "qshift_a")])
@pytest.mark.parametrize("num_levels", [1, 2, 3])
def test_coefficients_match_both_recorded_libraries(biort: str, qshift: str, num_levels: int) -> None:
    pixels = torch.from_numpy(PARITY["dtcwt.x"]).double()
    filters = load_filters(biort, qshift)
    low, bands = pyramid(pixels, filters.matrices(32, num_levels), filters.matrices(40, num_levels))
    name = f"dtcwt.{biort}.{qshift}.J{num_levels}"
    for source in ("pw", "np"):
        np.testing.assert_allclose(low.numpy(), PARITY[f"{name}.{source}_yl"], rtol=0, atol=3e-7)
    assert len(bands) == num_levels
    for level, (real, imaginary) in enumerate(bands, 1):
        recorded = PARITY[f"{name}.pw_yh{level}"]
        np.testing.assert_allclose(real.numpy(), recorded[..., 0], rtol=0, atol=3e-7)
        np.testing.assert_allclose(imaginary.numpy(), recorded[..., 1], rtol=0, atol=3e-7)
        other = np.moveaxis(PARITY[f"{name}.np_yh{level}"], -1, 2)
        np.testing.assert_allclose(real.numpy() + 1j * imaginary.numpy(), other, rtol=0, atol=3e-7)


@pytest.mark.parametrize(
    "config", [DtcwtConfig(), DtcwtConfig(num_levels=2, lowpass=False), DtcwtConfig(num_levels=3)]
)
def test_stack_is_lowpass_then_levels_by_colour_and_orientation(config: DtcwtConfig) -> None:
    images = random_images(2, 3, 32, 48)
    low, highs = library(config, config.num_levels)(images.float() / 255)
    upsample = {"size": (32, 48), "mode": "bilinear", "align_corners": False}
    maps = Dtcwt(config)(images)
    start = 0
    if config.lowpass:
        expected = functional.interpolate(low, **upsample) / 2 ** (config.num_levels - 1)
        torch.testing.assert_close(maps[:, :3], expected, rtol=0, atol=3e-6)
        start = 3
    for high in highs:
        for colour in range(3):
            for orientation in range(6):
                real, imaginary = high[:, colour, orientation].unbind(-1)
                magnitude = (real**2 + imaginary**2).sqrt()[:, None]
                expected = functional.interpolate(magnitude, **upsample)[:, 0]
                channel = start + 6 * colour + orientation
                torch.testing.assert_close(maps[:, channel], expected, rtol=0, atol=3e-6)
        start += 18
    assert start == maps.shape[1]


@pytest.mark.parametrize("size", [16, 64, 96, 300])
def test_published_variant_is_the_lowpass_of_the_image_at_256(size: int) -> None:
    images = random_images(2, 3, size, size // 2)
    resized = functional.interpolate(
        images.double() / 255, size=(256, 256), mode="bilinear", align_corners=False, antialias=True
    )
    expected, _ = library(DtcwtConfig(), 3).double()(resized)
    maps = Dtcwt(DtcwtConfig(compat="paper2023", num_levels=1))(images)
    torch.testing.assert_close(maps.double(), expected, rtol=0, atol=2e-5)
    flat = Dtcwt(DtcwtConfig(compat="paper2023"))(torch.full((1, 3, size, size), 255, dtype=torch.uint8))
    torch.testing.assert_close(
        flat, torch.full_like(flat, 4.0), rtol=0, atol=2e-5
    )  # the gain of three levels


@pytest.mark.parametrize("num_levels", [1, 2, 4])
def test_a_constant_image_keeps_its_value_and_has_no_edges(num_levels: int) -> None:
    images = torch.full((1, 3, 23, 30), 102, dtype=torch.uint8)
    maps = Dtcwt(DtcwtConfig(num_levels=num_levels))(images)
    torch.testing.assert_close(maps[:, :3], torch.full_like(maps[:, :3], 0.4), rtol=0, atol=2e-6)
    assert float(maps[:, 3:].abs().max()) < 1e-5


@pytest.mark.parametrize("num_levels", [1, 3])
def test_odd_sizes_are_padded_with_the_last_pixel_and_cropped(num_levels: int) -> None:
    operator = Dtcwt(DtcwtConfig(num_levels=num_levels))
    images = random_images(2, 3, 19, 29)
    multiple = 2**num_levels
    rows = torch.arange(-(-19 // multiple) * multiple).clamp(max=18)
    columns = torch.arange(-(-29 // multiple) * multiple).clamp(max=28)
    padded = operator(images[:, :, rows][:, :, :, columns])
    torch.testing.assert_close(operator(images), padded[:, :, :19, :29], rtol=0, atol=2e-6)


def test_orientations_answer_to_their_own_direction() -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    operator = Dtcwt(DtcwtConfig(lowpass=False))
    for angle, expected in ((15, 0), (45, 1), (75, 2), (105, 3), (135, 4), (165, 5)):
        radians = torch.deg2rad(torch.tensor(float(angle)))
        # a wave whose crests run at `angle`, counter-clockwise from the columns' axis
        frequency = 2.9 if angle % 90 == 45 else 2.2  # the diagonal band lies further out
        phase = frequency * (columns * radians.sin() + rows * radians.cos())
        wave = (127.5 + 120 * phase.cos()).to(torch.uint8)[None, None].expand(1, 3, -1, -1)
        energy = operator(wave)[0, :6, 8:-8, 8:-8].mean(dim=(1, 2))
        assert int(energy.argmax()) == expected, (angle, energy)


def test_mirroring_the_image_mirrors_the_orientations() -> None:
    images = random_images(1, 3, 32, 32)
    operator = Dtcwt(DtcwtConfig(lowpass=False))
    maps = operator(images).unflatten(1, (3, 6))
    mirrored = operator(images.flip(3)).unflatten(1, (3, 6))
    torch.testing.assert_close(mirrored, maps.flip(2, 4), rtol=0, atol=3e-6)


def test_range_is_reached_nearly_by_the_worst_image() -> None:
    operator = Dtcwt(DtcwtConfig())
    low, high = operator.value_range
    assert -1 < low < 0
    assert 1 < high < 3
    filters = load_filters("near_sym_b", "qshift_b")
    row = filters.matrices(64, 1)[0][32]
    worst = (torch.outer(row, row) > 0).to(torch.uint8) * 255
    maps = operator(worst[None, None].expand(1, 3, 64, 64).contiguous())
    assert float(maps[0, 0, 32, 32]) > 1.4  # the low-pass at its bound
    least = operator((255 - worst)[None, None].expand(1, 3, 64, 64).contiguous())[0, 0, 32, 32]
    assert float(least) == pytest.approx(low, abs=1e-5)
