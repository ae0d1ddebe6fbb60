"""EST: the fixture's arrays, the table beside the exact kernel, the fit, batches, odd recordings."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.config.stems import LearntEstConfig
from raytrain.errors import ConfigError
from raytrain.stems import Est, build_stem

BINS, HEIGHT, WIDTH = 5, 6, 8
LAYERS = {0: 1, 2: 2, 4: 3}


def fixture_stem(parity, **values):
    stem = Est(LearntEstConfig(bins=BINS, units=4, **values)).double()
    state = {f"{index}.weight": parity[f"est_mlp_W{number}"] for index, number in LAYERS.items()}
    state |= {f"{index}.bias": parity[f"est_mlp_b{number}"] for index, number in LAYERS.items()}
    stem.kernel.load_state_dict(state)
    return stem


@pytest.fixture(scope="module")
def built():
    return build_stem(LearntEstConfig(), seed_words=(0, "est"))


# the table is linear between its points; the network has a kink within one of its 2,048 cells here and there
@pytest.mark.parametrize(("table_points", "tolerance"), [(0, 1e-12), (2048, 1e-5), (65536, 2e-7)])
def test_fixture_maps(parity, recordings, table_points, tolerance):
    maps = fixture_stem(parity, table_points=table_points)(recordings("s0", "s1"))
    assert maps.shape == (2, 2 * BINS, HEIGHT, WIDTH)
    for name, own in zip(("s0", "s1"), maps.view(2, 2, BINS, HEIGHT, WIDTH), strict=True):
        torch.testing.assert_close(own, parity[f"{name}_est_mlp_ft"], rtol=0, atol=tolerance)


def test_trilinear_kernel_gives_the_fixture_too(parity, recordings):
    class Hat(torch.nn.Linear):
        def forward(self, distance):
            return (1 - (BINS - 1) * distance.abs()).clamp(min=0)

    stem = Est(LearntEstConfig(bins=BINS, table_points=0))
    stem.kernel = torch.nn.Sequential(Hat(1, 1)).double()
    maps = stem(recordings("s0", "s1")).view(2, 2, BINS, HEIGHT, WIDTH)
    for name, own in zip(("s0", "s1"), maps, strict=True):
        torch.testing.assert_close(own, parity[f"{name}_est_trilinear_ft"], rtol=0, atol=1e-12)


def test_gradients_of_the_table_are_those_of_the_kernel(parity, drawn):
    events = drawn(1, [300, 200])
    cotangent = torch.randn(
        2, 2 * BINS, HEIGHT, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    gradients = []
    for table_points in (0, 65536):
        stem = fixture_stem(parity, table_points=table_points)
        (stem(events) * cotangent).sum().backward()
        gradients.append([values.grad for values in stem.kernel.parameters()])
    for exact, table in zip(*gradients, strict=True):
        assert (exact - table).norm() <= 1e-3 * exact.norm()


def test_kernel_is_fitted_to_the_trilinear_one(built):
    distances = torch.linspace(-1, 1, 3001)[:, None]
    target = (1 - 8 * distances.abs()).clamp(min=0)
    with torch.no_grad():
        error = (built.kernel(distances) - target).abs()
    assert error.max() < 0.02
    assert error.mean() < 0.002
    assert next(built.parameters()).dtype == torch.float32


def test_every_pathway_begins_with_the_same_kernel_of_its_own(built):
    with torch.no_grad():
        other = build_stem(LearntEstConfig(), seed_words=(1, "other"))
    assert all(a.equal(b) for a, b in zip(built.parameters(), other.parameters(), strict=True))
    with torch.no_grad():
        other.kernel[0].weight.zero_()
    again = build_stem(LearntEstConfig(), seed_words=(2, "again"))
    assert again.kernel[0].weight.equal(built.kernel[0].weight)
    assert all(values.grad is None and values.requires_grad for values in again.parameters())


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_alone_as_in_a_batch(built, drawn, part_of, counts, seed):
    events = drawn(seed, counts)
    together = built(events)
    for index, count in enumerate(counts):
        ranges = [(0, count) if other == index else (0, 0) for other in range(len(counts))]
        assert together[index].equal(built(part_of(events, ranges))[index])


def test_odd_recordings(built, drawn):
    maps = built(drawn(0, [0, 1, 6], lasting_us=1))
    maps.sum().backward()
    assert (maps == 0).all()
    assert all(values.grad.isfinite().all() for values in built.parameters())
    built.zero_grad(set_to_none=True)
    assert built(drawn(0, [0])).shape == (1, 18, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bins": 1}, "stem.bins is 1; it must be at least 2"),
        ({"units": 0}, "stem.units is 0; it must be greater than 0"),
        ({"table_points": 4}, "stem.table_points is 4; it must be at least 18"),
    ],
)
def test_wrong_settings(values, words):
    with pytest.raises(ConfigError, match=words):
        LearntEstConfig(**values)
