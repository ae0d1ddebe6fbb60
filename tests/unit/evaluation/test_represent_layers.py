"""All layers' features come from the pass that makes the last layer's, and change nothing about those."""

import dataclasses
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.sources import open_manifest
from pipelines.stream.source import first_samples
from pipelines.views.standardise import Standardiser
from raytrain import api
from raytrain.config import RunConfig, TrainingConfig, Vgg6Config, from_mapping
from raytrain.encoders import mean_over_pixels
from raytrain.evaluation.features import open_features
from raytrain.evaluation.represent import Representer, RepresentRequest, calibrated_names
from raytrain.pathway import Pathway
from tests.conftest import small_values

CPU = torch.device("cpu")
CHANNELS = [1, 2, 2, 4, 8, 8]


def train(out: Path, **probe: Any) -> api.Run:
    values = small_values(
        out=str(out), training__epochs=1, probe={"enabled": True, "shortcut": False, **probe}
    )
    return api.train(from_mapping(values))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return train(tmp_path_factory.mktemp("runs") / "run")


def test_the_last_layers_features_are_bitwise_those_without_the_others(run: api.Run, tmp_path: Path) -> None:
    plain = train(tmp_path / "plain", layers=False)
    names = sorted(path.name for path in (plain.folder / "features").glob("*.npy"))
    assert not [name for name in names if "layers" in name]
    for name in names:
        np.testing.assert_array_equal(
            np.load(run.folder / "features" / name), np.load(plain.folder / "features" / name)
        )
    assert "layers" not in plain.summary
    assert plain.summary["probes"] == run.summary["probes"]
    assert [entry["layer"] for entry in run.summary["layers"]] == 2 * [
        f"layer{index + 1}" for index in range(6)
    ]


@pytest.mark.parametrize("name", ["identity", "lbp.control"])
def test_the_file_says_where_each_layer_lies(run: api.Run, name: str) -> None:
    file = open_features(run.folder / "features", f"{name}.layers")
    assert file.array.shape == (42, 1, 25)
    slices = file.meta["layers"]
    assert [entry["layer"] for entry in slices] == [f"layer{index + 1}" for index in range(6)]
    assert [entry["stop"] - entry["start"] for entry in slices] == CHANNELS
    assert [entry["start"] for entry in slices] == np.r_[0, np.cumsum(CHANNELS)[:-1]].tolist()
    assert file.meta["steps"] == open_features(run.folder / "features", name).meta["steps"]
    last = open_features(run.folder / "features", name).array.astype(np.float32).mean(axis=1)
    np.testing.assert_allclose(file.array[:, 0, slices[-1]["start"] :], last, atol=2e-3, rtol=2e-3)
    assert np.abs(last).max() > 0.01


def pathway(config: RunConfig, name: str, device: torch.device, *, loss_at: str = "after_pool") -> Pathway:
    channels = {"identity": 3, "lbp": 1}[name]
    encoder = Vgg6Config(width=0.0078125, batch_norm=True, loss_at=loss_at)  # type: ignore[arg-type]
    return Pathway(
        name,
        dataclasses.replace(config.pathways[name], encoder=encoder),
        seed=config.seed,
        canvas_px=36,
        num_classes=2,
        device=device,
        training=TrainingConfig(device="cpu"),
        standardiser=Standardiser(mean=[0.4] * channels, deviation=[0.3] * channels),
    )


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 3, 36, 36), dtype=np.uint8)


@pytest.mark.parametrize("loss_at", ["after_pool", "before_pool"])
def test_layers_are_means_over_cells_and_pixels(pictures: np.ndarray, loss_at: str) -> None:
    built = pathway(from_mapping(small_values()), "identity", CPU, loss_at=loss_at)
    views = built.views_of(torch.from_numpy(pictures))
    last, layers = built.represent_layers(views, dtype=torch.float32)
    assert torch.equal(last, built.represent_views(views, dtype=torch.float32))
    maps, expected = views.flatten(0, 2), []
    with torch.no_grad():
        for layer in built.encoder.layers:
            activity = layer.norm(layer.conv(maps)).relu()
            pooled = torch.nn.functional.max_pool2d(activity, 2) if layer.pool else activity
            seen = pooled if loss_at == "after_pool" else activity
            cells = mean_over_pixels(seen).view(*views.shape[:3], -1)
            expected.append(cells.permute(1, 0, 2, 3).flatten(1, 2).mean(dim=1))
            maps = pooled
    torch.testing.assert_close(layers[:, 0], torch.cat(expected, dim=1), atol=1e-5, rtol=1e-4)


def test_only_what_is_wanted_is_loaded_and_made(run: api.Run) -> None:
    config = from_mapping(small_values(probe={"enabled": True}))
    request = RepresentRequest(
        config=config,
        checkpoints={name: str(run.folder / "checkpoints" / name) for name in config.pathways},
        build=partial(pathway, config),
    )
    statistics = {name: pathway(config, name, CPU).statistics() for name in config.pathways}
    chunk = first_samples(open_manifest(config.data), config.data, seed=0, count=5)
    everything = Representer(request, statistics).features(chunk)
    assert calibrated_names(request) == ["identity", "lbp"]
    sides = [side for name in config.pathways for side in (name, f"{name}.control")]
    layers = [f"{side}.layers" for side in sides]
    assert sorted(everything) == sorted([*sides, *layers, "floor.pixels", "floor.lbp"])
    for wanted, made in (
        (("lbp",), {"lbp", "lbp.layers"}),
        (("identity.control", "floor.lbp"), {"identity.control", "identity.control.layers", "floor.lbp"}),
    ):
        some = dataclasses.replace(request, wanted=wanted, checkpoints=dict(request.checkpoints))
        needed = {name: statistics[name] for name in calibrated_names(some)}
        assert sorted(needed) == [name.removesuffix(".control") for name in wanted if "control" in name]
        if wanted == ("identity.control", "floor.lbp"):  # a control needs no checkpoint
            some = dataclasses.replace(some, checkpoints={"identity": "nowhere", "lbp": "nowhere"})
        found = Representer(some, needed).features(chunk)
        assert set(found) == made
        for name, values in found.items():
            np.testing.assert_array_equal(values, everything[name])


def test_probing_again_with_other_settings(run: api.Run, capsys: pytest.CaptureFixture[str]) -> None:
    from raytrain.cli import main
    from raytrain.reporting.predictions import load_predictions

    before = (run.folder / "config.toml").read_text()
    assert (
        main(["probe", str(run.folder), "--protocols", "knn,ridge", "--subsets", "True", "--layers=False"])
        == 0
    )
    said = capsys.readouterr().out
    assert "nearest neighbours by cosine" in said
    assert "identity+lbp" in said
    assert (run.folder / "config.toml").read_text() == before
    found = load_predictions(run.folder)
    assert found is not None
    assert list(found.predicted) == ["ridge", "knn"]
    assert found.keys("ridge")[:2] == ["identity", "lbp"]
    again = api.probe(run.folder)
    assert "subsets" not in again.summary
    assert again.summary["probes"] == run.summary["probes"]
    assert again.summary["layers"] == run.summary["layers"]


def test_features_of_before_the_layers_are_probed_without(
    run: api.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    from raytrain.cli import main

    for file in (run.folder / "features").glob("*.layers.*"):
        file.unlink()
    assert main(["probe", str(run.folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "layers: the features are of an earlier version; `raytrain represent RUN` writes them"
    )
    api.represent(run.folder)
    assert api.probe(run.folder).summary["layers"] == run.summary["layers"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocols", "kn"], "probe.protocols: unknown protocol 'kn'; did you mean 'knn'?"),
        (["--protocol=knn"], "unknown setting --protocol; did you mean 'protocols'?"),
        (["--classifier.epochs=0"], "probe.classifier.epochs is 0; it must be at least 1"),
    ],
)
def test_wrong_settings_of_the_probe(
    run: api.Run, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    from raytrain.cli import main

    assert main(["probe", str(run.folder), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_probing_needs_no_ray(run: api.Run) -> None:
    code = (
        "import sys; sys.modules['ray'] = None; from raytrain.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "probe", str(run.folder), "--protocols=ridge,knn"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
