import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.config import ClassifierProbeConfig
from raytrain.errors import DataError
from raytrain.evaluation.features import FeatureWriter
from raytrain.evaluation.probe import (
    ProbeRequest,
    control_name,
    floor_name,
    measure,
    run_probes,
    same_strength_name,
)
from raytrain.metrics import group_bootstrap

NUM_GROUPS, SIZE, NUM_CLASSES = 60, 4, 4
GROUPS = np.repeat(np.arange(NUM_GROUPS), SIZE)
LABELS = GROUPS % NUM_CLASSES
TRAIN, TEST = np.flatnonzero(GROUPS < 40), np.flatnonzero(GROUPS >= 40)


def store(folder: Path, name: str, *, signal: float, channels: int = 6, seed: int = 0) -> None:
    """Features whose cells carry the class with the given strength, near copies within a group."""
    random = np.random.default_rng([seed, *name.encode()])
    means = random.standard_normal((NUM_CLASSES, channels)) * signal
    values = means[LABELS] + random.standard_normal((NUM_GROUPS, channels))[GROUPS]
    values = values[:, None] + 0.1 * random.standard_normal((GROUPS.size, 3, channels))
    settings = {"num_samples": GROUPS.size, "cells": 3, "channels": channels}
    writer = FeatureWriter(folder, name=name, max_gib=1, **settings)  # type: ignore[arg-type]
    writer.write(0, values)
    writer.close()


@pytest.fixture
def request_of_three(tmp_path: Path) -> ProbeRequest:
    for name, trained, initial in (("identity", 0.5, 0.5), ("lbp", 1.2, 0.2), ("rg", 0.6, 0.4)):
        store(tmp_path, name, signal=trained)
        store(tmp_path, control_name(name), signal=initial, channels=100 if name == "rg" else 6)
    store(tmp_path, floor_name("pixels"), signal=0.3)
    return ProbeRequest(
        folder=tmp_path,
        pathways=["identity", "lbp", "rg"],
        floors=["pixels"],
        labels=LABELS,
        groups=GROUPS,
        train_rows=TRAIN,
        test_rows=TEST,
        epoch=4,
        seed=7,
        num_bootstrap=300,
    )


def plain_predictions(folder: Path, names: list[str], strength: float, *, pooled: bool = False) -> np.ndarray:
    """Ridge on concatenated, centred, scaled features by the normal equations."""
    parts = []
    for name in names:
        values = np.load(folder / f"{name}.npy").astype(np.float64)
        values = values.mean(axis=1) if pooled else values.reshape(len(values), -1)
        values = values - values[TRAIN].mean(axis=0)
        parts.append(values / np.sqrt((values[TRAIN] ** 2).sum() / len(TRAIN)))
    features = np.concatenate(parts, axis=1)
    targets = np.where(LABELS[TRAIN][:, None] == np.arange(NUM_CLASSES), 1.0, -1.0)
    train, mean = features[TRAIN], targets.mean(axis=0)
    moments = train.T @ train + strength * np.eye(train.shape[1])
    return np.asarray(
        (mean + features[TEST] @ np.linalg.solve(moments, train.T @ (targets - mean))).argmax(1)
    )


def test_entries_keep_the_contract(request_of_three: ProbeRequest) -> None:
    entries = run_probes(request_of_three)
    assert json.loads(json.dumps(entries, allow_nan=False)) == entries
    assert [entry["pathways"] for entry in entries] == [
        ["identity"],
        ["lbp"],
        ["rg"],
        ["identity", "lbp", "rg"],
    ]
    for entry in entries:
        assert (entry["epoch"], entry["features"], entry["split"], entry["seed"]) == (4, "flat", "test", 7)
        assert (entry["n"], entry["groups"]) == (80, 20)
        assert entry["interval"][0] <= entry["accuracy"] <= entry["interval"][1]
        assert entry["control_interval"][0] <= entry["control"] <= entry["control_interval"][1]
        assert entry["gain"] == pytest.approx(entry["accuracy"] - entry["control"])
        assert "trained on 160 samples of 40 groups" in entry["protocol"]
        assert "300 resamples" in entry["protocol"]
    assert "of 3 pathways, each scaled to unit variance" in entries[-1]["protocol"]


@pytest.mark.parametrize("mode", ["flat", "pooled"])
def test_figures_equal_plain_ridge(request_of_three: ProbeRequest, mode: Any) -> None:
    folder, truth = Path(request_of_three.folder), LABELS[TEST]
    entries = run_probes(dataclasses.replace(request_of_three, mode=mode))
    pooled, correct = mode == "pooled", {}
    for entry in entries:
        names = entry["pathways"]
        controls = [control_name(name) for name in names]
        trained = plain_predictions(folder, names, entry["strength"], pooled=pooled) == truth
        initial = plain_predictions(folder, controls, entry["control_strength"], pooled=pooled) == truth
        assert (entry["accuracy"], entry["control"]) == pytest.approx((trained.mean(), initial.mean()))
        same = plain_predictions(folder, controls, entry["strength"], pooled=pooled) == truth
        assert entry["gain_same_strength"] == pytest.approx(trained.mean() - same.mean())
        low, high = entry["gain_same_strength_interval"]
        assert low <= entry["gain_same_strength"] <= high
        correct["+".join(names)] = (trained, initial)
    floor = entries[1]["floors"][0]
    pixels = plain_predictions(folder, ["floor.pixels"], floor["strength"]) == truth
    rows = np.array([*correct["lbp"], *correct["identity"], pixels])
    intervals = group_bootstrap(rows, GROUPS[TEST], num_resamples=300, seed=7)
    gain = intervals.difference(0, 1)
    assert entries[1]["gain_interval"] == pytest.approx([gain.low, gain.high])
    assert (floor["name"], floor["features"], floor["accuracy"]) == ("pixels", "flat", pixels.mean())
    lead = intervals.difference(0, 4)
    assert floor["difference"] == pytest.approx(lead.estimate)
    assert floor["difference_interval"] == pytest.approx([lead.low, lead.high])
    contrast = entries[1]["contrasts"][0]
    expected = intervals.contrast([1, -1, -1, 1, 0])
    assert contrast["name"] == "gain of lbp - gain of identity"
    assert contrast["difference"] == pytest.approx(expected.estimate)
    assert contrast["interval"] == pytest.approx([expected.low, expected.high])


def test_joined_is_compared_with_the_single_best_on_training_rows(request_of_three: ProbeRequest) -> None:
    entries = run_probes(request_of_three)
    single = {entry["pathways"][0]: entry["logo_accuracy"] for entry in entries[:3]}
    best = max(single, key=lambda name: single[name])
    lead = entries[3]["contrasts"][0]
    accuracy = next(entry["accuracy"] for entry in entries if entry["pathways"] == [best])
    assert lead["name"] == f"joined - {best} (best single by logo_accuracy)"
    assert lead["difference"] == pytest.approx(entries[3]["accuracy"] - accuracy)
    assert lead["interval"][0] <= lead["difference"] <= lead["interval"][1]


def test_contrasts_only_where_there_is_something_to_compare(request_of_three: ProbeRequest) -> None:
    names = [[c["name"] for c in entry["contrasts"]] for entry in run_probes(request_of_three)]
    assert names[0] == []
    assert names[3][1] == "gain of joined - gain of identity"
    alone = run_probes(dataclasses.replace(request_of_three, pathways=["lbp"], floors=[]))
    assert [(entry["pathways"], entry["floors"], entry["contrasts"]) for entry in alone] == [
        (["lbp"], [], [])
    ]


def test_signal_and_its_absence_show(request_of_three: ProbeRequest, tmp_path: Path) -> None:
    lbp = run_probes(request_of_three)[1]
    assert lbp["gain_interval"][0] > 0
    store(tmp_path, "noise", signal=0, channels=300)
    store(tmp_path, "noise.control", signal=0, channels=300)
    noise = run_probes(dataclasses.replace(request_of_three, pathways=["noise"], floors=[]))[0]
    assert noise["accuracy"] < 0.5
    assert noise["logo_accuracy"] < 0.5


def test_samples_without_label_are_left_out(request_of_three: ProbeRequest) -> None:
    unlabelled = LABELS.copy()
    unlabelled[[TRAIN[0], TEST[0], *TEST[-SIZE:]]] = -1
    entry = run_probes(dataclasses.replace(request_of_three, labels=unlabelled))[0]
    assert (entry["n"], entry["groups"]) == (75, 19)
    assert "trained on 159 samples of 40 groups" in entry["protocol"]


def test_class_unseen_in_training_counts_as_wrong(request_of_three: ProbeRequest) -> None:
    train_rows = TRAIN[LABELS[TRAIN] != 3]
    entries = run_probes(dataclasses.replace(request_of_three, train_rows=train_rows))
    assert all(entry["accuracy"] <= 0.75 for entry in entries)


def test_floors_are_flat_even_where_the_pathways_are_pooled(request_of_three: ProbeRequest) -> None:
    """The class lies in the pattern over the cells; their mean says nothing."""
    values = np.zeros((GROUPS.size, 2, NUM_CLASSES))
    values[np.arange(GROUPS.size), 0, LABELS] = 1
    values[np.arange(GROUPS.size), 1, LABELS] = -1
    folder = Path(request_of_three.folder)
    writer = FeatureWriter(
        folder, name="floor.edges", num_samples=GROUPS.size, cells=2, channels=NUM_CLASSES, max_gib=1
    )
    writer.write(0, values)
    writer.close()
    changed = dataclasses.replace(request_of_three, mode="pooled", floors=["edges"])
    assert run_probes(changed)[0]["floors"][0]["accuracy"] == 1.0


def test_same_request_same_entries(request_of_three: ProbeRequest) -> None:
    assert run_probes(request_of_three) == run_probes(request_of_three)


def test_groups_in_both_splits_are_refused(request_of_three: ProbeRequest) -> None:
    rows = np.r_[TEST, TRAIN[5:7]]
    with pytest.raises(
        DataError, match=r"1 groups have samples in both probe_train and test, the first is group 1"
    ):
        run_probes(dataclasses.replace(request_of_three, test_rows=rows))


@pytest.mark.parametrize(("field", "split"), [("train_rows", "probe_train"), ("test_rows", "test")])
def test_splits_need_groups(request_of_three: ProbeRequest, field: str, split: str) -> None:
    rows = (TRAIN if field == "train_rows" else TEST)[:SIZE]
    changed: dict[str, Any] = {field: rows}
    with pytest.raises(DataError, match=f"split {split} has 4 labelled samples in 1 groups"):
        run_probes(dataclasses.replace(request_of_three, **changed))


def test_features_of_other_data(request_of_three: ProbeRequest) -> None:
    longer: dict[str, Any] = {"labels": np.r_[LABELS, 0], "groups": np.r_[GROUPS, 99]}
    with pytest.raises(DataError, match="features identity: 240 rows for 241 labels"):
        run_probes(dataclasses.replace(request_of_three, **longer))


def test_missing_control(request_of_three: ProbeRequest) -> None:
    (Path(request_of_three.folder) / "lbp.control.json").unlink()
    with pytest.raises(DataError, match=r"no finished features 'lbp.control' here"):
        run_probes(request_of_three)


PROTOCOLS = ("ridge", "logistic", "knn", "classifier")


@pytest.fixture
def request_of_all(request_of_three: ProbeRequest) -> ProbeRequest:
    quick = ClassifierProbeConfig(hidden=8, epochs=2, learning_rate=1e-2)
    select = dataclasses.replace(request_of_three, classifier=quick, protocols=PROTOCOLS)
    return dataclasses.replace(
        select, train_rows=TRAIN[GROUPS[TRAIN] < 30], select_rows=TRAIN[GROUPS[TRAIN] >= 30]
    )


@pytest.mark.slow
def test_every_protocol_has_entries_for_all_representations(request_of_all: ProbeRequest) -> None:
    entries = run_probes(request_of_all)
    assert json.loads(json.dumps(entries, allow_nan=False)) == entries
    sets = [["identity"], ["lbp"], ["rg"], ["identity", "lbp", "rg"]]
    assert [(entry["protocol_name"], entry["pathways"]) for entry in entries] == [
        (protocol, names) for protocol in PROTOCOLS for names in sets
    ]
    for entry in entries:
        assert entry["interval"][0] <= entry["accuracy"] <= entry["interval"][1]
        assert entry["gain"] == pytest.approx(entry["accuracy"] - entry["control"])
        assert (entry["top5"], entry["control_top5"]) == (None, None)  # four classes
        assert ("gain_same_strength" in entry) == (entry["protocol_name"] == "ridge")
        assert [floor["name"] for floor in entry["floors"]] == ["pixels"]
        assert "trained on 120 samples of 30 groups" in entry["protocol"]
    words = {entry["protocol_name"]: entry["protocol"].split(" on frozen")[0] for entry in entries}
    assert words == {
        "ridge": "ridge classifier with intercept",
        "logistic": "multinomial logistic regression with intercept",
        "knn": "nearest neighbours by cosine (k = 20, votes exp(cosine / 0.07))",
        "classifier": "classifier Linear(8), dropout 0.5, Linear",
    }
    joined = {entry["protocol_name"]: entry["contrasts"][0]["name"] for entry in entries[3::4]}
    assert [name.split("best single by ")[1] for name in joined.values()] == [
        "logo_accuracy)",
        "fold_accuracy)",
        "logo_accuracy)",
        "select_accuracy)",
    ]
    assert "best of 2 epochs on split select (40 samples)" in entries[-1]["protocol"]
    assert {"strength", "control_strength", "fold_accuracy", "control_fold_accuracy"} <= entries[4].keys()
    assert {"best_epoch", "control_best_epoch", "select_accuracy"} <= entries[12].keys()


@pytest.mark.slow
def test_a_protocol_does_not_change_the_others(request_of_all: ProbeRequest) -> None:
    """Nor does it change the ridge entries of a request for ridge alone."""
    together = run_probes(request_of_all)
    for index, protocol in enumerate(PROTOCOLS[:3]):
        alone = run_probes(dataclasses.replace(request_of_all, protocols=[protocol]))
        assert alone == together[4 * index : 4 * index + 4]


@pytest.mark.slow
def test_predictions_are_kept_for_every_result(request_of_all: ProbeRequest) -> None:
    measured = measure(request_of_all)
    arrays = measured.predictions
    np.testing.assert_array_equal(arrays["rows"], TEST)
    np.testing.assert_array_equal(arrays["truth"], LABELS[TEST])
    np.testing.assert_array_equal(arrays["groups"], GROUPS[TEST])
    keys = ["identity", "lbp", "rg", "identity+lbp+rg"]
    expected = {f"predicted/{protocol}/floor.pixels" for protocol in PROTOCOLS}
    for entry in measured.probes:
        for suffix, figure in (("", "accuracy"), (".control", "control")):
            name = f"predicted/{entry['protocol_name']}/{'+'.join(entry['pathways'])}{suffix}"
            expected.add(name)
            assert np.mean(arrays[name] == arrays["truth"]) == pytest.approx(entry[figure])
            assert arrays[name].dtype == np.int64
        if entry["protocol_name"] == "ridge":
            expected.add(alike := f"predicted/ridge/{same_strength_name('+'.join(entry['pathways']))}")
            right = np.mean(arrays[alike] == arrays["truth"])
            assert entry["accuracy"] - right == pytest.approx(entry["gain_same_strength"])
    assert set(arrays) == expected | {"rows", "truth", "groups"}
    assert len(expected) == 4 * (2 * len(keys) + 1) + len(keys)


def test_top_five_of_seven_classes(tmp_path: Path) -> None:
    labels = GROUPS % 7
    random = np.random.default_rng(0)
    for name in ("lbp", control_name("lbp")):
        values = random.standard_normal((7, 10))[labels] + 2 * random.standard_normal((60, 10))[GROUPS]
        writer = FeatureWriter(tmp_path, name=name, num_samples=GROUPS.size, cells=1, channels=10, max_gib=1)
        writer.write(0, values[:, None])
        writer.close()
    request = ProbeRequest(
        folder=tmp_path,
        pathways=["lbp"],
        labels=labels,
        groups=GROUPS,
        train_rows=TRAIN,
        test_rows=TEST,
        epoch=1,
        seed=0,
        protocols=["ridge", "knn"],
        num_bootstrap=300,
    )
    for entry in run_probes(request):
        assert entry["accuracy"] < entry["top5"] <= 1
        assert entry["top5_interval"][0] <= entry["top5"] <= entry["top5_interval"][1]
        assert entry["control_top5_interval"][0] <= entry["control_top5"]
    six = dataclasses.replace(request, labels=np.minimum(labels, 5))
    assert run_probes(six)[0]["top5"] is not None
    five = dataclasses.replace(request, labels=np.minimum(labels, 4))
    assert run_probes(five)[0]["top5"] is None


def test_several_labels_a_sample(request_of_all: ProbeRequest) -> None:
    sets = np.stack([LABELS == 0, LABELS != 1, LABELS >= 2], axis=1).astype(np.uint8)
    labels = np.zeros(GROUPS.size, int)
    labels[TEST[:SIZE]] = -1
    names = ["crack", "rust", "spall"]
    request = dataclasses.replace(request_of_all, labels=labels, label_sets=sets, label_names=names)
    measured = measure(request)
    rows = TEST[SIZE:]
    np.testing.assert_array_equal(measured.predictions["truth"], sets[rows])
    for entry in measured.probes:
        key = f"predicted/{entry['protocol_name']}/{'+'.join(entry['pathways'])}"
        for suffix, prefix in (("", ""), (".control", "control_")):
            predicted = measured.predictions[key + suffix]
            assert predicted.dtype == np.uint8
            equal = predicted == sets[rows]
            assert entry["control" if prefix else "accuracy"] == pytest.approx(equal.all(axis=1).mean())
            assert entry[f"{prefix}label_accuracy"] == pytest.approx(equal.mean())
            each = [label["control" if prefix else "accuracy"] for label in entry["labels"]]
            assert each == pytest.approx(equal.mean(axis=0).tolist())
        low, high = entry["label_accuracy_interval"]
        assert low <= entry["label_accuracy"] <= high
        assert [label["label"] for label in entry["labels"]] == names
        assert entry["top5"] is None
        assert entry["n"] == 76
        assert "a sample is right where all its labels are" in entry["protocol"]
    assert measured.probes[0]["protocol"].startswith("one ridge regression a label with intercept on")
    assert measured.probes[1]["label_accuracy"] > 0.8


def test_groups_in_both_training_and_selection_are_refused(request_of_all: ProbeRequest) -> None:
    with pytest.raises(DataError, match=r"have samples in both probe_train and select, the first is group 3"):
        run_probes(dataclasses.replace(request_of_all, select_rows=TRAIN[3 * SIZE :]))


def test_probing_loads_neither_torch_nor_ray() -> None:
    code = "import sys, raytrain.evaluation.probe; print({'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
