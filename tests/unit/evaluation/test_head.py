"""A network's own classifier as a protocol, on features and weights made here."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.config import ClassifierProbeConfig
from raytrain.errors import ConfigError, DataError
from raytrain.evaluation import room
from raytrain.evaluation.features import FeatureWriter, control_name, open_features
from raytrain.evaluation.probe import ProbeRequest, measure
from raytrain.evaluation.protocols import Head, answer_head
from raytrain.evaluation.task import Task

GROUPS = np.repeat(np.arange(40), 4)
NUM_CLASSES, CELLS, CHANNELS = 7, 3, 5
LABELS = GROUPS % NUM_CLASSES
TRAIN, TEST = np.flatnonzero(GROUPS < 24), np.flatnonzero(GROUPS >= 24)


def features(folder: Path, name: str, *, signal: float) -> np.ndarray:
    """Store features of which the first cell tells the class; return them as they are stored."""
    random = np.random.default_rng([*name.encode()])
    values = random.standard_normal((GROUPS.size, CELLS, CHANNELS))
    values[:, 0] += signal * random.standard_normal((NUM_CLASSES, CHANNELS))[LABELS]
    writer = FeatureWriter(
        folder, name=name, num_samples=GROUPS.size, cells=CELLS, channels=CHANNELS, max_gib=1
    )
    writer.write(0, values)
    writer.close()
    return np.load(folder / f"{name}.npy").astype(np.float64)


def head(name: str, mode: Any, *, outputs: int = NUM_CLASSES) -> Head:
    random = np.random.default_rng([1, *name.encode()])
    width = CELLS * CHANNELS if mode == "flat" else CHANNELS
    weight, bias = random.standard_normal((outputs, width)), random.standard_normal(outputs)
    return Head(weight=weight.astype(np.float32), bias=bias.astype(np.float32), mode=mode)


def plain_logits(values: np.ndarray, own: Head) -> np.ndarray:
    flat = values.mean(axis=1) if own.mode == "pooled" else values.reshape(len(values), -1)
    return np.asarray(flat @ own.weight.T.astype(np.float64) + own.bias)


@pytest.fixture
def request_of_two(tmp_path: Path) -> ProbeRequest:
    """One pathway with a classifier of its own and one without."""
    for name in ("lbp", "rg"):
        features(tmp_path, name, signal=2.0)
        features(tmp_path, control_name(name), signal=0.5)
    features(tmp_path, "floor.pixels", signal=0.1)
    return ProbeRequest(
        folder=tmp_path,
        pathways=["lbp", "rg"],
        floors=["pixels"],
        labels=LABELS,
        groups=GROUPS,
        train_rows=TRAIN,
        test_rows=TEST,
        epoch=4,
        seed=7,
        num_bootstrap=200,
    )


def with_heads(request: ProbeRequest, mode: Any, *, outputs: int = NUM_CLASSES) -> ProbeRequest:
    keys = ("lbp", control_name("lbp"))
    return dataclasses.replace(request, heads={key: head(key, mode, outputs=outputs) for key in keys})


@pytest.mark.parametrize("mode", ["flat", "pooled"])
def test_figures_are_those_of_the_classifier(request_of_two: ProbeRequest, mode: Any) -> None:
    request = with_heads(request_of_two, mode)
    measured = measure(request)
    entry = measured.probes[-1]
    words = "every cell's channels" if mode == "flat" else "channels averaged over the cells"
    assert (entry["protocol_name"], entry["pathways"], entry["features"]) == ("head", ["lbp"], mode)
    assert entry["protocol"].startswith(
        f"the network's own classifier ({words}), trained with it on the labels, tested once on split test; "
    )
    for key, prefix, figure in (("lbp", "", "accuracy"), ("lbp.control", "control_", "control")):
        logits = plain_logits(np.load(Path(request.folder) / f"{key}.npy").astype(float), request.heads[key])
        right = logits.argmax(axis=1) == LABELS
        assert entry[figure] == pytest.approx(right[TEST].mean())
        assert entry[f"{prefix}train_accuracy"] == pytest.approx(right[TRAIN].mean())
        five = (np.argsort(-logits, axis=1)[:, :5] == LABELS[:, None]).any(axis=1)
        assert entry[f"{prefix}top5"] == pytest.approx(five[TEST].mean())
        predicted = measured.predictions[f"predicted/head/{key}"]
        assert predicted.dtype == np.int64
        np.testing.assert_array_equal(predicted, logits.argmax(axis=1)[TEST])


def test_an_entry_has_the_keys_of_the_others(request_of_two: ProbeRequest) -> None:
    """All but what a protocol chose by; and only the pathway that has a classifier has one."""
    entries = measure(with_heads(request_of_two, "flat")).probes
    assert json.loads(json.dumps(entries, allow_nan=False)) == entries
    assert [(entry["protocol_name"], entry["pathways"]) for entry in entries] == [
        ("ridge", ["lbp"]),
        ("ridge", ["rg"]),
        ("ridge", ["lbp", "rg"]),
        ("head", ["lbp"]),
    ]
    ridge, own = entries[0], entries[-1]
    of_ridge = {key for key in ridge if "strength" in key or key.endswith("logo_accuracy")}
    assert ridge.keys() - own.keys() == of_ridge
    assert own.keys() - ridge.keys() == {"train_accuracy", "control_train_accuracy"}
    assert (own["floors"], own["contrasts"]) == ([], [])
    assert own["interval"][0] <= own["accuracy"] <= own["interval"][1]
    assert own["gain"] == pytest.approx(own["accuracy"] - own["control"])


def test_it_leaves_the_other_protocols_alone(request_of_two: ProbeRequest) -> None:
    without = measure(request_of_two)
    assert measure(with_heads(request_of_two, "flat")).probes[:-1] == without.probes
    assert not any("head" in name for name in without.predictions)


def test_gains_are_compared_where_the_reference_has_a_classifier_too(request_of_two: ProbeRequest) -> None:
    request = dataclasses.replace(request_of_two, reference="rg")
    assert measure(with_heads(request, "flat")).probes[-1]["contrasts"] == []
    keys = [naming(name) for name in request.pathways for naming in (str, control_name)]
    both = dataclasses.replace(request, heads={key: head(key, "flat") for key in keys})
    lbp, rg = measure(both).probes[-2:]
    assert (lbp["protocol_name"], rg["protocol_name"], rg["contrasts"]) == ("head", "head", [])
    (contrast,) = lbp["contrasts"]
    assert contrast["name"] == "gain of lbp - gain of rg"
    assert contrast["difference"] == pytest.approx(lbp["gain"] - rg["gain"])


def test_several_labels_are_those_over_one_half(request_of_two: ProbeRequest) -> None:
    sets = np.stack([LABELS == 0, LABELS != 1, LABELS >= 2], axis=1).astype(np.uint8)
    request = dataclasses.replace(
        with_heads(request_of_two, "pooled", outputs=3), labels=np.zeros_like(LABELS), label_sets=sets
    )
    measured = measure(request)
    entry = measured.probes[-1]
    values = np.load(Path(request.folder) / "lbp.npy").astype(float)
    sigmoid = 1 / (1 + np.exp(-plain_logits(values, request.heads["lbp"])))
    expected = (sigmoid > 0.5).astype(np.uint8)
    np.testing.assert_array_equal(measured.predictions["predicted/head/lbp"], expected[TEST])
    assert measured.predictions["predicted/head/lbp"].dtype == np.uint8
    equal = expected == sets
    assert entry["accuracy"] == pytest.approx(equal[TEST].all(axis=1).mean())
    assert entry["label_accuracy"] == pytest.approx(equal[TEST].mean())
    assert entry["train_accuracy"] == pytest.approx(equal[TRAIN].mean())
    assert [label["accuracy"] for label in entry["labels"]] == pytest.approx(
        equal[TEST].mean(axis=0).tolist()
    )
    assert "a sample is right where all its labels are" in entry["protocol"]


def test_a_class_beyond_those_of_the_samples_is_an_answer_like_any(request_of_two: ProbeRequest) -> None:
    """A data set may have classes of which no labelled sample is here; the classifier knows them."""
    wide = with_heads(request_of_two, "flat", outputs=NUM_CLASSES + 2)
    always = np.zeros(NUM_CLASSES + 2, np.float32)
    always[-1] = 1e4
    heads = {key: dataclasses.replace(own, bias=always) for key, own in wide.heads.items()}
    measured = measure(dataclasses.replace(wide, heads=heads))
    assert measured.probes[-1]["accuracy"] == 0
    assert set(measured.predictions["predicted/head/lbp"]) == {NUM_CLASSES + 1}


def test_large_features_are_read_in_blocks(
    request_of_two: ProbeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = with_heads(request_of_two, "flat")
    whole = measure(request).predictions["predicted/head/lbp"]
    monkeypatch.setattr("raytrain.evaluation.protocols.BLOCK_BYTES", 4 * CELLS * CHANNELS * 9)
    np.testing.assert_array_equal(measure(request).predictions["predicted/head/lbp"], whole)


def test_features_of_another_width_are_refused(request_of_two: ProbeRequest) -> None:
    request = with_heads(request_of_two, "pooled")
    heads = {key: dataclasses.replace(own, mode="flat") for key, own in request.heads.items()}
    with pytest.raises(DataError, match="features lbp: 15 a sample, but the network's classifier takes 5"):
        measure(dataclasses.replace(request, heads=heads))


def test_scores_that_would_not_fit_are_refused(
    request_of_two: ProbeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = open_features(request_of_two.folder, "lbp")
    task = Task(
        labels=LABELS,
        label_sets=None,
        groups=GROUPS,
        train=TRAIN,
        select=TRAIN[:0],
        test=TEST,
        split="test",
        seed=0,
        classifier=ClassifierProbeConfig(),
    )
    monkeypatch.setattr(room, "GIB", 1000)
    text = (
        r"^classifier of lbp: 64 test samples: needs 10\.8 GiB \(scores of 7 classes 10\.8\), more than "
        r"the 8 GiB that a probe may hold; test on fewer samples$"
    )
    with pytest.raises(ConfigError, match=text):
        answer_head(task, rows, head("lbp", "flat"))
