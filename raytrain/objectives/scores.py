"""Which context meets which target or negative: a loss's random choices, made ahead of it."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.views.transfer import to_device
from raytrain.collectives import share_of_ranks, world_size
from raytrain.config.objectives import HingeSettings, PredictionSettings

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All P pairs (context, target) of a grid of patches, ordered by (step, context row, image, column).

    A location is flat: (row * num_images + image) * num_columns + column.
    """

    num_rows: int
    num_images: int
    num_columns: int
    num_steps: int
    skip: int

    @property
    def row_size(self) -> int:
        """Locations in a row of patches."""
        return self.num_images * self.num_columns

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """Number of pairs of each step: contexts are the first rows, so they lie together in memory."""
        return tuple(rows * self.row_size for rows in self.context_rows)

    @property
    def context_rows(self) -> tuple[int, ...]:
        """Number of rows that have a target, of each step."""
        offsets = range(1 + self.skip, 1 + self.skip + self.num_steps)
        return tuple(self.num_rows - offset for offset in offsets)

    @property
    def step(self) -> Integers:
        """Which step, 0 .. K-1, a pair belongs to: i64[P]."""
        return np.repeat(np.arange(self.num_steps), self.step_sizes)

    @property
    def context(self) -> Integers:
        """Location of each pair's context: i64[P]."""
        return np.concatenate([np.arange(size) for size in self.step_sizes])

    @property
    def image(self) -> Integers:
        """Image of each pair: i64[P]."""
        return self.context % self.row_size // self.num_columns

    @property
    def offset(self) -> Integers:
        """How many locations lie between a context and its target: i64[P]."""
        return (self.step + 1 + self.skip) * self.row_size

    @property
    def share(self) -> NDArray[np.float64]:
        """Weight of a pair in its image's mean over rows and columns and the mean over steps: f64[P]."""
        sizes = np.array(self.context_rows) * self.num_columns
        return 1.0 / (self.num_steps * sizes[self.step])


@lru_cache(maxsize=8)
def _constants(pairs: Pairs) -> tuple[Integers, Integers, Integers, Integers, NDArray[np.float64]]:
    return pairs.step, pairs.context, pairs.image, pairs.offset, pairs.share


def draw_numbers(
    rng: np.random.Generator, pairs: Pairs, config: PredictionSettings, sets: tuple[int, ...]
) -> Integers:
    """Draw what names the negatives, i64[*sets, n, P]: an image, or (everywhere) a place in the target block.

    An image may draw itself: the reference does not exclude it.
    """
    step, _, image, _, _ = _constants(pairs)
    sizes = (*sets, config.num_negatives)
    if config.negatives == "same_image":
        chosen = rng.integers(0, pairs.num_images, size=(*sizes, pairs.num_steps, pairs.num_images))
        return chosen[..., step, image]
    if config.negatives == "per_location":
        return rng.integers(0, pairs.num_images, size=(*sizes, len(step)))
    block_sizes = np.array(pairs.step_sizes)[step]
    return rng.integers(0, block_sizes, size=(*sizes, len(step)))


def draw_signs(
    rng: np.random.Generator, pairs: Pairs, config: HingeSettings, sets: tuple[int, ...]
) -> Integers | None:
    """Toss each image's coin, +1 or -1: i64[*sets, B]; None when synchronous."""
    return None if config.synchronous else 2 * rng.integers(0, 2, size=(*sets, pairs.num_images)) - 1


def locate(pairs: Pairs, config: PredictionSettings, numbers: Integers) -> tuple[Integers, Integers]:
    """Return the locations of the pairs' targets, i64[P], and of the negatives that `numbers` name."""
    _, context, image, offset, _ = _constants(pairs)
    own = context + offset
    if config.negatives == "everywhere":
        return own, numbers + offset
    return own, own + (numbers - image) * pairs.num_columns


def plan_choices(
    pairs: Pairs, config: PredictionSettings, *, numbers: Integers, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each pair's target, then its n negatives, and the pair's weight, on the device of `like`.

    Shapes: locations i64[..., 1 + n, P]; weights f[P], of which the sum is 1: the mean over images, rows and
    columns, then over steps. Over ranks the images are those of all ranks, and 1 is the mean of the sums.
    """
    own, negative = locate(pairs, config, numbers)
    targets = np.broadcast_to(own, (*numbers.shape[:-2], 1, own.size))
    locations = torch.from_numpy(np.concatenate([targets, negative], axis=-2))
    weights = torch.from_numpy(_constants(pairs)[4] / max(1, pairs.num_images)).to(like.dtype)
    locations, weights = to_device(locations, like.device), to_device(weights, like.device)
    if world_size() > 1:
        weights *= share_of_ranks(weights.new_full((), pairs.num_images))
    return locations, weights


@dataclass(frozen=True)
class Scores:
    """The scores of one step's losses, chosen before anything is gathered.

    M scores a pair: its target and n negatives when synchronous, one of the two kinds (n of them) when not.
    Shapes: `locations` i64[..., M, P]; `signs`, `weights` f[..., M, P]. loss = sum weights * max(0, 1 - signs
    * s).
    """

    locations: Tensor
    signs: Tensor
    weights: Tensor

    def at(self, position: int, pair_set: int) -> "Scores":
        """Return the scores of one loss-carrying layer and one set of prediction weights, [M, P]."""
        return Scores(
            self.locations[position, pair_set],
            self.signs[position, pair_set],
            self.weights[position, pair_set],
        )


def plan_scores(
    pairs: Pairs, config: HingeSettings, *, signs: Integers | None, numbers: Integers, like: Tensor
) -> Scores:
    """Turn coins and numbers into scores on the device and in the dtype of `like`.

    Source: the means of Illing et al. 2021's code: per image over negatives, rows, columns; then the mean
    over the images selected as positive plus the mean over those selected as negative, no factor one half;
    then over steps. A term that no image was selected for is left out. Over ranks the images are those of all
    ranks, and the mean of the ranks' losses is the loss.
    """
    _, _, image, _, share = _constants(pairs)
    own, negative = locate(pairs, config, numbers)
    num_negatives = numbers.shape[-2]
    if signs is None:
        own = np.broadcast_to(own, (*numbers.shape[:-2], 1, own.size))
        locations = np.concatenate([own, negative], axis=-2)
        kinds = np.ones(locations.shape)
        kinds[..., 1:, :] = -1.0
        weights = np.broadcast_to(share / max(1, pairs.num_images), locations.shape).copy()
        weights[..., 1:, :] /= num_negatives
    else:
        coins = signs[..., None, :]
        counts = (coins[..., None] == coins[..., None, :]).sum(-1)
        locations = np.where(coins[..., image] > 0, own, negative)
        kinds = np.broadcast_to(coins[..., image], locations.shape).astype(np.float64)
        weights = np.broadcast_to(share / (num_negatives * counts[..., image]), locations.shape)
    hinge = torch.from_numpy(np.stack([kinds, weights])).to(like.dtype)
    places = to_device(torch.from_numpy(locations), like.device)
    scores = Scores(places, *to_device(hinge, like.device).unbind())
    return scores if world_size() == 1 else _over_ranks(scores, pairs, signs)


def _over_ranks(scores: Scores, pairs: Pairs, signs: Integers | None) -> Scores:
    """Weigh each kind of terms by the images that this rank selected for it, among those of all ranks."""
    if signs is None:
        counts = np.full((2, 1, 1), pairs.num_images)
    else:
        counts = np.stack([(signs > 0).sum(-1), (signs < 0).sum(-1)])
    weights = scores.weights
    shares = share_of_ranks(to_device(torch.from_numpy(counts).to(weights.dtype), weights.device))
    positive, negative = shares[..., None, None]
    return replace(scores, weights=weights * torch.where(scores.signs > 0, positive, negative))
