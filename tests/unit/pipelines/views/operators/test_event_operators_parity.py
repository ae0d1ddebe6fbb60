"""Event surfaces against sums written out in float64, and where tonic 1.7.0 and the EST code differ."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.views.events import Events
from pipelines.views.operators.events import build_event_operator
from pipelines.views.operators.events.hats import Hats
from pipelines.views.operators.events.places import newest_stamps
from raytrain.config.operators import (
    CountConfig,
    EstConfig,
    EventOperatorConfig,
    HatsConfig,
    LastTimestampConfig,
    TimeSurfaceConfig,
    VoxelGridConfig,
)

PARITY = np.load(Path(__file__).parents[4] / "fixtures" / "events_parity.npz")
HATS = {"cell_px": 4, "radius_px": 1, "tau_us": 50_000.0, "window_us": 30_000}
RECORDINGS = ("s0", "s1")


def recordings() -> Events:
    """Both recordings of the fixture as one batch."""
    columns = {
        name: torch.from_numpy(np.concatenate([PARITY[f"{key}_{name}"] for key in RECORDINGS]))
        for name in "xytp"
    }
    lengths = [len(PARITY[f"{key}_x"]) for key in RECORDINGS]
    return Events(
        x=columns["x"].int(),
        y=columns["y"].int(),
        t=columns["t"],
        p=columns["p"].to(torch.uint8),
        offsets=torch.tensor([0, *np.cumsum(lengths)]),
        width=int(PARITY["W"]),
        height=int(PARITY["H"]),
    )


def truth(name: str) -> torch.Tensor:
    """f64[2, ...]: the fixture's array of both recordings."""
    return torch.from_numpy(np.stack([PARITY[f"{key}_{name}"].astype(np.float64) for key in RECORDINGS]))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (CountConfig(), "count"),
        (LastTimestampConfig(), "last_norm"),
        (TimeSurfaceConfig(tau_us=20_000.0), "expsurface_tau20000_at_tlast"),
        (VoxelGridConfig(num_bins=5), "voxel_zhu"),
        (EstConfig(num_bins=5, measure="one"), "est_trilinear_f1"),
        (EstConfig(num_bins=5, measure="time"), "est_trilinear_ft"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_surfaces_are_the_fixtures(config: EventOperatorConfig, name: str) -> None:
    operator, events = build_event_operator(config), recordings()
    expected = truth(name).view(2, operator.channels, events.height, events.width)
    exact = operator.transform(events, torch.float64)
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(operator(events).double(), expected, rtol=0, atol=1e-6)


def test_newest_stamps_are_the_fixtures() -> None:
    events = recordings()
    newest = newest_stamps(events)[:, :, 0]
    absolute = torch.where(newest >= 0, newest + events.first.view(2, 1, 1, 1), -1)
    assert torch.equal(absolute, truth("last_us").long())


@pytest.mark.parametrize(
    ("normalise", "name"),
    [("none", "hats_sum"), ("cell", "hats_norm_cell"), ("cell_polarity", "hats_norm_cellpol")],
)
def test_hats_are_the_fixtures_in_both_layouts(normalise: str, name: str) -> None:
    assert (int(PARITY["hats_K"]), int(PARITY["hats_R"])) == (4, 1)
    events, expected = recordings(), truth(name)  # [2, cell row-major, p, dy, dx]
    for layout in ("mosaic", "channels"):
        operator = build_event_operator(HatsConfig(**HATS, normalise=normalise, layout=layout))  # type: ignore[arg-type]
        exact = operator.transform(events, torch.float64)
        if layout == "mosaic":
            assert exact.shape == (2, 2, 6, 6) == (2, operator.channels, *operator.size(6, 8))
            found = exact.view(2, 2, 2, 3, 2, 3).permute(0, 2, 4, 1, 3, 5)
        else:
            assert exact.shape == (2, 18, 2, 2) == (2, operator.channels, *operator.size(6, 8))
            found = exact.view(2, 2, 3, 3, 2, 2).permute(0, 4, 5, 1, 2, 3)
        torch.testing.assert_close(found.reshape(2, 4, 2, 3, 3), expected, rtol=0, atol=1e-12)
        assert (operator(events).double() - exact).abs().max() < 1e-6


def test_tonics_voxel_grid_is_scaled_by_bins_and_loses_mass() -> None:
    """With t* = B (t - t0) / (tN - t0) and what falls off the end dropped, tonic's array comes out."""
    events, expected = recordings(), truth("voxel_tonic170")
    ours = build_event_operator(VoxelGridConfig(num_bins=5)).transform(events, torch.float64)
    signs = events.p.double() * 2 - 1
    mass = torch.stack([part.sum() for part in signs.split(events.counts.tolist())])
    torch.testing.assert_close(ours.sum((1, 2, 3)), mass, rtol=0, atol=1e-12)
    assert (ours - expected).abs().max() > 0.5
    assert ((expected.sum((1, 2, 3)) - mass).abs() > 0.5).any()

    theirs = torch.zeros_like(ours)
    for number, sample in enumerate(events.sample.tolist()):
        length = events.last[sample] - events.first[sample]
        place = 5 * float(events.t[number] - events.first[sample]) / float(length)
        for bin_number in (math.floor(place), math.floor(place) + 1):
            if bin_number < 5:
                weight = signs[number] * (1 - abs(bin_number - place))
                theirs[sample, bin_number, events.y[number], events.x[number]] += weight
    torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-12)


def test_tonics_hats_are_ours_and_the_event_itself() -> None:
    """tonic adds 1 at the centre, divides per polarity, and lets equal stamps count."""
    events = recordings()
    operator = build_event_operator(HatsConfig(**HATS, normalise="cell_polarity"))  # type: ignore[arg-type]
    assert isinstance(operator, Hats)
    ours = operator.surfaces(events).view(2, 4, 2, 3, 3)
    extra = torch.zeros_like(ours)
    columns = list(zip(*(getattr(events, name).tolist() for name in ("sample", *"xytp")), strict=True))
    for place, (sample, x, y, t, p) in enumerate(columns):
        cell = 2 * (y // 4) + x // 4
        for other, right, down, stamp, polarity in columns[: place + 1]:
            tie = (other, stamp, polarity) == (sample, t, p) and 2 * (down // 4) + right // 4 == cell
            if tie and max(abs(right - x), abs(down - y)) <= 1:  # itself is one of them
                extra[sample, cell, p, down - y + 1, right - x + 1] += 1
    extra /= truth("hats_n_cellpol").clamp(min=1)[..., None, None]
    torch.testing.assert_close(ours + extra, truth("hats_tonic170"), rtol=0, atol=1e-12)
    assert (extra[..., 1, 1] == 1).any()  # the event itself
    assert ((extra[..., 1, 1] != 1) & (extra[..., 1, 1] > 0) | (extra[..., 0, 0] > 0)).any()  # ties


def test_est_counts_from_the_first_stamp_as_the_published_code_does_not() -> None:
    events, published = recordings(), truth("est_trilinear_ft_nooffset").view(2, 10, 6, 8)
    ours = build_event_operator(EstConfig(num_bins=5)).transform(events, torch.float64)
    assert (ours[0] - published[0]).abs().max() > 0.05  # s0 begins at 12,345 us
    torch.testing.assert_close(ours[1], published[1], rtol=0, atol=1e-12)  # s1 at 0
