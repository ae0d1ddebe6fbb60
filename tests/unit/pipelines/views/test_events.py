"""Some of the recordings of a batch."""

import numpy as np
import pytest
import torch

from pipelines.views.events import Events


def batch_of(counts):
    total = sum(counts)
    return Events(
        x=torch.arange(total, dtype=torch.int32),
        y=torch.arange(total, dtype=torch.int32) * 2,
        t=torch.arange(total) * 5,
        p=(torch.arange(total) % 2).byte(),
        offsets=torch.tensor([0, *counts]).cumsum(0),
        width=9,
        height=7,
    )


@pytest.mark.parametrize("places", [[0, 2], [1], [3], [0, 1, 2, 3], []])
def test_taken_recordings_are_what_they_were(places):
    events = batch_of([3, 0, 4, 2])
    taken = events.take(np.array(places, np.int64))
    assert len(taken) == len(places)
    assert (taken.width, taken.height) == (9, 7)
    assert taken.counts.tolist() == [events.counts[place] for place in places]
    for place, sample in enumerate(places):
        first, last = events.offsets[sample], events.offsets[sample + 1]
        for name in "xytp":
            own = getattr(taken, name)[taken.offsets[place] : taken.offsets[place + 1]]
            assert torch.equal(own, getattr(events, name)[first:last])
