"""Crop and mirror against plain slices; draws that depend on seed, epoch and sample alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.forms.randomness import hash_keys
from pipelines.views.augmentations import ImageAugmentation, ImageDraws
from raytrain.config.pathway import AugmentationConfig
from raytrain.errors import ConfigError

CANVAS_PX = 20


def random_images(num: int, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num, 3, CANVAS_PX, CANVAS_PX), dtype=torch.uint8, generator=generator)


def augmentation(crop_px: int = 13, *, flip: bool = True) -> ImageAugmentation:
    return ImageAugmentation(AugmentationConfig(crop_px=crop_px, flip=flip), canvas_px=CANVAS_PX)


def hashes(num: int) -> NDArray[np.uint64]:
    return hash_keys([f"sample-{index}" for index in range(num)])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31), num=st.integers(1, 9), crop_px=st.integers(0, CANVAS_PX), flip=st.booleans()
)
def test_views_are_the_plain_slices(seed: int, num: int, crop_px: int, flip: bool) -> None:
    augment = augmentation(crop_px, flip=flip)
    images = random_images(num, seed=seed % 97)
    before = images.clone()
    draws = augment.draw(hashes(num), seed=seed, epoch=2)
    views = augment(images, draws)
    view = crop_px or CANVAS_PX
    assert augment.view_px == view
    assert views.shape == (num, 3, view, view)
    assert views.dtype == torch.uint8
    assert views.is_contiguous()
    for index in range(num):
        top, left = int(draws.top[index]), int(draws.left[index])
        expected = images[index, :, top : top + view, left : left + view]
        if draws.flip[index]:
            expected = expected.flip(2)
        assert torch.equal(views[index], expected)
    assert torch.equal(images, before)


@pytest.mark.parametrize("crop_px", [0, 13, 20])
def test_without_draws_the_centre_is_taken(crop_px: int) -> None:
    images = random_images(4)
    view = crop_px or CANVAS_PX
    first = (CANVAS_PX - view) // 2
    views = augmentation(crop_px)(images, None)
    assert torch.equal(views, images[:, :, first : first + view, first : first + view])
    assert views.is_contiguous()


@pytest.mark.parametrize("drawn", [True, False])
def test_layout_does_not_matter_and_shared_memory_is_not_written(drawn: bool) -> None:
    augment = augmentation()
    images = random_images(5)
    draws = augment.draw(hashes(5), seed=1, epoch=0) if drawn else None
    expected = augment(images, draws)
    for laid_out in (
        images.to(memory_format=torch.channels_last),
        images.transpose(2, 3).contiguous().transpose(2, 3),
        images.repeat_interleave(2, dim=0)[::2],
    ):
        assert torch.equal(augment(laid_out, draws), expected)
    repeated = images[:1].expand(5, -1, -1, -1)  # one memory for five samples: any write would show
    views = augment(repeated, draws)
    assert torch.equal(views, augment(images[:1].repeat(5, 1, 1, 1), draws))


def test_draws_are_in_range_cover_it_and_repeat() -> None:
    augment = augmentation(13)
    draws = augment.draw(hashes(4000), seed=3, epoch=1)
    for corner in (draws.top, draws.left):
        counts = np.bincount(corner, minlength=8)
        assert len(counts) == 8
        assert counts.min() > 400
    assert 0.46 < draws.flip.mean() < 0.54
    assert abs(np.corrcoef(draws.top, draws.left)[0, 1]) < 0.06
    assert abs(np.corrcoef(draws.top, draws.flip)[0, 1]) < 0.06
    again = augment.draw(hashes(4000)[1000:1010], seed=3, epoch=1)
    for name in ("top", "left", "flip"):
        assert np.array_equal(getattr(again, name), getattr(draws, name)[1000:1010])
    for other in ({"seed": 4, "epoch": 1}, {"seed": 3, "epoch": 2}):
        assert (augment.draw(hashes(4000), **other).top == draws.top).mean() < 0.2


def test_mirroring_does_not_move_the_crop() -> None:
    plain = augmentation(13, flip=False).draw(hashes(50), seed=0, epoch=0)
    mirrored = augmentation(13, flip=True).draw(hashes(50), seed=0, epoch=0)
    assert np.array_equal(plain.top, mirrored.top)
    assert np.array_equal(plain.left, mirrored.left)
    assert not plain.flip.any()
    assert mirrored.flip.any()


def test_wrong_images_draws_and_settings_are_refused() -> None:
    augment = augmentation()
    with pytest.raises(ValueError, match=r"canvas of 20 px; got images \[2, 3, 21, 20\]"):
        augment(torch.zeros(2, 3, 21, 20, dtype=torch.uint8), None)
    with pytest.raises(ValueError, match=r"takes images uint8\[B, 3, H, W\]; got float32\[2, 3, 20, 20\]"):
        augment(torch.zeros(2, 3, 20, 20), None)
    with pytest.raises(ValueError, match="got 2 images but draws for 3"):
        augment(random_images(2), augment.draw(hashes(3), seed=0, epoch=0))
    with pytest.raises(ConfigError, match=r"augmentation\.crop_px is 21, larger than data\.canvas_px 20"):
        augmentation(21)


def test_draws_are_frozen() -> None:
    draws = augmentation().draw(hashes(2), seed=0, epoch=0)
    assert isinstance(draws, ImageDraws)
    with pytest.raises(AttributeError):
        draws.top = draws.left  # type: ignore[misc]
