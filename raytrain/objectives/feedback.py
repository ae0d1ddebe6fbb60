"""Feedback from the layer above: images whose terms are large there weigh more in the layer below."""

import torch
from torch import Tensor

from raytrain.objectives.scores import Pairs


def feedback_factors(values: Tensor, pairs: Pairs) -> Tensor:
    """Return the factors, 0 .. 1, of the hinge terms in the layer below, f[1 + n, P].

    `values` f[1 + n, P]: this layer's scores, targets first. For each step and kind of term g[b] is the
    mean of image b's terms over negatives, rows and columns, m the mean of g over the images, and the factor
    sigmoid(3 (g - m) / m): 1/2 for an image as hard as the mean, near .05 for one without loss.

    Source: the published code of Illing et al. 2021, option feedback_gating (off in the paper's runs).
    """
    terms = torch.stack([(1 - values[0]).relu(), (1 + values[1:]).relu().mean(0)])
    factors = []
    for block in torch.split(terms, list(pairs.step_sizes), dim=1):
        grid = block.view(2, -1, pairs.num_images, pairs.num_columns)
        means = grid.mean((1, 3), keepdim=True)
        middle = means.mean(2, keepdim=True)
        # where no image has a loss, all are as hard as the mean
        relative = (means - middle) / middle.clamp(min=torch.finfo(values.dtype).tiny)
        factors.append(torch.sigmoid(3 * relative).expand_as(grid).flatten(1))
    positive, negative = torch.cat(factors, dim=1)
    return torch.stack([positive, *[negative] * (len(values) - 1)])
