"""The papers' presets are what the paper says, and their dry run works where the data is at hand."""

from pathlib import Path

import pytest
from PIL import Image

from raytrain.cli import main
from raytrain.config import load_preset

PAPER = ("gtsrb-paper", "stl10-paper", "codebrim-paper")


@pytest.mark.parametrize("name", PAPER)
def test_settings_are_the_papers(name: str) -> None:
    config = load_preset(name)
    assert (config.training.epochs, config.training.batch_size) == (200, 64)
    assert list(config.pathways) == ["base", "lbp", "rg", "dtcwt"]
    for pathway in config.pathways.values():
        assert (pathway.optimizer.learning_rate, pathway.optimizer.weight_decay) == (1e-5, 5e-6)
        assert (pathway.augmentation.crop_px, pathway.augmentation.flip) == (64, True)
        assert (pathway.cut.size_px, pathway.cut.stride_px) == (16, 8)
        assert (pathway.objective.name, pathway.objective.num_steps) == ("clapp", 5)
        assert pathway.encoder.width == 1.0
    assert "classifier" in config.probe.protocol_names
    assert config.probe.features == "pooled"


@pytest.mark.parametrize("name", PAPER)
def test_every_preset_names_paper_command_expected_cells_and_hardware(name: str) -> None:
    import raytrain.presets

    text = (Path(next(iter(raytrain.presets.__path__))) / f"{name}.toml").read_text()
    for word in ("Source: ", "Command: raytrain train ", "Expected cells", "A100"):
        assert word in text


def stl10(root: Path) -> None:
    root.mkdir()
    for name, count in (("train", 4), ("test", 4), ("unlabeled", 8)):
        (root / f"{name}_X.bin").write_bytes(bytes(range(256)) * (count * 3 * 96 * 96 // 256))
        if name != "unlabeled":
            (root / f"{name}_y.bin").write_bytes(bytes([1, 2] * (count // 2)))


def gtsrb(root: Path) -> None:
    for split in ("Training",):
        for label in range(2):
            folder = root / "GTSRB" / split / f"{label:05d}"
            folder.mkdir(parents=True)
            rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
            for track in range(4):
                for frame in range(2):
                    name = f"{track:05d}_{frame:05d}.ppm"
                    Image.new("RGB", (20, 20), (40 * track, 9 * frame, 90 * label)).save(folder / name)
                    rows.append(f"{name};20;20;1;1;19;19;{label}")
            (folder / f"GT-{label:05d}.csv").write_text("\n".join(rows) + "\n")


def codebrim(root: Path) -> None:
    root.mkdir()
    names = ("Background", "Crack", "Spallation", "Efflorescence", "ExposedBars", "CorrosionStain")
    rows = [",".join(("path", "split", *names))]
    for number in range(16):
        path = f"image_{number:07d}_crop_0000001.png"
        Image.new("RGB", (20, 20), (10 * number, 90, 30)).save(root / path)
        bits = [number % 2, *((number >> bit) % 2 for bit in range(5))]
        rows.append(",".join((path, "train" if number < 12 else "test", *map(str, bits))))
    (root / "labels.csv").write_text("\n".join(rows) + "\n")


LAYOUTS = {"gtsrb-paper": gtsrb, "stl10-paper": stl10, "codebrim-paper": codebrim}


@pytest.mark.parametrize("name", PAPER)
def test_the_dry_run_says_what_it_would_take(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    LAYOUTS[name](tmp_path / "data")
    small = [f"--pathways.{pathway}.encoder.width=0.03125" for pathway in ("base", "lbp", "rg", "dtcwt")]
    arguments = [f"--data.root={tmp_path / 'data'}", "--dry-run", "--training.batch-size=4", *small]
    assert main(["train", name, *arguments]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "epochs = 200\n" in said
    assert "pathway dtcwt: patches [7, 4, 7, 21, 16, 16]" in said
    assert "time: about " in said
