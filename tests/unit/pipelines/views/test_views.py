import numpy as np
import pytest
import torch

from pipelines.forms.randomness import hash_keys
from pipelines.views import views as views_module
from pipelines.views.cuts import build_cut
from pipelines.views.standardise import Standardiser
from pipelines.views.views import Operated, Views
from raytrain.config.cuts import (
    BinsConfig,
    FramesConfig,
    MotionConfig,
    PatchesConfig,
    SurfaceConfig,
    VolumeConfig,
)
from raytrain.config.operators import (
    DtcwtConfig,
    IdentityConfig,
    LbpConfig,
    RgConfig,
)
from raytrain.config.pathway import AugmentationConfig, PathwayConfig

KEYS = hash_keys(["a", "b", "c"])
CLIPS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 4, 3, 24, 24), dtype=np.uint8))
AUGMENTATION = AugmentationConfig(crop_px=16, flip=True)


@pytest.mark.parametrize("operator", [IdentityConfig(), LbpConfig(), RgConfig(), DtcwtConfig()])
def test_a_clip_is_its_frames_with_the_same_draws(operator) -> None:
    operated = Operated(AUGMENTATION, operator, canvas_px=24)
    draws = operated.draw(KEYS, seed=0, epoch=1)
    maps = operated(CLIPS, draws)
    for frame in range(4):
        torch.testing.assert_close(maps[:, frame], operated(CLIPS[:, frame], draws))
    torch.testing.assert_close(operated(CLIPS, None)[:, 2], operated(CLIPS[:, 2], None))


def test_pieces_change_no_value(monkeypatch) -> None:
    operated = Operated(AugmentationConfig(), LbpConfig(), canvas_px=24)
    whole = operated(CLIPS, None)
    monkeypatch.setattr(views_module, "MAX_MAPS_BYTES", 1)
    assert torch.equal(operated(CLIPS, None), whole)


def seen(cut, clips=CLIPS) -> torch.Tensor:
    standardiser = Standardiser(mean=[0.5] * 3, deviation=[0.5] * 3)
    return Views(PathwayConfig(cut=cut), canvas_px=24, standardiser=standardiser)(clips, None)


def test_frames_stand_in_rows() -> None:
    found = seen(FramesConfig(num_frames=4))
    assert found.shape == (4, 3, 1, 3, 24, 24)
    torch.testing.assert_close(found[2, 1, 0], CLIPS[1, 2] / 255 * 2 - 1)


@pytest.mark.parametrize("cut", [VolumeConfig(num_frames=4), MotionConfig(num_frames=4)])
def test_a_volume_has_channels_before_time(cut) -> None:
    found = seen(cut)
    assert found.shape == (1, 3, 1, 3, 4, 24, 24)
    torch.testing.assert_close(found[0, 1, 0, :, 2], CLIPS[1, 2] / 255 * 2 - 1)
    assert found.is_contiguous()


def test_patches_of_images_are_as_before() -> None:
    found = seen(PatchesConfig(size_px=16, stride_px=8), CLIPS[:, 0])
    assert found.shape == (2, 3, 2, 3, 16, 16)


@pytest.mark.parametrize("name", ["frames", "volume"])
def test_another_number_of_frames_is_refused(name) -> None:
    config = {"frames": FramesConfig, "volume": VolumeConfig}[name](num_frames=5)
    with pytest.raises(
        ValueError, match=r"takes float maps \[B, 5, C, H, W\] \(cut.num_frames\); got float32"
    ):
        build_cut(config)(torch.zeros(2, 4, 3, 8, 8))


def test_bins_of_a_surface_stand_in_rows() -> None:
    maps = torch.arange(2 * 6 * 4 * 5).float().view(2, 6, 4, 5)  # two polarities, three bins
    found = build_cut(BinsConfig(), num_bins=3)(maps)
    assert found.shape == (3, 2, 1, 2, 4, 5)
    for step in range(3):
        assert torch.equal(found[step, :, 0, 0], maps[:, step])
        assert torch.equal(found[step, :, 0, 1], maps[:, 3 + step])
    by_bin = build_cut(BinsConfig(), num_bins=3, bins_first=True)(maps)
    assert by_bin.shape == found.shape
    for step in range(3):
        assert torch.equal(by_bin[step, :, 0], maps[:, 2 * step : 2 * step + 2])
    whole = build_cut(SurfaceConfig())(maps)
    assert torch.equal(whole, maps[None, :, None])
    with pytest.raises(ValueError, match=r"Bins takes float maps \[B, polarities x 3, H, W\]; got float32"):
        build_cut(BinsConfig(), num_bins=3)(maps[:, :4])
