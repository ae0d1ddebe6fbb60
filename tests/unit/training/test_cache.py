import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain import api
from raytrain.config import CacheConfig, from_mapping
from raytrain.errors import ConfigError
from raytrain.identity import code, entries
from raytrain.training import evaluate
from raytrain.training.cache import EncoderCache, check_folder
from tests.conftest import small_values


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))


def train(out: Path, **changes: Any) -> dict[str, Any]:
    values = small_values(**changes)
    return api.train(from_mapping({**values, "out": str(out)})).summary


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A cache that holds what one run has trained, to be copied, and the summary of that run."""
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYTRAIN_CACHE", str(folder / "cache"))
        return folder / "cache", train(folder / "a")


@pytest.fixture
def first(filled: tuple[Path, dict[str, Any]], tmp_path: Path) -> dict[str, Any]:
    """The summary of a first run whose encoders this test's own cache holds."""
    shutil.copytree(filled[0], tmp_path / "cache")
    return filled[1]


def weights(summary: dict[str, Any]) -> dict[str, str]:
    return {pathway["name"]: pathway["weights_sha256"] for pathway in summary["pathways"]}


def trained(summary: dict[str, Any]) -> dict[str, int]:
    """Steps that this run itself has trained, by pathway."""
    return {p["name"]: p["steps"] - p["cached_steps"] for p in summary["pathways"]}


def test_a_second_run_loads_what_the_first_has_trained(tmp_path: Path, first: dict[str, Any]) -> None:
    second = train(tmp_path / "b")
    assert trained(first) == {"identity": 9, "lbp": 9}
    assert trained(second) == {"identity": 0, "lbp": 0}
    assert weights(second) == weights(first)
    assert second["data"]["decodes"] == 0
    lines = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    assert {(line["pathway"], line["step"]) for line in lines} >= {("lbp", 9), ("identity", 9)}
    assert all(line["run"] == "b" for line in lines)


@pytest.mark.usefixtures("first")
def test_an_ablation_trains_only_what_is_new(tmp_path: Path) -> None:
    values = small_values()
    pathways = {"lbp": values["pathways"]["lbp"], "rg": {**values["pathways"]["lbp"], "operator": "rg"}}
    summary = train(tmp_path / "b", pathways=pathways)
    assert trained(summary) == {"lbp": 0, "rg": 9}


def test_a_longer_schedule_goes_on_and_ends_like_the_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "short", training__epochs=1)
    longer = train(tmp_path / "longer")
    assert trained(longer) == {"identity": 6, "lbp": 6}
    monkeypatch.setenv("RAYTRAIN_CACHE", "off")
    assert weights(longer) == weights(train(tmp_path / "undisturbed"))


def test_a_shorter_schedule_does_not_take_a_longer_one(tmp_path: Path) -> None:
    train(tmp_path / "longer", training__epochs=2)
    assert trained(train(tmp_path / "short", training__epochs=1)) == {"identity": 3, "lbp": 3}


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"training__batch_size": 4},
        {"training__precision": "bf16"},
        {"data__shapes": {"num_train": 25, "num_test": 16}},
    ],
    ids=["seed", "batch size", "precision", "data"],
)
@pytest.mark.usefixtures("first")
def test_what_changes_the_weights_changes_the_key(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert all(steps > 0 for steps in trained(train(tmp_path / "b", **changes)).values())


@pytest.mark.usefixtures("first")
def test_what_does_not_change_the_weights_does_not_change_the_key(tmp_path: Path) -> None:
    same = train(tmp_path / "b", data__cache="memory", training__log_every=2, training__checkpoint_every=9)
    assert trained(same) == {"identity": 0, "lbp": 0}


@pytest.mark.usefixtures("first")
def test_changed_code_changes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(name: str) -> code.Source | None:
        source = code.read_module(name)
        is_renderer = source is not None and name == "pipelines.generated.shapes"
        return replace(source, text=source.text + "x = 1\n") if source and is_renderer else source

    monkeypatch.setattr(entries, "_code_of", entries._code_of.__wrapped__)
    monkeypatch.setattr(entries, "closure", partial(code.closure, read=read))
    assert trained(train(tmp_path / "b")) == {"identity": 9, "lbp": 9}


def test_a_damaged_entry_is_trained_again(tmp_path: Path, first: dict[str, Any]) -> None:
    for state in (tmp_path / "cache").glob("*/step-*/state.safetensors"):
        data = bytearray(state.read_bytes())
        data[-1] ^= 1
        state.unlink()
        state.write_bytes(bytes(data))
    again = train(tmp_path / "b")
    assert trained(again) == {"identity": 9, "lbp": 9}
    assert weights(again) == weights(first)


def test_the_oldest_go_when_the_limit_is_passed(tmp_path: Path) -> None:
    cache = EncoderCache(tmp_path / "cache", max_gib=3 / 2**20)  # 3 KiB
    for number, name in enumerate(("old", "middle", "new")):
        folder = cache.folder / name
        folder.mkdir(parents=True)
        (folder / "entry.json").write_text("{}" + " " * 1500)
        os.utime(folder / "entry.json", (number + 1, number + 1))
        os.utime(folder, (number + 1, number + 1))
    cache.trim()
    assert sorted(folder.name for folder in cache.folder.iterdir()) == ["middle", "new"]


def test_features_count_towards_the_limit(tmp_path: Path) -> None:
    train(tmp_path / "a", probe={"num_bootstrap": 100}, cache={"max_gib": 1e-6})
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 1  # the newest alone


@pytest.mark.usefixtures("first")
def test_the_listing_says_what_is_kept(tmp_path: Path) -> None:
    cache = EncoderCache.open(CacheConfig())
    assert cache is not None
    rows = {row["name"]: row for row in cache.listing()}
    assert rows["lbp"]["operator"] == "lbp"
    assert rows["lbp"]["objective"] == "clapp"
    assert rows["lbp"]["steps"] == [9]
    lines = api.listing("cache")["cache"]
    assert any("lbp" in line and "clapp" in line and "9 steps" in line for line in lines.values())


@pytest.mark.slow
def test_features_are_kept_with_their_encoders_and_controls_are_shared_by_objectives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tmp_path / "a", probe={"num_bootstrap": 100})
    made: list[tuple[str, ...]] = []
    real = evaluate.represent_inline

    def spy(request: Any, *rest: Any) -> None:
        made.append(request.wanted)
        real(request, *rest)

    monkeypatch.setattr(evaluate, "represent_inline", spy)
    second = train(tmp_path / "b", probe={"num_bootstrap": 100})
    assert made == []
    assert second["probes"] == first["probes"]
    for name in ("lbp", "lbp.control", "lbp.layers"):
        one, two = (np.load(tmp_path / run / "features" / f"{name}.npy") for run in "ab")
        assert (one == two).all()
    pathways = small_values()["pathways"]
    pathways["lbp"] = {**pathways["lbp"], "objective": "supervised"}
    third = train(tmp_path / "c", probe={"num_bootstrap": 100}, pathways=pathways)
    assert made == [("lbp",)]
    ridge = [p for p in third["probes"] if p["protocol_name"] == "ridge"]  # the supervised one has a head too
    assert [p["control"] for p in ridge] == [p["control"] for p in first["probes"]]


def test_off_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", "off")
    assert EncoderCache.open(CacheConfig()) is None
    monkeypatch.delenv("RAYTRAIN_CACHE")
    assert EncoderCache.open(CacheConfig(enabled=False)) is None


def test_a_folder_that_cannot_be_written_is_refused_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cache.folder .*file/cache: cannot be written: .*cache.enabled"):
        check_folder(CacheConfig(folder=str(tmp_path / "file" / "cache")))
