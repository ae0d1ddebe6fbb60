"""Settings of the cut: how the objective's input is taken from the operator's output."""

from dataclasses import dataclass
from typing import Literal

from raytrain.config.checks import at_least, positive


@dataclass(frozen=True, kw_only=True)
class PatchesConfig:
    """Overlapping square patches; rows of patches are the sequence that is predicted."""

    name: Literal["patches"] = "patches"
    size_px: int = 16
    stride_px: int = 8
    normalize: Literal["none", "patch"] = "none"
    """patch: each patch and channel to zero mean and unit deviation"""

    def __post_init__(self) -> None:
        at_least("cut.size_px", self.size_px, 8)
        positive("cut.stride_px", self.stride_px)

    def num_steps(self, canvas_px: int) -> int:
        """Return the number of patches along one side of the canvas."""
        return max(0, (canvas_px - self.size_px) // self.stride_px + 1)
