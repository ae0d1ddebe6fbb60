from pathlib import Path
from typing import Any

import pytest

from raytrain.config import RunConfig, from_mapping, load_preset, load_toml, preset_names, to_toml
from raytrain.errors import ConfigError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_survives_writing(name: str, tmp_path: Path) -> None:
    config = load_preset(name)
    assert config.preset == name
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert load_toml(path) == config


def test_strings_survive_writing(tmp_path: Path) -> None:
    config = from_mapping({"out": 'a "b" \\ \u00e9\n', "pathways": {"a": {}}})
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert load_toml(path) == config


@pytest.mark.parametrize(
    ("gpus", "tasks", "found"), [("auto", "auto", ("auto", "auto")), (1, 3, (1.0, 3)), (0.25, 1, (0.25, 1))]
)
def test_numbers_that_may_be_auto_survive_writing(
    gpus: Any, tasks: Any, found: tuple[Any, Any], tmp_path: Path
) -> None:
    values = {"training": {"gpus_per_worker": gpus}, "data": {"decode_tasks": tasks}, **with_pathway()}
    path = tmp_path / "config.toml"
    path.write_text(to_toml(from_mapping(values)))
    config = load_toml(path)
    assert (config.training.gpus_per_worker, config.data.decode_tasks) == found
    assert isinstance(config.training.gpus_per_worker, type(found[0]))


def with_pathway(**values: Any) -> dict[str, Any]:
    return {"pathways": {"a": values}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1, **with_pathway()}, "run.toml: unknown setting sed; did you mean 'seed'?"),
        (
            with_pathway(objective={"name": "clap"}),
            "pathways.a.objective.name is 'clap'; did you mean 'clapp'?",
        ),
        (
            with_pathway(objective={"name": "clapp", "skipp": 1}),
            "unknown setting pathways.a.objective.skipp; did you",
        ),
        (with_pathway(operator="lpb"), "pathways.a.operator.name is 'lpb'; did you mean 'lbp'?"),
        ({"training": {"epochs": "4"}, **with_pathway()}, "training.epochs is '4'; it must be of type int"),
        ({"training": {"epochs": True}, **with_pathway()}, "training.epochs is True; it must be of type int"),
        ({"training": {"epochs": 0}, **with_pathway()}, "training.epochs is 0; it must be at least 1"),
        ({"training": {"precision": "fp16"}, **with_pathway()}, "training.precision is 'fp16'; did you mean"),
        (
            {"data": {"canvas_px": 40}, **with_pathway()},
            "4 rows of patches on 40 px, but objective.num_steps 5",
        ),
        (
            {"training": {"gpus_per_worker": "all"}, **with_pathway()},
            "training.gpus_per_worker is 'all'; it must be 'auto' or of type float",
        ),
        (
            {"training": {"gpus_per_worker": -1}, **with_pathway()},
            "gpus_per_worker is -1.0; it must be at",
        ),
        (
            {"training": {"gpus_per_worker": 1.5}, **with_pathway()},
            "training.gpus_per_worker is 1.5; above 1 it must be whole",
        ),
        (
            {"data": {"decode_tasks": 2.5}, **with_pathway()},
            "data.decode_tasks is 2.5; it must be 'auto' or of type int",
        ),
        ({"data": {"decode_tasks": 0}, **with_pathway()}, "data.decode_tasks is 0; it must be at least 1"),
        ({}, "no pathways; name at least one"),
        (
            {"training": {"batch_size": 30, "workers": 2}, **with_pathway()},
            "training.batch_size is 30; with 2 lanes it must be a multiple of 4; nearest that fit: 28 or 32",
        ),
        (
            {"data": {"lanes": 3}, "training": {"workers": 2}, **with_pathway()},
            "workers is 2, which does not divide data.lanes 3; nearest that fits: data.lanes = 6",
        ),
        (with_pathway(augmentation={"crop_px": 80}), "crop_px is 80, larger than data.canvas_px 64"),
        (
            with_pathway(encoder={"name": "vgg6", "width": 0.01}),
            "encoder.width is 0.01; 128 channels times it",
        ),
        (
            {"data": {"source": "shapes", "root": "x"}, **with_pathway()},
            "data.root is set but data.source = shapes",
        ),
        ({"pathways": {"a/b": {}}}, "pathway name 'a/b': use letters"),
        ({"pathways": 3}, "pathways must be a table"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(values, where="run.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_preset() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'gtsrb-smal'; did you mean 'gtsrb-small'"):
        load_preset("gtsrb-smal")


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such settings file"):
        load_toml(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("a = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_toml(tmp_path / "broken.toml")


def test_lanes_default_to_the_least_common_multiple() -> None:
    config = from_mapping(
        {"training": {"batch_size": 48}, "pathways": {"a": {"workers": 2}, "b": {"workers": 3}, "c": {}}}
    )
    assert isinstance(config, RunConfig)
    assert config.num_lanes == 6
    assert [config.workers(name) for name in config.pathways] == [2, 3, 1]
