"""Memory against depth, in bytes: flat for the local objective, rising end to end; the plot; the counter."""

import dataclasses

import pytest
import torch

from raytrain import api
from raytrain.bench import locality
from raytrain.bench.memory import peak_bytes
from raytrain.encoders import ENCODERS
from raytrain.errors import ConfigError, StorageError

SMALL = {"channels": 8, "batch_size": 4}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plot") / "new"
    return folder, locality.run(**SMALL, out=str(folder))


def test_memory_is_flat_in_depth_for_clapp_and_rises_end_to_end(rows):
    ratios = {row["name"]: row["ratio"] for row in rows[1]}
    assert ratios["memory of a step, clapp, 24 layers"] <= locality.FLAT
    assert ratios["memory of a step, hinge_cpc, 24 layers"] >= locality.RISE
    one_map = 49 * 4 * 8 * 16 * 16 * 4 / 2**20
    values = {row["name"]: row["value"] for row in rows[1]}
    assert values["memory of a step, clapp, 6 layers"] < 5 * one_map
    assert values["memory of a step, hinge_cpc, 24 layers"] > 24 * one_map


def test_rows_are_complete_and_the_bounds_are_of_the_deepest(rows):
    assert all(row.keys() == {"name", "value", "unit", "against", "ratio", "bound"} for row in rows[1])
    assert [row["bound"] for row in rows[1]] == [None, None, "<= 1.1", None, None, ">= 2.5"]


def test_the_plot_is_written_twice(rows):
    assert (rows[0] / "locality.png").read_bytes().startswith(b"\x89PNG")
    svg = (rows[0] / "locality.svg").read_text()
    assert "<svg" in svg


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    curves = {"clapp": [1.0, 1.0], "hinge_cpc": [1.0, 2.0]}
    with pytest.raises(StorageError, match=r"the plot cannot be written: .*; name another --out"):
        locality.draw(curves, (6, 24), file)


def test_the_stack_is_known_to_no_one_else():
    before = dict(ENCODERS)
    pathway = locality._pathway("clapp", locality.StackConfig(depth=3, channels=4), torch.device("cpu"))
    assert before == ENCODERS
    shapes = [tuple(layer.conv.weight.shape) for layer in pathway.encoder.layers]
    assert shapes == [(4, 3, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3)]
    assert all(not layer.pool for layer in pathway.encoder.layers)


def test_a_bench_without_a_plot_refuses_out(tmp_path):
    with pytest.raises(ConfigError, match=r"bench operators draws no plot; leave --out away"):
        api.bench("operators", out=str(tmp_path))


def test_bytes_are_counted_while_they_are_held():
    def work():
        first = torch.zeros(100)
        second = first.view(10, 10) + 1  # the view is no new memory
        del first
        third = torch.empty(50)
        third.fill_(2)
        return second, third

    assert peak_bytes(work) == 800
    held = torch.zeros(100)
    assert peak_bytes(lambda: held.add_(1)) == 0, "what was there before does not count"
    weight = torch.ones(10, requires_grad=True)
    # x, x * w and the sum; backward: the seed, its expansion times x: a gradient of 10 floats
    assert peak_bytes(lambda: (torch.ones(10) * weight).sum().backward()) in range(84, 4 * 45)


def test_settings_of_the_stack_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        locality.StackConfig(depth=1, channels=1).depth = 2
