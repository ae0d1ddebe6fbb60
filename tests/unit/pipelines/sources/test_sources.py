import importlib
from pathlib import Path

import pytest
from PIL import Image

from pipelines.sources import SOURCES, open_manifest
from raytrain.config import from_mapping, load_toml, to_toml
from raytrain.config.data import DataConfig
from raytrain.errors import ConfigError
from tests.conftest import small_values


def test_every_source_is_a_module_with_a_line_about_it() -> None:
    for name in SOURCES:
        module = importlib.import_module(f"pipelines.sources.{name}")
        assert (module.__doc__ or "").splitlines()[0].endswith(".")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gtsbr", "data.source is 'gtsbr', which is no layout; did you mean 'gtsrb'?"),
        ("zzz", f"data.source is 'zzz', which is no layout; known: {', '.join(sorted(SOURCES))}"),
    ],
)
def test_an_unknown_source_is_refused_with_the_known_ones(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_manifest(DataConfig(source=name, root=str(tmp_path)))
    assert str(caught.value) == said


def test_two_layouts_in_one_folder_need_a_name(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/defects.xml").touch()
    (tmp_path / "train_X.bin").touch()
    with pytest.raises(
        ConfigError, match=r"holds the layouts of stl10 and codebrim; name one by data\.source$"
    ):
        open_manifest(DataConfig(root=str(tmp_path)))


def test_a_named_source_comes_before_what_is_detected(tmp_path: Path) -> None:
    (tmp_path / "train_X.bin").touch()
    for name in ("p/1.png", "q/2.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    assert open_manifest(DataConfig(root=str(tmp_path), source="folder")).classes == ("p", "q")


def test_settings_of_roots_and_lists_are_written_and_read_back(tmp_path: Path) -> None:
    values = small_values()
    values["data"] = {
        "source": "csv",
        "root": "somewhere",
        "splits": {"pretrain": "elsewhere"},
        "csv": {"label_columns": "a,b", "delimiter": ";"},
        "shared_groups": "drop",
    }
    config = from_mapping(values)
    assert config.data.csv.label_column_names == ("a", "b")
    (tmp_path / "run.toml").write_text(to_toml(config))
    assert load_toml(tmp_path / "run.toml") == config
    with pytest.raises(ConfigError, match=r"unknown setting data\.splits\.pretrian; did you mean 'pretrain'"):
        from_mapping(values | {"data": {"splits": {"pretrian": "x"}}})
