from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The GPU, with kernels of cuDNN that give the same bits every time."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield torch.device("cuda")
