"""The draws of several ranks as those of one process that holds their samples, rank by rank.

Which terms there are is the ranks' own; what each weighs is written down anew, of the joint batch.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from pipelines.forms.randomness import generator
from raytrain.objectives import Clapp, ClappVideo, HingeCpc, Infonce, Motion
from raytrain.objectives.hinge import HingeDraws
from raytrain.objectives.infonce import InfonceDraws
from raytrain.objectives.scores import Pairs, Scores


def draw_jointly(pathway, batch, shares):
    """Have the pathway draw, and weigh, as ranks with so many samples each of the batch would together."""
    objective = pathway.objective
    draw, layer_loss = objective.draw, objective.layer_loss

    def draws_of(given, **grid):
        starts = np.cumsum([0, *shares])
        for rank, (first, last) in enumerate(pairwise(starts)):
            part = replace(given, positions=given.positions[first:last])
            rng = generator("negatives", pathway.seed, pathway.name, batch.epoch, batch.step, rank)
            yield draw(rng, part, **grid)

    def joint_draw(rng, given, **grid):
        parts = list(draws_of(given, **grid))
        if isinstance(objective, Motion):
            return torch.cat(parts, 1)
        if isinstance(objective, Clapp | HingeCpc):
            return _joint_hinge(parts, objective.config)
        if isinstance(objective, Infonce):
            return _joint_infonce(parts)
        return None

    def loss_of_parts(layer, representation, given):
        whole = replace(given, draws=torch.ones(()))
        parts = torch.split(representation, shares, 1)
        losses = [layer_loss(layer, part, whole) * part.shape[1] for part in parts if part.shape[1]]
        return sum(losses) / sum(shares)

    objective.draw = joint_draw
    if isinstance(objective, ClappVideo):
        objective.layer_loss = loss_of_parts


def _joint_hinge(parts, config):
    pairs, locations = _joined(parts, [part.scores.locations for part in parts])
    signs = _cat(parts, [part.scores.signs for part in parts])
    per_pair = 1 / (pairs.num_steps * _context_rows(pairs) * pairs.num_columns)
    if config.synchronous:
        images = torch.full_like(signs, pairs.num_images)
    else:
        of_images = _by_image(signs[..., 0, :], pairs)  # f[L, S, B], of the first term of each image
        images = torch.where(signs > 0, *(((of_images == s).sum(-1)[..., None, None]) for s in (1, -1)))
    terms = torch.full_like(signs, config.num_negatives)
    if config.synchronous:
        terms[..., 0, :] = 1
    return HingeDraws(pairs, Scores(locations, signs, per_pair / (images * terms)))


def _joint_infonce(parts):
    pairs, choices = _joined(parts, [part.choices for part in parts])
    weights = 1 / (pairs.num_steps * _context_rows(pairs) * pairs.num_columns * pairs.num_images)
    return InfonceDraws(pairs, choices, weights)


def _joined(parts, locations):
    """Return the joint pairs, and the ranks' locations in the joint grid."""
    num_images, moved, before = sum(part.pairs.num_images for part in parts), [], 0
    for part, places in zip(parts, locations, strict=True):
        own, columns = part.pairs.num_images, part.pairs.num_columns
        size = max(1, own * columns)
        row, image, column = places // size, places % size // columns, places % columns
        moved.append((row * num_images + before + image) * columns + column)
        before += own
    return replace(parts[0].pairs, num_images=num_images), _cat(parts, moved)


def _cat(parts, values):
    """Join values [..., P] of the ranks' pairs, whose order is by step, row, image, column."""
    steps = [[] for _ in range(parts[0].pairs.num_steps)]
    for part, value in zip(parts, values, strict=True):
        pairs = part.pairs
        for step, block in enumerate(torch.split(value, list(pairs.step_sizes), -1)):
            rows = pairs.num_rows - 1 - pairs.skip - step
            steps[step].append(block.reshape(*block.shape[:-1], rows, pairs.num_images, pairs.num_columns))
    return torch.cat([torch.cat(blocks, -2).flatten(-3) for blocks in steps], -1)


def _by_image(values, pairs: Pairs):
    rows = pairs.num_rows - 1 - pairs.skip
    return values[..., : rows * pairs.row_size].reshape(*values.shape[:-1], rows, pairs.num_images, -1)[
        ..., 0, :, 0
    ]


def _context_rows(pairs: Pairs):
    """Return how many rows have a target in each pair's step, f64[P]."""
    rows = [pairs.num_rows - 1 - pairs.skip - step for step in range(pairs.num_steps)]
    return torch.cat([torch.full((count * pairs.row_size,), float(count)) for count in rows]).double()
