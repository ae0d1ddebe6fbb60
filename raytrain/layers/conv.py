"""The 3 x 3 convolution, taken as one product where the map is as small as 2 x 2."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Convolution3x3(nn.Conv2d):
    """A 3 x 3 convolution with padding 1 and bias.

    On a 2 x 2 map every pixel reaches every other, and 20 of its 36 products meet the padding. As one matrix
    of 4 C_in x 4 C_out it is the same sum without them; a CPU's convolution also takes its weight gradient at
    a fraction of the speed of a matrix product there.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(in_channels, channels, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        """Return [N, C_out, h, w] of [N, C_in, h, w]."""
        if input.shape[2:] != (2, 2) or self.bias is None:
            return super().forward(input)
        pixels = input.permute(0, 2, 3, 1).flatten(1)
        outputs = F.linear(pixels, _as_matrix(self.weight), self.bias.repeat(4))
        return outputs.view(-1, 2, 2, self.out_channels).permute(0, 3, 1, 2)


def _as_matrix(weight: Tensor) -> Tensor:
    """Spread the kernel [C_out, C_in, 3, 3] to [4 C_out, 4 C_in], pixels row by row, channels fastest.

    Output pixel (y, x) sees input pixel (v, u) through kernel element (v - y + 1, u - x + 1).
    """
    seen = [weight[:, :, 1 - y : 3 - y, 1 - x : 3 - x].permute(0, 2, 3, 1) for y in (0, 1) for x in (0, 1)]
    return torch.stack(seen).flatten(2).flatten(0, 1)
