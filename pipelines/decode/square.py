"""How a frame of any size becomes a square: resized by the decoder, then cut or bordered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.decode.image import GREY, Fit
from pipelines.forms.clips import Int64s


@dataclass(frozen=True)
class Square:
    """Resize an upright frame to width x height px, then take the square at (left, top)."""

    side: int
    width: int
    height: int
    left: int = 0
    """negative: a grey border"""
    top: int = 0

    def take(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the square of a resized frame u8[height, width, 3]: u8[3, side, side]."""
        side = self.side
        if self.left >= 0 and self.top >= 0:
            frame = frame[self.top : self.top + side, self.left : self.left + side]
            return np.ascontiguousarray(frame.transpose(2, 0, 1))
        square = np.full((3, side, side), GREY, np.uint8)
        left, top = -self.left, -self.top
        square[:, top : top + self.height, left : left + self.width] = frame.transpose(2, 0, 1)
        return square


@dataclass(frozen=True)
class SquareRequest:
    """Frames of one clip that are wanted as one kind of square."""

    numbers: Int64s
    """ascending"""
    square: Square

    def empty(self) -> NDArray[np.uint8]:
        """Return room for the squares: u8[n, 3, side, side]."""
        return np.empty((len(self.numbers), 3, self.square.side, self.square.side), np.uint8)


def fitted_square(width: int, height: int, *, side: int, fit: Fit) -> Square:
    """Return how frames of a size are brought to a square by data.fit."""
    if fit == "squash":
        return Square(side, side, side)
    if fit == "cover":
        return covering_square(width, height, side=side, offset=0.5)
    scale = side / max(width, height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    return Square(side, *inner, left=-((side - inner[0]) // 2), top=-((side - inner[1]) // 2))


def covering_square(width: int, height: int, *, side: int, offset: float) -> Square:
    """Return the square whose side is the frame's short side, cut at `offset` (0..1) of its long side."""
    scale = side / min(width, height)
    whole = max(side, round(width * scale)), max(side, round(height * scale))
    return Square(side, *whole, left=round((whole[0] - side) * offset), top=round((whole[1] - side) * offset))
