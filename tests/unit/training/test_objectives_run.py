"""Every objective beside every other: one run, one stream, the supervised baseline among them."""

import json

import pytest

from raytrain import api
from raytrain.config import from_mapping
from tests.conftest import small_values

ENCODER = {"name": "vgg6", "width": 0.0078125, "batch_norm": True}
PREDICTIVE = ("clapp", "hinge_cpc", "infonce")
OBJECTIVES = {
    **{name: {"name": name, "num_steps": 1} for name in PREDICTIVE},
    "cpc": {"name": "infonce", "local": False, "num_steps": 1},
    "supervised": {"name": "supervised", "pool": "flat"},
}


@pytest.mark.slow
def test_all_objectives_train_in_one_run_on_one_stream(tmp_path):
    pathways = {
        name: {
            "encoder": ENCODER,
            "objective": objective,
            "operator": "lbp",
            "augmentation": {"crop_px": 32, "flip": True},
        }
        for name, objective in OBJECTIVES.items()
    }
    run = api.train(from_mapping(small_values(out=str(tmp_path), pathways=pathways)))
    assert [entry["objective"] for entry in run.summary["pathways"]] == [
        objective["name"] for objective in OBJECTIVES.values()
    ]
    assert run.summary["data"]["decodes"] == 3 * 24, "decoded once an epoch, not once a pathway"
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    seen = {name: [line for line in lines if line["pathway"] == name] for name in OBJECTIVES}
    hashes = {name: [line["sequence_hash"] for line in found] for name, found in seen.items()}
    assert all(len(found) == 9 and found == hashes["clapp"] for found in hashes.values())
    layers = {name: len(found[0]["losses"]) for name, found in seen.items()}
    assert layers == {"clapp": 6, "hinge_cpc": 1, "infonce": 6, "cpc": 1, "supervised": 1}
