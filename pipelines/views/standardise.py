"""Standardise an operator's channels with figures that are estimated once and kept with the checkpoint."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from raytrain.errors import DataError


class Standardiser(nn.Module):
    """(x - mean) / deviation for each channel of f32[B, C, H, W]."""

    mean: Tensor
    """f32[C]"""
    deviation: Tensor
    """f32[C]"""

    def __init__(self, *, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(deviation) or not all(value > 0 for value in deviation):
            raise ValueError(
                f"Standardiser takes as many deviations above 0 as means; "
                f"got mean {mean}, deviation {deviation}"
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the standardised maps, of the same shape.

        Raises: ValueError for another number of channels.
        """
        if maps.ndim != 4 or maps.shape[1] != len(self.mean):
            raise ValueError(
                f"Standardiser knows {len(self.mean)} channels, maps [B, {len(self.mean)}, H, W]; "
                f"got {list(maps.shape)}"
            )
        return (maps - self.mean[:, None, None]) / self.deviation[:, None, None]

    @classmethod
    def estimate(cls, batches: Iterable[Tensor]) -> "Standardiser":
        """Return the standardiser of all pixels of the batches [B, C, H, W], summed in float64.

        Deviations are those of the population; a constant channel gets 1. Batches are merged by their means
        and squared distances (Chan, Golub, LeVeque 1983), so that a large mean costs no digits. Raises:
        DataError without any pixel.
        """
        count = 0
        mean = squares = torch.zeros(())
        for batch in batches:
            pixels = batch.detach().double().transpose(0, 1).flatten(1)
            num = pixels.shape[1]
            if num == 0:
                continue
            if count and len(pixels) != len(mean):
                raise ValueError(
                    "Standardiser takes batches of one number of channels; "
                    f"got {list(batch.shape)} after {len(mean)} channels"
                )
            part_mean = pixels.mean(dim=1)
            part_squares = (pixels - part_mean[:, None]).square_().sum(dim=1)
            if count == 0:
                count, mean, squares = num, part_mean, part_squares
                continue
            step = part_mean - mean
            squares = squares + part_squares + step.square() * (count * num / (count + num))
            mean = mean + step * (num / (count + num))
            count += num
        if count == 0:
            raise DataError("no sample to estimate channel means from; give the pretrain split at least one")
        deviation = (squares / count).sqrt()
        # below the rounding of the mean a deviation is noise: the channel is constant
        constant = deviation <= 1e-12 * mean.abs().clamp(min=1e-12)
        deviation = deviation.masked_fill(constant, 1.0)
        return cls(mean=mean.tolist(), deviation=deviation.tolist())

    def to_json(self) -> dict[str, list[float]]:
        """Return the figures as plain lists."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_json(cls, state: dict[str, list[float]]) -> "Standardiser":
        """Return the standardiser that `to_json` described."""
        return cls(mean=state["mean"], deviation=state["deviation"])
