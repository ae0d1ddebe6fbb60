"""The presets of recordings are what their papers say, and their dry run works."""

from pathlib import Path

import pytest

from raytrain.cli import main
from raytrain.config import load_preset, preset_names

PAPER = ("ncars-matrix-lstm", "ncaltech101-matrix-lstm")


def test_there_is_one_for_each_data_set_of_the_paper() -> None:
    assert {"nmnist-surfaces", "nmnist-matrix-lstm", *PAPER} <= set(preset_names())


@pytest.mark.parametrize("name", PAPER)
def test_settings_are_the_papers(name: str) -> None:
    config = load_preset(name)
    stems = {
        (pathway.stem.hidden, pathway.stem.bins): (pathway.stem, pathway.encoder.name)
        for pathway in config.pathways.values()
        if pathway.stem.name == "matrix_lstm"
    }
    assert set(stems) == {(3, 1), (16, 1), (16, 2), (2, 16)}
    for (hidden, bins), (stem, encoder) in stems.items():
        assert stem.time == ("delay_norm" if hidden == 3 else "ts")
        assert stem.squeeze == (bins > 1)
        assert (stem.field_px, stem.max_events, encoder) == (1, 512, "resnet18")
    for pathway in config.pathways.values():
        assert (pathway.objective.name, pathway.optimizer.learning_rate) == ("supervised", 1e-4)
    assert {pathway.augmentation.flip for pathway in config.pathways.values()} == {name == PAPER[1]}


@pytest.mark.parametrize("name", ["nmnist-matrix-lstm", *PAPER])
def test_paper_command_expected_figures_and_hardware_are_named(name: str) -> None:
    import raytrain.presets

    text = (Path(next(iter(raytrain.presets.__path__))) / f"{name}.toml").read_text()
    for word in ("Source: ", f"raytrain train {name} ", "Expected"):
        assert word in text
    assert ("A100" in text) == (name in PAPER)


@pytest.mark.slow
def test_the_dry_run_says_what_it_would_take(capsys: pytest.CaptureFixture[str]) -> None:
    config = load_preset(PAPER[1])
    small = [f"--pathways.{name}.encoder.width=0.015625" for name in config.pathways]
    generated = ["--data.source=moving_shapes", "--data.moving-shapes.num-train=8"]
    arguments = [*generated, *small, "--training.batch-size=2", "--training.batch-events=0", "--dry-run"]
    assert main(["train", PAPER[1], *arguments]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    shape = "surfaces [1, 2, 1, 16, 64, 64] (1, recordings, 1, channels, px, px) of "
    assert f"pathway matrix_lstm_16x1: {shape}" in said
    assert "time: about " in said
