"""The cut: how an objective's input is taken from the operator's maps."""

from typing import Any

import torch
from torch import Tensor, nn

from raytrain.config.cuts import BinsConfig, ClipSettings, CutConfig, PatchesConfig, SurfaceConfig

EPSILON = 1e-5
"""added to a patch's deviation; far below one grey level in 0..1"""


class Patches(nn.Module):
    """Overlapping square patches: f32[B, C, H, W] -> f32[R, B, Q, C, p, p], rows first.

    R rows from top to bottom are the sequence that is predicted, Q columns go along. What is left over on the
    right and at the bottom is dropped. A row's patches of all samples lie together: slices of rows are
    contiguous.
    """

    def __init__(self, config: PatchesConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, maps: Tensor) -> Tensor:
        """Return the patches, contiguous and never a view of the maps.

        Raises: ValueError for maps without room for one patch, or that are no floats [B, C, H, W].
        """
        size, stride = self.config.size_px, self.config.stride_px
        if maps.ndim != 4 or not maps.is_floating_point() or min(maps.shape[2:]) < size:
            raise ValueError(
                f"Patches takes float maps [B, C, H, W] of at least {size} x {size} px (cut.size_px); got "
                f"{str(maps.dtype).removeprefix('torch.')}{list(maps.shape)}"
            )
        windows = maps.unfold(2, size, stride).unfold(3, size, stride)
        patches = windows.permute(2, 0, 3, 1, 4, 5).clone(memory_format=torch.contiguous_format)
        return normalize_patches(patches) if self.config.normalize == "patch" else patches


class Frames(nn.Module):
    """Whole frames, time first: f32[B, T, C, H, W] -> f32[T, B, 1, C, H, W]: time is the sequence."""

    def __init__(self, config: ClipSettings) -> None:
        super().__init__()
        self.config = config

    def forward(self, maps: Tensor) -> Tensor:
        """Return the frames, contiguous and never a view of the maps.

        Raises: ValueError for maps that are no floats [B, T, C, H, W] of `num_frames` frames.
        """
        check_frames(maps, self.config.num_frames, user="Frames")
        return maps.transpose(0, 1).clone(memory_format=torch.contiguous_format)[:, :, None]


class Volume(nn.Module):
    """The clip as one volume: f32[B, T, C, H, W] -> f32[1, B, 1, C, T, H, W]."""

    def __init__(self, config: ClipSettings) -> None:
        super().__init__()
        self.config = config

    def forward(self, maps: Tensor) -> Tensor:
        """Return the volume, contiguous and never a view of the maps.

        Raises: ValueError for maps that are no floats [B, T, C, H, W] of `num_frames` frames.
        """
        check_frames(maps, self.config.num_frames, user="Volume")
        return maps.transpose(1, 2).clone(memory_format=torch.contiguous_format)[None, :, None]


class Bins(nn.Module):
    """The bins of time of an event surface: f32[B, P * T, H, W] -> f32[T, B, 1, P, H, W].

    The channels of a surface are polarity by polarity, bin by bin; with `bins_first` the other way round.
    """

    def __init__(self, num_bins: int, *, bins_first: bool = False) -> None:
        super().__init__()
        self.num_bins, self.bins_first = num_bins, bins_first

    def forward(self, maps: Tensor) -> Tensor:
        """Return the bins, contiguous and never a view of the maps.

        Raises: ValueError for maps that are no floats [B, C, H, W] with C a multiple of the bins.
        """
        if maps.ndim != 4 or not maps.is_floating_point() or maps.shape[1] % self.num_bins:
            raise ValueError(
                f"Bins takes float maps [B, polarities x {self.num_bins}, H, W]; got "
                f"{str(maps.dtype).removeprefix('torch.')}{list(maps.shape)}"
            )
        if self.bins_first:
            bins = maps.view(len(maps), self.num_bins, -1, *maps.shape[2:]).transpose(0, 1)
        else:
            bins = maps.view(len(maps), -1, self.num_bins, *maps.shape[2:]).permute(2, 0, 1, 3, 4)
        return bins.clone(memory_format=torch.contiguous_format)[:, :, None]


CUTS: dict[str, Any] = {"patches": Patches, "frames": Frames, "volume": Volume, "motion": Volume}


def build_cut(config: CutConfig, *, num_bins: int = 1, bins_first: bool = False) -> nn.Module:
    """Return the cut that the settings name, of maps with `num_bins` bins of time."""
    if isinstance(config, BinsConfig):
        return Bins(num_bins, bins_first=bins_first)
    if isinstance(config, SurfaceConfig):
        return Bins(1)
    cut: nn.Module = CUTS[config.name](config)
    return cut


def check_frames(maps: Tensor, num_frames: int, *, user: str) -> None:
    """Raise ValueError unless maps are floats [B, T, C, H, W] with T = num_frames."""
    if maps.ndim != 5 or not maps.is_floating_point() or maps.shape[1] != num_frames:
        raise ValueError(
            f"{user} takes float maps [B, {num_frames}, C, H, W] (cut.num_frames); got "
            f"{str(maps.dtype).removeprefix('torch.')}{list(maps.shape)}"
        )


def normalize_patches(patches: Tensor) -> Tensor:
    """Shift and scale each patch and channel [..., p, p] to mean 0, deviation 1, in place; flat ones to 0.

    The corner pixel is subtracted first: a flat patch is then 0 exactly, where the rounding of its mean would
    otherwise be blown up by the small divisor.
    """
    patches -= patches[..., :1, :1].clone()
    patches -= patches.mean(dim=(-2, -1), keepdim=True)
    deviation = patches.square().mean(dim=(-2, -1), keepdim=True).sqrt_()
    return patches.div_(deviation.add_(EPSILON))
