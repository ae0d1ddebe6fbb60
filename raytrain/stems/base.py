"""What every stem is: a trainable module from events to maps."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from pipelines.views.events import Events


class Stem(nn.Module, ABC):
    """Turns a batch of events into maps that an encoder reads like images."""

    channels: int
    """C of the maps"""

    @abstractmethod
    def forward(self, events: Events) -> Tensor:
        """Return the maps of a batch, f[B, C, H, W]; a recording's do not depend on what is beside it."""
