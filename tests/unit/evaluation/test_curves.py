import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.errors import ConfigError, DataError
from raytrain.evaluation import arrow, moments
from raytrain.evaluation import gram as gram_module
from raytrain.evaluation.curves import all_subsets, open_layers
from raytrain.evaluation.features import FeatureWriter, control_name, layers_name
from raytrain.evaluation.gram import Representations
from raytrain.evaluation.probe import ProbeRequest, measure
from raytrain.evaluation.ridge import fit_ridge
from tests.unit.evaluation.test_probe import GROUPS, LABELS, NUM_CLASSES, TEST, TRAIN, store

NAMES = ["identity", "lbp", "rg"]
SLICES = [{"layer": "layer1", "start": 0, "stop": 4}, {"layer": "layer2", "start": 4, "stop": 10}]


def store_layers(folder: Path, name: str, *, signal: float) -> np.ndarray:
    """All layers of one encoder: the second carries the class."""
    random = np.random.default_rng([5, *name.encode()])
    values = random.standard_normal((60, 10))[GROUPS]
    values[:, 4:] += signal * random.standard_normal((NUM_CLASSES, 6))[LABELS]
    values = (values + 0.1 * random.standard_normal(values.shape)).astype(np.float16)
    writer = FeatureWriter(
        folder, name=layers_name(name), num_samples=len(GROUPS), cells=1, channels=10, max_gib=1
    )
    writer.write(0, values[:, None])
    writer.close({"layers": SLICES})
    return values


@pytest.fixture
def request_of_three(tmp_path: Path) -> ProbeRequest:
    for name, trained, initial in (("identity", 0.5, 0.5), ("lbp", 1.2, 0.2), ("rg", 0.6, 0.4)):
        store(tmp_path, name, signal=trained)
        store(tmp_path, control_name(name), signal=initial, channels=6)
        store_layers(tmp_path, name, signal=2 * trained)
        store_layers(tmp_path, control_name(name), signal=0.3)
    return ProbeRequest(
        folder=tmp_path,
        pathways=NAMES,
        labels=LABELS,
        groups=GROUPS,
        train_rows=TRAIN,
        test_rows=TEST,
        epoch=4,
        seed=7,
        num_bootstrap=300,
    )


def plain_accuracy(values: np.ndarray) -> float:
    """The accuracy of ridge on centred and scaled features, by their eigenvectors."""
    from raytrain.evaluation.ridge import factor_blocks

    rows = values.astype(np.float64)
    rows = rows - rows[TRAIN].mean(axis=0)
    rows *= np.sqrt(len(TRAIN) / (rows[TRAIN] ** 2).sum())
    factor = factor_blocks(lambda: iter([rows[TRAIN]]), lambda: iter([rows[TEST]]))
    result = fit_ridge(factor, LABELS[TRAIN], GROUPS[TRAIN], num_classes=NUM_CLASSES)
    return float(np.mean(result.predictions == LABELS[TEST]))


def test_every_layer_of_every_pathway_has_its_entry(request_of_three: ProbeRequest) -> None:
    entries = measure(dataclasses.replace(request_of_three, layers=True)).layers
    assert [(entry["pathway"], entry["layer"]) for entry in entries] == [
        (name, layer) for name in NAMES for layer in ("layer1", "layer2")
    ]
    for entry in entries:
        assert (entry["features"], entry["protocol_name"]) == ("pooled", "ridge")
        assert entry["interval"][0] <= entry["accuracy"] <= entry["interval"][1]
        assert entry["control_interval"][0] <= entry["control"] <= entry["control_interval"][1]
        assert entry["gain"] == pytest.approx(entry["accuracy"] - entry["control"])
        assert entry["gain_interval"][0] <= entry["gain"] <= entry["gain_interval"][1]
        columns = slice(0, 4) if entry["layer"] == "layer1" else slice(4, 10)
        folder = Path(request_of_three.folder)
        for key, name in (("accuracy", entry["pathway"]), ("control", control_name(entry["pathway"]))):
            values = np.load(folder / f"{layers_name(name)}.npy")[:, 0, columns]
            assert entry[key] == pytest.approx(plain_accuracy(values))
    lbp = [entry["accuracy"] for entry in entries if entry["pathway"] == "lbp"]
    assert lbp[1] > lbp[0] + 0.3


def test_intervals_of_layers_pair_with_those_of_the_probes(request_of_three: ProbeRequest) -> None:
    plain, both = (measure(dataclasses.replace(request_of_three, layers=flag)) for flag in (False, True))
    assert plain.probes == both.probes
    assert plain.layers == []


def test_layers_of_other_data_are_refused(request_of_three: ProbeRequest) -> None:
    folder = Path(request_of_three.folder)
    with pytest.raises(DataError, match=r"features lbp.layers: 240 rows for 7 labels; run represent again"):
        open_layers(folder, "lbp", 7)
    (folder / "rg.control.layers.json").unlink()
    with pytest.raises(DataError, match=r"no finished features 'rg.control.layers' here; run represent"):
        measure(dataclasses.replace(request_of_three, layers=True))


@pytest.mark.parametrize("mode", ["flat", "pooled"])
@pytest.mark.parametrize("leaf", [2, 96])
def test_subsets_equal_separate_probes(
    request_of_three: ProbeRequest, monkeypatch: pytest.MonkeyPatch, mode: Any, leaf: int
) -> None:
    monkeypatch.setattr(arrow, "LEAF", leaf)
    request = dataclasses.replace(request_of_three, mode=mode, subsets=True)
    measured = measure(request)
    assert [tuple(entry["pathways"]) for entry in measured.subsets] == all_subsets(NAMES)
    for entry in measured.subsets:
        names = entry["pathways"]
        alone = measure(dataclasses.replace(request_of_three, mode=mode, pathways=names))
        expected = alone.probes[-1]
        for key in ("accuracy", "interval", "control", "control_interval", "gain", "gain_interval"):
            assert entry[key] == expected[key]
        for suffix in ("", ".control"):
            key = f"predicted/ridge/{'+'.join(names)}{suffix}"
            np.testing.assert_array_equal(measured.predictions[key], alone.predictions[key])


def test_subsets_that_do_not_fit_in_memory_are_read_again(
    request_of_three: ProbeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = dataclasses.replace(request_of_three, subsets=True)
    expected = measure(request).subsets
    monkeypatch.setattr(moments, "KEPT_BYTES", 0)
    monkeypatch.setattr(moments, "BLOCK_BYTES", 1)
    assert measure(request).subsets == expected


def test_moments_are_computed_once(request_of_three: ProbeRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    plain = moments.SharedMoments._rows

    def counted(self: Any, features: Any, *, test: bool) -> np.ndarray:
        if not test and (features.name, False) not in self._kept:
            made.append(features.name)
        return plain(self, features, test=test)

    monkeypatch.setattr(moments.SharedMoments, "_rows", counted)
    measure(dataclasses.replace(request_of_three, subsets=True))
    assert made == [*NAMES, *map(control_name, NAMES)]


def test_the_gram_route_is_taken_where_features_outnumber_rows(
    request_of_three: ProbeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes: list[str] = []
    monkeypatch.setattr(gram_module, "resolvent_of_gram", lambda pair: routes.append("gram"))
    monkeypatch.setattr(moments.SharedMoments, "resolvent", lambda self, features: routes.append("moments"))
    folder = Path(request_of_three.folder)
    from raytrain.evaluation.features import open_features

    file = open_features(folder, "lbp")  # 18 features
    Representations(TRAIN, TEST, num_classes=2).resolvent([file], "flat")
    Representations(TRAIN[:18], TEST, num_classes=2).resolvent([file], "flat")
    assert routes == ["moments", "gram"]


def test_too_many_subsets() -> None:
    assert len(all_subsets([str(index) for index in range(8)])) == 255
    with pytest.raises(ConfigError, match=r"probe.subsets: 9 pathways have 511 subsets; at most 8"):
        all_subsets([str(index) for index in range(9)])
