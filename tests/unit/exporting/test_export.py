"""`raytrain export`: what is written loads anywhere and computes what the run computes."""

import dataclasses
import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import raytrain
from pipelines.decode.image import decode_image, fit_canvas
from pipelines.views.operators.rg import Rg
from raytrain import api
from raytrain.checkpoint import load_latest
from raytrain.cli import main
from raytrain.config import from_mapping
from raytrain.errors import ConfigError, DataError, StorageError
from raytrain.exporting import graphs
from raytrain.training.run_folder import read_run
from tests.conftest import small_values
from tests.unit.encoders.test_resnet import stored_weights

pytestmark = pytest.mark.slow

CANVAS, OPERATORS = 36, ("identity", "lbp", "rg", "dtcwt")
EXAMPLE = """
import runpy, sys
import torch
sys.modules["ray"] = None
torch.manual_seed(5)
found = runpy.run_path(sys.argv[1])
torch.save((found["images"], found["cells"]), sys.argv[2])
"""


def values(out: Path, **changes: Any) -> dict[str, Any]:
    made = small_values(out=str(out), training__epochs=1, **changes)
    base = made["pathways"]["identity"]
    made["pathways"] = {name: {**base, "operator": name} for name in OPERATORS}
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    api.train(from_mapping(values(folder, probe={"enabled": True, "num_bootstrap": 100})))
    return folder


@pytest.fixture(scope="module")
def said(run: Path) -> list[str]:
    """What is said while run/export is written."""
    lines: list[str] = []
    api.export(run, say=lines.append)
    return lines


def images(count: int, side: int = CANVAS) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def represented(run: Path, name: str, seen: Tensor) -> Tensor:
    """What the run itself makes of images."""
    setup = read_run(run)
    pathway = setup.pathway(name, torch.device("cpu"))
    checkpoint = load_latest(setup.checkpoints(name))
    assert checkpoint is not None
    pathway.load_state_tensors(checkpoint.tensors)
    return pathway.represent(seen, dtype=torch.float32)


def test_all_pathways_are_written_and_bitwise_those_of_the_run(run: Path, said: list[str]) -> None:
    written = {path.name for path in (run / "export").iterdir()}
    assert written == {"model.safetensors", "config.json", "README.md", "load_example.py"}
    encoder = raytrain.load_encoder(run / "export")
    seen = images(3)
    with torch.no_grad():
        found = encoder(seen)
    assert tuple(found) == OPERATORS
    for name in OPERATORS:
        assert torch.equal(found[name], represented(run, name, seen))
        assert found[name].dtype == torch.float32
    assert [line.split(":")[0] for line in said] == list(OPERATORS)
    for line in said:
        assert re.search(
            r"step 3, 9 cells of 8 channels; reloaded, largest difference from the run 0 on 16 images of "
            r"split test$",
            line,
        )


def test_weights_that_training_began_with_are_not_needed_again(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(stored_weights(), weights)
    made = small_values(out=str(tmp_path / "run"), training__epochs=1, probe__enabled=False)
    resnet = {"name": "resnet18", "width": 0.125, "pretrained": str(weights)}
    made["pathways"] = {"identity": {**made["pathways"]["identity"], "encoder": resnet}}
    api.train(from_mapping(made))
    api.export(tmp_path / "run", say=lambda text: None)
    weights.unlink()
    assert raytrain.load_encoder(tmp_path / "run" / "export")(images(2))["identity"].shape[0] == 2


def test_the_settings_say_all_that_rebuilds_it(run: Path, said: list[str]) -> None:
    config = json.loads((run / "export" / "config.json").read_text())
    lbp = config["pathways"]["lbp"]
    assert (config["canvas_px"], config["fit"], lbp["centre_crop_px"]) == (CANVAS, "squash", 32)
    assert (lbp["operator"]["name"], lbp["cut"]["size_px"], lbp["maps"]) == ("lbp", 16, [1, 32, 32])
    assert lbp["output"] == {"rows": 3, "columns": 3, "cells": 9, "channels": 8}
    assert config["raytrain"] == raytrain.__version__
    assert config["compared"] == {
        "split": "test",
        "images": 16,
        "largest_difference": dict.fromkeys(OPERATORS, 0.0),
    }


def test_the_card_names_data_settings_figures_and_leaves_the_licence(run: Path, said: list[str]) -> None:
    card = (run / "export" / "README.md").read_text()
    environment = json.loads((run / "env.json").read_text())
    probe = json.loads((run / "summary.json").read_text())["probes"][1]
    assert (
        f"26 training images of source `shapes`, 8 classes; manifest SHA-256 `{environment['manifest_hash']}`"
        in card
    )
    assert f"| lbp | ridge | {probe['accuracy']:.3f} [" in card
    assert f"| {probe['control']:.3f} [" in card
    assert probe["protocol"] in card
    assert "(To be stated by whoever passes these weights on" in card
    assert "load_example.py" in card


def test_the_example_runs_without_ray_and_without_the_run(run: Path, said: list[str], tmp_path: Path) -> None:
    moved = shutil.copytree(run / "export", tmp_path / "moved")
    example = moved / "load_example.py"
    assert len(example.read_text().splitlines()) == 10
    made = tmp_path / "made.pt"
    child = subprocess.run(
        [sys.executable, "-c", EXAMPLE, str(example), str(made)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(raytrain.__file__).parent.parent), "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    assert "lbp [2, 9, 8] torch.float32" in child.stdout
    seen, cells = torch.load(made)
    for name in OPERATORS:
        assert torch.equal(cells[name], represented(run, name, seen))


def test_images_of_another_size_are_brought_to_the_canvas_as_in_training(
    run: Path, said: list[str], tmp_path: Path
) -> None:
    encoder = raytrain.load_encoder(run / "export")
    large = images(2, side=61)
    fitted = [fit_canvas(image.numpy(), canvas_px=CANVAS, fit="squash") for image in large]
    assert torch.equal(encoder(large)["lbp"], encoder(torch.from_numpy(np.stack(fitted)))["lbp"])
    path = tmp_path / "large.png"
    Image.fromarray(large[0].permute(1, 2, 0).numpy()).save(path)
    read = decode_image(path.read_bytes(), canvas_px=CANVAS, fit="squash", max_pixels=10**6)
    assert torch.equal(encoder.read(path), torch.from_numpy(read))
    with pytest.raises(ValueError, match=r"takes images uint8\[B, 3, H, W\]; got float32"):
        encoder(large[:, :, :CANVAS, :CANVAS].float())


def test_gradients_reach_the_encoders(run: Path, said: list[str]) -> None:
    encoder = raytrain.load_encoder(run / "export")
    encoder(images(2))["rg"].square().sum().backward()
    pathway = encoder.pathway("rg")
    assert all(parameter.grad is not None for parameter in pathway.encoder.parameters())


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("pt2", "lbp"),
        pytest.param("pt2", "dtcwt", marks=pytest.mark.slow),
        pytest.param("onnx", "rg", marks=pytest.mark.slow),
        pytest.param("onnx", "lbp", marks=pytest.mark.slow),
        pytest.param("onnx", "dtcwt", marks=pytest.mark.slow),
    ],
)
def test_a_graph_holds_the_operator_and_takes_any_batch(
    run: Path, said: list[str], tmp_path: Path, kind: str, name: str
) -> None:
    if kind == "onnx":
        for package in graphs.ONNX_PACKAGES:
            pytest.importorskip(package)
    lines: list[str] = []
    report = api.export(
        run,
        out=tmp_path / "made",
        pathways=[name],
        onnx=kind == "onnx",
        torch_export=kind == "pt2",
        say=lines.append,
    )
    graph = report.graphs[0]
    assert (graph.file, graph.takes) == (f"{name}.{kind}", "images")
    assert graph.largest_difference <= (0 if kind == "pt2" else 1e-5 * graph.largest_value)
    assert lines[-1].startswith(f"{name}.{kind}: operator and encoder; reloaded, largest difference ")
    file = tmp_path / "made" / graph.file
    for count in (1, 7):
        seen = images(count)
        if kind == "pt2":
            made = torch.export.load(file).module()(seen)
        else:
            import onnxruntime

            session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
            made = torch.from_numpy(session.run(None, {"images": seen.numpy()})[0])
        torch.testing.assert_close(made, represented(run, name, seen), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["untraceable", "unfaithful"])
def test_an_operator_that_does_not_go_in_leaves_the_encoder_alone(
    run: Path, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    plain = Rg.transform

    def transform(self: Rg, seen: Tensor) -> Tensor:
        if torch.compiler.is_exporting() and way == "untraceable":
            raise RuntimeError("depends on the values")
        return plain(self, seen) + (1.0 if torch.compiler.is_exporting() else 0.0)

    monkeypatch.setattr(Rg, "transform", transform)
    lines: list[str] = []
    report = api.export(run, out=tmp_path / "made", pathways=["rg"], torch_export=True, say=lines.append)
    assert report.graphs[0].takes == "maps"
    why = "depends on the values" if way == "untraceable" else r"its graph differs by [\d.]+"
    assert re.match(
        rf"rg\.pt2: the encoder alone, from the operator's maps, for the operator does not go in \({why}\); "
        r"reloaded, largest difference 0 in",
        lines[-1],
    )
    encoder = raytrain.load_encoder(tmp_path / "made")
    maps = encoder.pathway("rg").maps(images(3))
    made = torch.export.load(tmp_path / "made" / "rg.pt2").module()(maps)
    torch.testing.assert_close(made, represented(run, "rg", images(3)), rtol=1e-4, atol=1e-6)
    assert (
        "takes the operator's maps f32[B, C, h, w], not images"
        in (tmp_path / "made" / "README.md").read_text()
    )


def test_missing_onnx_packages_are_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(graphs, "ONNX_PACKAGES", ("onnx", "no_such_package"))
    assert main(["export", str(run), "--onnx", "--out", str(tmp_path / "made")]) == 2
    assert capsys.readouterr().err == "raytrain: --onnx needs no_such_package; pip install 'raytrain[onnx]'\n"
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_prints_differences_and_the_folder(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "a" / "made"
    assert main(["export", str(run), "--pathways", "rg,lbp", f"--out={out}"]) == 0
    text = capsys.readouterr().out
    assert "lbp: step 3, " in text
    assert text.endswith(f"export: {out}\n")
    assert raytrain.load_encoder(out).names == ("rg", "lbp")


def test_an_export_is_replaced_but_nothing_else(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    (out).mkdir()
    api.export(run, out=out, pathways=["lbp"], say=lambda line: None)
    api.export(run, out=out, pathways=["rg"], say=lambda line: None)
    assert raytrain.load_encoder(out).names == ("rg",)
    (out / "LICENSE").write_text("mine")
    with pytest.raises(
        ConfigError, match=r"made: LICENSE was added since it was exported, and would be lost"
    ):
        api.export(run, out=out)
    (out / "LICENSE").unlink()
    (out / "README.md").write_text((out / "README.md").read_text() + "Licence: mine\n")
    with pytest.raises(ConfigError, match=r"made: README\.md was changed since it was exported"):
        api.export(run, out=out)
    assert raytrain.load_encoder(out).names == ("rg",)
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("x")
    with pytest.raises(
        ConfigError, match=r"other is not empty and not an export; name a new or empty folder"
    ):
        api.export(run, out=other)
    with pytest.raises(ConfigError, match=r"letter\.txt is a file; name a folder"):
        api.export(run, out=other / "letter.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "other"]


def test_a_full_disk_leaves_the_former_export(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made"
    api.export(run, out=out, pathways=["lbp"], say=lambda line: None)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*arguments: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("raytrain.exporting.write.card_text", full)
    with pytest.raises(StorageError, match=r"--out .*made: not written: No space left on device; free space"):
        api.export(run, out=out, say=lambda line: None)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_wrong_calls_end_with_2_and_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained = shutil.copytree(run, tmp_path / "untrained", ignore=shutil.ignore_patterns("step-*"))
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, text in (
        ([str(empty)], "not a run folder (no config.toml); name the --out of a `raytrain train`"),
        ([str(tmp_path / "nowhere")], "not a run folder"),
        ([str(untrained)], "no whole checkpoint of pathway identity; train it"),
        ([str(run), "--pathways=lpb"], "unknown pathway 'lpb'; did you mean 'lbp'?"),
        ([str(run), "--onx"], "unknown setting --onx; did you mean 'onnx'?"),
        ([], "RUN"),
    ):
        assert main(["export", *arguments]) == 2
        said = capsys.readouterr().err
        assert text in said
        assert re.fullmatch(r"raytrain: [^\n]+\n", said)


def test_data_that_moved_are_named_and_others_refused(tmp_path: Path) -> None:
    for index in range(24):
        folder = tmp_path / "data" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (CANVAS, CANVAS, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    data = {"source": "folder", "root": str(tmp_path / "data"), "canvas_px": CANVAS, "chunk_mib": 0.03}
    out = tmp_path / "run"
    api.train(from_mapping(small_values(out=str(out), data=data, training__epochs=1)))
    moved = (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(
        DataError, match=r"no such folder.* \(of .*config\.toml\); --data\.root DIR names anothe"
    ):
        api.export(out)
    report = api.export(out, data_root=str(moved), say=lambda line: None)
    assert set(report.differences.values()) == {0.0}
    (moved / "class0" / "0.png").unlink()
    with pytest.raises(
        DataError, match=r"not known to be those of this run: other samples.*: manifest [0-9a-f]{16} then"
    ):
        api.export(out, data_root=str(moved))


def test_damaged_and_foreign_exports_are_refused(run: Path, said: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not an export \(no config\.json of one\)"):
        raytrain.load_encoder(run)
    copy = shutil.copytree(run / "export", tmp_path / "copy")
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    with pytest.raises(StorageError, match=r"model\.safetensors: damaged, its checksum differs"):
        raytrain.load_encoder(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(StorageError, match=r"model\.safetensors: cannot be read"):
        raytrain.load_encoder(copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "format_version": 2}))
    with pytest.raises(ConfigError, match=r"written in format raytrain-export 2, this raytrain reads"):
        raytrain.load_encoder(copy)


def test_a_run_in_bf16_is_compared_in_float32(tmp_path: Path) -> None:
    made = small_values(out=str(tmp_path / "run"), training__epochs=1, training__precision="bf16")
    api.train(from_mapping(made))
    report = api.export(tmp_path / "run", say=lambda line: None)
    assert set(report.differences.values()) == {0.0}
    assert "Trained under bf16 autocast" in (report.folder / "README.md").read_text()


def test_a_difference_is_found(
    run: Path, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raytrain.exported import ExportedPathway

    plain = ExportedPathway.from_maps
    monkeypatch.setattr(ExportedPathway, "from_maps", lambda self, maps: plain(self, maps) + 0.25)
    report = api.export(run, out=tmp_path / "made", pathways=["lbp"], say=lambda line: None)
    assert report.differences["lbp"] == pytest.approx(0.25, abs=1e-6)
    assert dataclasses.is_dataclass(report)
