"""The preset gtsrb-ci through the command line on real traffic signs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]
EPOCHS, SAMPLES = 4, 1720


def test_gtsrb_ci(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "raytrain", "train", "gtsrb-ci"]
    command += ["--data.root", str(real_data / "gtsrb"), "--out", str(out)]
    subprocess.run(command, check=True)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["data"]["samples"] == SAMPLES
    assert summary["data"]["decodes"] == SAMPLES * EPOCHS
    assert summary["data"]["quarantined"] == 0
    assert [entry["pathways"] for entry in summary["probes"]] == [["identity"], ["lbp"], ["identity", "lbp"]]
    for entry in summary["probes"]:
        assert (entry["n"], entry["groups"]) == (860, 84 + 430)
        for figure, interval in (("accuracy", "interval"), ("control", "control_interval")):
            assert entry[interval][0] <= entry[figure] <= entry[interval][1]
            assert entry[figure] > 5 / 43  # far above guessing, even with initial weights
    for name in ("identity", "lbp"):
        lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        losses = [sum(line["losses"].values()) for line in lines if line["pathway"] == name]
        assert losses[-1] < 0.9 * losses[0]
