import json
from pathlib import Path

import pytest

from raytrain import api
from raytrain.config import from_mapping
from tests.conftest import run_values

pytestmark = pytest.mark.ray


def test_a_step_of_two_workers_comes_out_bitwise_the_same(tmp_path: Path) -> None:
    values = run_values(out=str(tmp_path), training__workers=2, training__epochs=1)
    values["pathways"] = {"lbp": values["pathways"]["lbp"]}
    api.train(from_mapping(values))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    replays, sheets = api.replay(tmp_path, "lbp", 4, say=lambda text: None)
    for rank, found in enumerate(replays):
        line = next(one for one in lines if (one["step"], one["rank"]) == (4, rank))
        assert (found.rank, found.num_ranks, len(found.keys)) == (rank, 2, 8)
        assert found.sequence_hash == line["sequence_hash"]
        if rank == 0:
            assert found.losses == line["losses"]
    assert replays[0].losses == replays[1].losses  # the mean of both
    assert not set(replays[0].keys) & set(replays[1].keys)
    assert [sheet.name for sheet in sheets] == ["lbp-4-rank0.png", "lbp-4-rank1.png"]
