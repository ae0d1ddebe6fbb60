"""A supervised pathway's own classifier at the end of whole runs, beside the network run end to end."""

import html
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.modalities import modality_of
from raytrain import api
from raytrain.config import from_mapping
from raytrain.evaluation.represent import decoded, evaluation_source
from raytrain.objectives.supervised import Supervised
from raytrain.pathway import Pathway
from raytrain.reporting.predictions import load_predictions
from raytrain.reporting.results import results_text
from raytrain.training.evaluate import probe_rows
from raytrain.training.run_folder import newest_checkpoint, read_run
from tests.conftest import small_values
from tests.event_runs import event_values

pytestmark = pytest.mark.usefixtures("undrawn")  # probing again draws again

VGG6 = {"name": "vgg6", "width": 0.03125, "batch_norm": True}
QUICK = {"optimizer": {"learning_rate": 0.01}, "augmentation": {"crop_px": 32}, "encoder": VGG6}
PATHWAYS: dict[str, dict[str, Any]] = {
    "identity": {**QUICK, "objective": {"name": "supervised", "pool": "mean"}},
    "lbp": {**QUICK, "operator": "lbp", "objective": {"name": "supervised", "pool": "flat"}},
    "clapp": {**QUICK, "objective": {"name": "clapp", "num_steps": 1}},
}


def settings(out: Path, **changes: Any) -> dict[str, Any]:
    base = {"probe": {"num_bootstrap": 100}, "pathways": PATHWAYS}
    return small_values(out=str(out), data__shapes={"num_train": 34, "num_test": 32}, **(base | changes))


def heads(run: api.Run) -> list[str]:
    return [e["pathways"][0] for e in run.summary["probes"] if e["protocol_name"] == "head"]


def entry_of(run: api.Run, name: str, protocol: str = "head") -> dict[str, Any]:
    (found,) = (e for e in run.summary["probes"] if (e["protocol_name"], e["pathways"]) == (protocol, [name]))
    return found


@torch.no_grad()
def end_to_end(folder: Path, name: str, *, trained: bool = True) -> torch.Tensor:
    """Return the logits of the whole network on the test samples, none of its features rounded."""
    setup = read_run(folder)
    assert setup.manifest is not None
    pathway: Pathway = setup.pathway(name, torch.device("cpu"))
    if trained:
        pathway.load_state_tensors(newest_checkpoint(setup, name).tensors)
    rows = setup.manifest.indices("test")
    found = []
    for chunk in decoded(evaluation_source(setup.config, setup.manifest, rows)):
        for piece in modality_of(setup.config).pieces(chunk, setup.config.pathways[name], size=5):
            assert isinstance(pathway.objective, Supervised)
            found.append(pathway.objective.logits(pathway.representation_of(piece)))
    return torch.cat(found)


def check(run: api.Run, name: str) -> torch.Tensor:
    """Compare predictions and accuracy with the network's; return its logits."""
    setup = read_run(run.folder)
    assert setup.manifest is not None
    predictions = load_predictions(run.folder)
    assert predictions is not None
    tested = probe_rows(setup.manifest)["rows"][predictions.rows]
    np.testing.assert_array_equal(tested, setup.manifest.indices("test"))
    logits = end_to_end(run.folder, name)
    best = logits.argmax(1).numpy()
    np.testing.assert_array_equal(predictions.predicted["head"][name], best)
    assert entry_of(run, name)["accuracy"] == pytest.approx(np.mean(best == setup.manifest.labels[tested]))
    return logits


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return api.train(from_mapping(settings(tmp_path_factory.mktemp("head") / "run")))


@pytest.mark.parametrize("name", ["identity", "lbp"])
def test_it_is_the_network_run_end_to_end(run: api.Run, name: str) -> None:
    """Of both pools: channels averaged over the cells, and all cells in the order of the features."""
    logits = check(run, name)
    assert len(logits.argmax(1).unique()) > 1
    assert entry_of(run, name)["features"] == ("pooled" if name == "identity" else "flat")


def test_the_control_is_the_network_with_its_initial_weights(run: api.Run) -> None:
    setup = read_run(run.folder)
    assert setup.manifest is not None
    initial = setup.pathway("lbp", torch.device("cpu")).objective.classifier
    assert isinstance(initial, torch.nn.Linear)
    features = torch.from_numpy(np.load(run.folder / "features" / "lbp.control.npy")).float()
    places = probe_rows(setup.manifest)["test"]
    predictions = load_predictions(run.folder)
    assert predictions is not None
    with torch.no_grad():
        expected = initial(features.flatten(1)[places]).argmax(1).numpy()
    np.testing.assert_array_equal(predictions.predicted["head"]["lbp.control"], expected)


def test_only_supervised_pathways_have_it_and_alone(run: api.Run) -> None:
    assert heads(run) == ["identity", "lbp"]
    ridge = [e["pathways"] for e in run.summary["probes"] if e["protocol_name"] == "ridge"]
    assert ridge == [["identity"], ["lbp"], ["clapp"], ["identity", "lbp", "clapp"]]
    with np.load(run.folder / "predictions.npz") as file:
        found = {name for name in file.files if name.startswith("predicted/head/")}
    sides = ("identity", "identity.control", "lbp", "lbp.control")
    assert found == {f"predicted/head/{side}" for side in sides}
    for name in ("pathways", "protocol", "split", "accuracy", "interval", "control", "n", "groups"):
        assert entry_of(run, "lbp")[name] is not None


@pytest.mark.slow
def test_every_text_tells_of_it(run: api.Run) -> None:
    text = results_text(run.summary)
    assert text.splitlines()[-1].startswith("n 32 in 32 groups; the network's own classifier (")
    page = html.unescape(api.report(run.folder).read_text())
    assert "The network's own classifier, 95 % intervals in brackets" in page
    assert "Ridge classifier, 95 % intervals in brackets" in page
    compared = api.compare(run.folder, run.folder).splitlines()
    (place,) = (place for place, line in enumerate(compared) if line.startswith("head "))
    assert [line.split("  ")[0] for line in compared[place + 1 : place + 5]] == [
        "identity",
        "gain of identity",
        "lbp",
        "gain of lbp",
    ]


@pytest.mark.slow
def test_probing_again_measures_it_again_whatever_the_protocols(run: api.Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    before = entry_of(run, "lbp")
    for protocols in ("ridge", "knn"):
        probe = from_mapping(settings(tmp_path, probe={"num_bootstrap": 100, "protocols": protocols})).probe
        again = api.probe(tmp_path / "run", probe)
        assert heads(again) == ["identity", "lbp"]
        assert entry_of(again, "lbp") == before


@pytest.mark.slow
def test_weights_of_another_step_than_the_features_are_not_taken(run: api.Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (newest,) = (folder / "checkpoints" / "lbp").glob("step-00000012")
    newest.rename(newest.with_name("step-00000013"))
    again = api.probe(folder)
    assert heads(again) == ["identity"]
    assert "lbp: its own classifier is not measured: its features are of step 12" in (
        (folder / "log.txt").read_text()
    )


@pytest.mark.slow
def test_pathways_from_the_cache_have_it(
    run: api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))
    for name in ("first", "second"):
        found = api.train(from_mapping(settings(tmp_path / name)))
        assert [entry_of(found, key) for key in heads(found)] == [entry_of(run, key) for key in heads(run)]
    assert all(pathway["cached_steps"] == 12 for pathway in found.summary["pathways"])


def test_seeds_have_a_table_of_it(tmp_path: Path) -> None:
    pathways = {"identity": PATHWAYS["identity"]}
    runs = api.train_seeds(from_mapping(settings(tmp_path, pathways=pathways, training__epochs=1)), 2)
    table = json.loads((tmp_path / "seeds.json").read_text())
    figures = [entry_of(one, "identity")["accuracy"] for one in runs]
    assert table["further"]["head"]["identity"]["accuracy"]["seeds"] == figures


def test_recordings(tmp_path: Path) -> None:
    """Two rows of time, each with cells of its own."""
    values = event_values(tmp_path / "run", ("frames",), probe={"batch_size": 8, "num_bootstrap": 100})
    frames = {**values["pathways"]["frames"], "encoder": VGG6, "optimizer": {"learning_rate": 0.01}}
    values["pathways"] = {"frames": frames | {"objective": {"name": "supervised", "pool": "flat"}}}
    assert len(check(api.train(from_mapping(values)), "frames").argmax(1).unique()) > 1


def test_several_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["path,split,label"]
    (tmp_path / "images").mkdir()
    for number in range(48):
        pixels = random.integers(0, 60, (36, 36, 3), dtype=np.uint8)
        names = [name for name, bit in (("bright", 1), ("red", 2)) if number & bit] or ["dark"]
        pixels += np.uint8(90 * ("bright" in names))
        pixels[..., 0] += np.uint8(90 * ("red" in names))
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        lines.append(f"{number}.png,{'train' if number < 32 else 'test'},{'|'.join(names)}")
    (tmp_path / "images" / "list.csv").write_text("\n".join(lines))
    values = settings(tmp_path / "run", pathways={"identity": PATHWAYS["identity"]})
    data = {"source": "csv", "root": str(tmp_path / "images"), "csv": {"label_separator": "|"}}
    values["data"] = data | {"canvas_px": 36, "select_fraction": 0.0, "chunk_mib": 0.03}
    run = api.train(from_mapping(values))
    logits = end_to_end(run.folder, "identity")
    predictions = load_predictions(run.folder)
    assert predictions is not None
    expected = (torch.sigmoid(logits) > 0.5).numpy()
    assert expected.shape == (16, 3)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(predictions.predicted["head"]["identity"], expected)
    entry = entry_of(run, "identity")
    assert entry["accuracy"] == pytest.approx((expected == predictions.truth).all(axis=1).mean())
    assert [label["label"] for label in entry["labels"]] == ["bright", "dark", "red"]
