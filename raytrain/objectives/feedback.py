"""Feedback from the layer above: images whose terms are large there weigh more in the layer below."""

import torch
from torch import Tensor

from raytrain.collectives import means_over_ranks
from raytrain.objectives.scores import Pairs


def feedback_factors(values: Tensor, pairs: Pairs) -> Tensor:
    """Return the factors, 0 .. 1, of the hinge terms in the layer below, f[1 + n, P].

    `values` f[1 + n, P]: this layer's scores, targets first. For each step and kind of term g[b] is the
    mean of image b's terms over negatives, rows and columns, m the mean of g over the images of all ranks,
    and the factor sigmoid(3 (g - m) / m): 1/2 for an image as hard as the mean, near .05 for one without
    loss.

    Source: the published code of Illing et al. 2021, option feedback_gating (off in the paper's runs).
    """
    terms = torch.stack([(1 - values[0]).relu(), (1 + values[1:]).relu().mean(0)])
    blocks = torch.split(terms, list(pairs.step_sizes), dim=1)
    shape = (pairs.num_images, pairs.num_columns)
    grids = [block.view(2, rows, *shape) for rows, block in zip(pairs.context_rows, blocks, strict=True)]
    means = [grid.mean((1, 3)) for grid in grids]
    factors = []
    for grid, mean, middle in zip(grids, means, means_over_ranks(means), strict=True):
        # where no image has a loss, all are as hard as the mean
        relative = (mean - middle) / middle.clamp(min=torch.finfo(values.dtype).tiny)
        factors.append(torch.sigmoid(3 * relative)[:, None, :, None].expand_as(grid).flatten(1))
    positive, negative = torch.cat(factors, dim=1)
    return torch.stack([positive, *[negative] * (len(values) - 1)])
