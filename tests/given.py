"""What an objective is given, of samples that a test needs no more of."""

import numpy as np
import torch

from raytrain.objectives import Given


def given_of(num_images, draws=None, *, targets=None, motion=None):
    """Return a `Given` of images without labels, groups and factors."""
    return Given(
        targets=torch.full((num_images,), -1) if targets is None else targets,
        motion=motion,
        positions=np.arange(num_images),
        groups=np.arange(num_images),
        factors=torch.zeros(num_images, 0),
        draws=draws,
    )
