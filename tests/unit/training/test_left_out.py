"""Results that were made without some samples: they say so, and are used where just these are still bad."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import generated
from pipelines.forms.quarantine import BadSample
from pipelines.generated import shapes
from pipelines.sources import open_manifest
from raytrain import api
from raytrain.config import from_mapping
from raytrain.identity import code, entries
from raytrain.training import evaluate
from raytrain.training.left_out import MOST_NAMED, LeftOut
from tests.conftest import small_values


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Uris that cannot be decoded at present: the fingerprint of the data does not know."""
    named: set[str] = set()

    def draw(uri: str) -> Any:
        if uri in named:
            raise BadSample("cannot be read today")
        return shapes.draw_shape(uri)

    monkeypatch.setitem(generated.MAKERS, shapes.SCHEME, draw)
    return named


def values(**changes: Any) -> dict[str, Any]:
    found = small_values(**changes)
    found["pathways"] = {"lbp": found["pathways"]["lbp"]}
    found["data"]["quarantine_budget"] = 0.2
    return found


def train(out: Path, **changes: Any) -> dict[str, Any]:
    return api.train(from_mapping({**values(**changes), "out": str(out)})).summary


def steps_trained(summary: dict[str, Any]) -> int:
    (pathway,) = summary["pathways"]
    return int(pathway["steps"] - pathway["cached_steps"])


def samples(split: str) -> list[tuple[str, str]]:
    """(key, uri) of a split's samples."""
    manifest = open_manifest(from_mapping(values()).data)
    uris = manifest.table["uri"].to_pylist()
    keys = manifest.keys_of()
    return [(keys[row], uris[row]) for row in manifest.indices(split)]


def test_a_training_without_a_sample_says_which_and_is_used_while_it_is_bad(
    tmp_path: Path, bad: set[str]
) -> None:
    key, uri = samples("pretrain")[3]
    bad.add(uri)
    first = train(tmp_path / "a")
    assert first["pathways"][0]["quarantined"] == LeftOut.of([key]).to_json()
    second = train(tmp_path / "b")
    assert steps_trained(second) == 0
    assert second["pathways"][0]["quarantined"] == first["pathways"][0]["quarantined"]
    assert second["data"]["quarantined"] == 1
    lines = [json.loads(line) for line in (tmp_path / "b" / "quarantine.jsonl").read_text().splitlines()]
    assert lines == [{"key": key, "reason": "cannot be read today", "fate": "damaged"}]


def test_where_the_sample_comes_now_it_is_trained_again_and_the_clean_one_is_kept(
    tmp_path: Path, bad: set[str]
) -> None:
    key, uri = samples("pretrain")[3]
    bad.add(uri)
    lacking = train(tmp_path / "a")
    bad.clear()
    whole = train(tmp_path / "b")
    assert steps_trained(whole) == 9
    assert "quarantined" not in whole["pathways"][0]
    assert whole["pathways"][0]["weights_sha256"] != lacking["pathways"][0]["weights_sha256"]
    told = (tmp_path / "b" / "log.txt").read_text()
    assert (
        f"lbp: a training without 1 sample that could not be decoded: {key}, is not used: 1 of them" in told
    )
    third = train(tmp_path / "c")
    assert steps_trained(third) == 0
    assert third["pathways"][0]["weights_sha256"] == whole["pathways"][0]["weights_sha256"]
    bad.add(uri)  # a clean result stays one
    assert steps_trained(train(tmp_path / "d")) == 0


def test_features_without_a_sample_are_kept_and_leave_it_out_of_the_measure(
    tmp_path: Path, bad: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, uri = samples("test")[2]
    bad.add(uri)
    measured = {"num_bootstrap": 100, "shortcut": False}
    first = train(tmp_path / "a", probe=measured)
    made: list[tuple[str, ...]] = []
    real = evaluate.represent_inline

    def spy(request: Any, *rest: Any) -> None:
        made.append(request.wanted)
        real(request, *rest)

    monkeypatch.setattr(evaluate, "represent_inline", spy)
    second = train(tmp_path / "b", probe=measured)
    assert made == []
    assert second["probes"] == first["probes"]
    valid = [np.load(tmp_path / run / "features" / "valid.npy") for run in "ab"]
    assert (valid[0] == valid[1]).all()
    assert (~valid[1]).sum() == 1
    assert key in (tmp_path / "b" / "quarantine.jsonl").read_text()
    bad.clear()
    third = train(tmp_path / "c", probe=measured)
    assert len(made) == 1
    assert third["probes"][0]["n"] == first["probes"][0]["n"] + 1


def test_features_of_weights_that_lack_a_sample_are_not_those_of_whole_ones(
    tmp_path: Path, bad: set[str]
) -> None:
    measured = {"num_bootstrap": 100, "shortcut": False}
    bad.add(samples("pretrain")[3][1])
    train(tmp_path / "a", probe=measured)
    bad.clear()
    train(tmp_path / "b", probe=measured)
    for name in ("lbp", "lbp.control"):
        lacking, whole = (np.load(tmp_path / run / "features" / f"{name}.npy") for run in "ab")
        assert (lacking != whole).any(), name


def test_what_was_trained_partly_by_other_code_is_kept_under_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", "off")
    train(tmp_path / "a", training__epochs=1)
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))

    def read(name: str) -> code.Source | None:
        source = code.read_module(name)
        is_changed = source is not None and name == "raytrain.pathway"
        return code.Source(source.text + "x = 1\n", False) if source and is_changed else source

    with monkeypatch.context() as patch:
        patch.setattr(entries, "_code_of", entries._code_of.__wrapped__)
        patch.setattr(entries, "closure", partial(code.closure, read=read))
        train(tmp_path / "a", training__epochs=3)
        assert not list((tmp_path / "cache").glob("*/step-*"))
        train(tmp_path / "b", training__epochs=3)
        assert len(list((tmp_path / "cache").glob("*/step-*"))) == 1


def test_the_set_does_not_depend_on_the_order_and_names_a_bounded_number() -> None:
    many = [f"{number:05d}" for number in range(MOST_NAMED + 1)]
    assert LeftOut.of(["b", "a", "b"]) == LeftOut.of(["a", "b"])
    assert LeftOut.of([]) == LeftOut() == LeftOut.from_json(None)
    assert LeftOut.from_json(LeftOut.of(many).to_json()) == LeftOut.of(many)
    assert LeftOut.of(many[1:]).is_named
    assert not LeftOut.of(many).is_named
    assert LeftOut.of(["a"]).text == "without 1 sample that could not be decoded: a"
    assert LeftOut.of("abcd").text == "without 4 samples that could not be decoded: a, b, c, ..."
    assert LeftOut().text == ""
