"""The step's measurement compares like with like (figures are for `raytrain bench`, not for tests)."""

import subprocess
import sys

import pytest
import torch

from raytrain.bench import clapp

SMALL = {"width": 1 / 32, "channels_last": False, "compile": False, "device": "cpu"}


def test_both_forms_train_alike():
    ours, plain = clapp.pathway_step(SMALL, "fp32"), clapp.plain_step(SMALL, "fp32")
    for step in range(3):
        batch = clapp.random_batch(4, step=step)
        torch.testing.assert_close(ours(batch), plain(batch))


def test_operations_are_counted_for_both():
    (row,) = clapp._operation_rows(["fp32"])
    assert row.keys() == {"name", "value", "unit", "against", "ratio", "bound"}
    assert row["value"] < row["bound"] < row["against"]
    assert row["ratio"] == row["value"] / row["against"]


def test_rows_compare_with_the_plain_form_in_fp32():
    kinds = clapp._kinds(["bf16"])
    assert kinds == [("plain", "fp32"), ("plain", "bf16"), ("raytrain", "bf16")]
    values = {("plain", "fp32"): 8.0, ("plain", "bf16"): 4.0, ("raytrain", "bf16"): 2.0}
    first, second = clapp._compare("time", "s", values, ["bf16"], "time")
    assert (first["against"], first["ratio"], first["bound"]) == (8.0, 0.25, 0.5)
    assert (second["against"], second["ratio"], second["bound"]) == (4.0, 0.5, None)


@pytest.mark.slow
def test_it_runs_without_ray():
    program = "import sys, raytrain.bench.clapp; print('ray' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
