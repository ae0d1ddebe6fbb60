"""Where a process computes: on what it was given, or on what is here."""

import os

import torch

from raytrain.errors import ClusterError


def given_device(kind: str, *, whose: str) -> torch.device:
    """Return the device of a process on a cluster; `whose`: the process, for the message.

    Raises:
        ClusterError: it was given a GPU that its torch does not see.
    """
    if kind == "cuda" and not torch.cuda.is_available():
        raise ClusterError(
            f"{whose} was given a GPU of node {os.uname().nodename}, but torch {torch.__version__} sees none "
            "there; install a torch with CUDA and the driver on that node, or set training.device = cpu"
        )
    return torch.device(kind)


def device_here(wanted: str) -> torch.device:
    """Return a GPU of this machine where there is one, unless "cpu" is wanted."""
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def gpus_here() -> int:
    """Return how many GPUs torch sees in this process."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
