import json
from pathlib import Path
from typing import Any

import pytest

from raytrain import api
from raytrain.config import RunConfig, from_mapping
from tests.conftest import run_values

pytestmark = pytest.mark.ray


def config_of(folder: Path, **changes: Any) -> RunConfig:
    return from_mapping(run_values(out=str(folder), **changes))


def weights(summary: dict[str, Any]) -> dict[str, str]:
    return {pathway["name"]: pathway["weights_sha256"] for pathway in summary["pathways"]}


def sequence_hashes(folder: Path) -> dict[tuple[str, int], int]:
    """Return the hash of the keys of each pathway's batches by step, whatever rank read them."""
    found: dict[tuple[str, int], int] = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        where = (line["pathway"], line["step"])
        found[where] = (found.get(where, 0) + int(line["sequence_hash"], 16)) % 2**64
    return found


def test_ray_gives_bitwise_the_weights_of_inline_and_decodes_once(tmp_path: Path, inline: api.Run) -> None:
    run = api.train(config_of(tmp_path))
    assert weights(run.summary) == weights(inline.summary)
    assert sequence_hashes(tmp_path) == sequence_hashes(inline.folder)
    assert run.summary["data"]["decodes"] == 72 * 3
    assert run.summary["data"]["decodes_replayed"] == 0
    assert inline.summary["data"]["decodes"] == 72 * 3


def test_two_workers_read_the_same_batches(two_workers: api.Run, inline: api.Run) -> None:
    assert sequence_hashes(two_workers.folder) == sequence_hashes(inline.folder)
    assert two_workers.summary["data"]["decodes"] == 72 * 3


def test_four_pathways_share_one_stream_placement_and_a_cache(tmp_path: Path) -> None:
    values = run_values(out=str(tmp_path), data__cache="memory")
    base = values["pathways"]["lbp"]
    values["pathways"] = {name: {**base} for name in ("one", "two", "three", "four")}
    values["pathways"]["two"]["placement"] = values["pathways"]["three"]["placement"] = "stream"
    values["data"]["cache"] = "memory"
    run = api.train(from_mapping(values))
    assert run.summary["data"]["decodes"] == 72
    assert list(run.summary["data"]["operated"].values()) == [72 * 3]
    assert len(set(weights(run.summary).values())) == 4
    worker = run_values(out=str(tmp_path / "worker"), training__executor="inline")
    worker["pathways"] = {name: {**base} for name in ("one", "two")}
    assert weights(api.train(from_mapping(worker)).summary).items() <= weights(run.summary).items()
