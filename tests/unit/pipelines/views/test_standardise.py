"""Channel means and deviations, exact over all pixels."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.views.standardise import Standardiser
from raytrain.errors import DataError


def test_all_pixels_count_alike_whatever_the_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(11, 3, 5, 7, generator=generator) * torch.tensor([1.0, 40.0, 1e-3])[:, None, None] + 3
    pixels = maps.double().transpose(0, 1).flatten(1)
    expected_mean, expected_deviation = pixels.mean(1).float(), pixels.std(1, correction=0).float()
    for sizes in ([11], [4, 4, 3], [1] * 11, [10, 0, 1]):
        found = Standardiser.estimate(maps.split(sizes))
        torch.testing.assert_close(found.mean, expected_mean, rtol=2e-7, atol=0)
        torch.testing.assert_close(found.deviation, expected_deviation, rtol=2e-7, atol=0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), shift=st.sampled_from([0.0, 1.0, 1e4]))
def test_the_output_has_mean_zero_and_deviation_one(seed: int, shift: float) -> None:
    maps = torch.rand(6, 2, 4, 4, generator=torch.Generator().manual_seed(seed)) + shift
    out = Standardiser.estimate([maps])(maps)
    assert out.shape == maps.shape
    assert out.dtype == torch.float32
    tolerance = 1e-5 + 3e-7 * shift
    np.testing.assert_allclose(out.mean(dim=(0, 2, 3)).numpy(), 0, atol=tolerance * 10)
    np.testing.assert_allclose(out.std(dim=(0, 2, 3), correction=0).numpy(), 1, atol=tolerance)


def test_a_large_mean_costs_no_digits() -> None:
    maps = (torch.arange(64, dtype=torch.float32) % 2).view(4, 1, 4, 4) + 2.0**22
    found = Standardiser.estimate(maps.split(1))
    assert found.mean.tolist() == [2.0**22 + 0.5]
    assert found.deviation.tolist() == [0.5]


@pytest.mark.parametrize("value", [0.0, 1 / 3, -7e5])
def test_a_constant_channel_gets_deviation_one(value: float) -> None:
    maps = torch.full((7, 2, 3, 5), value)
    maps[:, 1] = torch.rand(7, 3, 5)
    found = Standardiser.estimate(maps.split(2))
    assert found.deviation[0] == 1
    assert 0.1 < found.deviation[1] < 0.5
    assert not found(maps)[:, 0].any()


def test_json_holds_plain_lists_and_gives_the_same_figures() -> None:
    found = Standardiser.estimate([torch.rand(3, 4, 5, 5)])
    state = json.loads(json.dumps(found.to_json()))
    twin = Standardiser.from_json(state)
    assert torch.equal(twin.mean, found.mean)
    assert torch.equal(twin.deviation, found.deviation)
    assert set(found.state_dict()) == {"mean", "deviation"}
    assert found.mean.dtype == torch.float32


def test_formula_and_layout() -> None:
    standardiser = Standardiser(mean=[1.0, 2.0], deviation=[2.0, 0.5])
    maps = torch.rand(3, 2, 4, 5)
    expected = torch.stack(((maps[:, 0] - 1) / 2, (maps[:, 1] - 2) / 0.5), dim=1)
    assert torch.equal(standardiser(maps), expected)
    assert torch.equal(standardiser(maps.to(memory_format=torch.channels_last)), expected)


def test_wrong_figures_and_maps_are_refused() -> None:
    standardiser = Standardiser(mean=[0.0], deviation=[1.0])
    with pytest.raises(ValueError, match=r"knows 1 channels.* got \[2, 3, 4, 4\]"):
        standardiser(torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="deviations above 0"):
        Standardiser(mean=[0.0], deviation=[0.0])
    with pytest.raises(ValueError, match="as many deviations"):
        Standardiser(mean=[0.0], deviation=[1.0, 1.0])
    with pytest.raises(ValueError, match=r"one number of channels; got \[2, 3, 4, 4\] after 1 channels"):
        Standardiser.estimate([torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 4, 4)])
    with pytest.raises(DataError, match="no sample to estimate"):
        Standardiser.estimate([])
