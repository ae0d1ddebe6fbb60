"""Each kind of key: what it sees, and what it does not see."""

import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.config import OptimizerConfig, PathwayConfig, RunConfig, from_mapping
from raytrain.identity import PIXELS, Identity, Ingredients, libraries
from raytrain.identity.files import NAMING_FILES, contents_of
from tests.clip_runs import clip_values
from tests.conftest import small_values
from tests.event_runs import event_values

ROWS = np.arange(5)


def identity(values: dict[str, Any] | None = None, *, data: str = "d", device: str = "cpu") -> Identity:
    return Identity(config=from_mapping(values or small_values()), data=data, device=device)


def all_keys(made: Identity) -> dict[str, str]:
    found: dict[str, Ingredients] = {"features": made.features(ROWS), "standardisers": made.standardisers()}
    found |= {"chunks": made.chunks("main", {"num_samples": 5}), f"floor.{PIXELS}": made.floor(PIXELS)}
    for name, pathway in made.config.pathways.items():
        found |= {name: made.pathway(name), f"{name}.control": made.control(name)}
        found[f"floor.{pathway.operator.name}"] = made.floor(pathway.operator.name)
    return {name: ingredients.key for name, ingredients in found.items()}


def differing(one: Identity, other: Identity) -> set[str]:
    first, second = all_keys(one), all_keys(other)
    return {name for name in first.keys() & second.keys() if first[name] != second[name]}


EVERY = set(all_keys(identity()))


def test_keys_of_different_kinds_differ() -> None:
    assert len(set(all_keys(identity()).values())) == len(EVERY)


def test_data_is_an_ingredient_of_every_key_and_the_device_of_all_that_it_computes() -> None:
    assert differing(identity(), identity(data="e")) == EVERY
    assert differing(identity(), identity(device="cuda")) == EVERY - {"chunks", "standardisers"}


WEIGHTS = {"identity", "lbp", "identity.control", "lbp.control"}
FLOORS = {f"floor.{PIXELS}", "floor.identity", "floor.lbp"}


@pytest.mark.parametrize(
    ("changes", "seen_by"),
    [
        ({"seed": 1}, WEIGHTS | {"standardisers", "chunks"}),
        ({"training__batch_size": 4}, WEIGHTS),
        ({"training__precision": "bf16"}, WEIGHTS | {"features"}),
        ({"training__epochs": 9, "training__log_every": 7, "training__executor": "ray"}, set()),
        ({"probe": {"enabled": True, "batch_size": 3}}, {"features"}),
        ({"data__max_pixels": 10_000}, EVERY),
        ({"data__cache": "memory", "data__chunk_mib": 1.0, "data__decode_tasks": 7}, set()),
    ],
)
def test_settings_are_seen_by_the_keys_that_they_decide(changes: dict[str, Any], seen_by: set[str]) -> None:
    assert differing(identity(), identity(small_values(**changes))) == seen_by


def changed_pathway(**changes: Any) -> Identity:
    values = small_values()
    values["pathways"]["lbp"] = {**values["pathways"]["lbp"], **changes}
    return identity(values)


@pytest.mark.parametrize(
    ("changes", "seen_by"),
    [
        ({"objective": {"name": "infonce", "num_steps": 1}}, {"lbp"}),
        ({"optimizer": {"learning_rate": 0.5}}, {"lbp"}),
        ({"encoder": {"name": "vgg6", "width": 0.0078125}}, {"lbp", "lbp.control"}),
        ({"augmentation": {"crop_px": 36}}, {"lbp", "lbp.control", "floor.lbp", "standardisers"}),
        ({"workers": 1, "epochs": 7, "stream": "own"}, set()),
    ],
)
def test_a_pathways_settings_are_its_own(changes: dict[str, Any], seen_by: set[str]) -> None:
    assert differing(identity(), changed_pathway(**changes)) == seen_by


def test_the_floor_of_pixels_tells_clips_of_different_lengths_apart(tmp_path: Path) -> None:
    def floor(num_frames: int) -> str:
        values = clip_values(tmp_path, ("identity",))
        values["pathways"]["identity"] = {
            **values["pathways"]["identity"],
            "cut": {"name": "frames", "num_frames": num_frames, "rate_hz": 8.0},
        }
        return identity(values).floor(PIXELS).key

    assert floor(8) != floor(20)
    assert floor(8) == floor(8)


def pretrained(path: Path) -> Identity:
    encoder = {"name": "resnet18", "width": 0.015625, "pretrained": str(path)}
    return changed_pathway(encoder=encoder)


def test_pretrained_weights_count_by_what_lies_in_the_file(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    assert differing(pretrained(first), pretrained(second)) == set()
    second.write_bytes(b"weightz")
    assert differing(pretrained(first), pretrained(second)) == {"lbp", "lbp.control"}
    assert differing(pretrained(first), pretrained(tmp_path / "gone")) == {"lbp", "lbp.control"}
    assert pretrained(first).pathway("lbp").files == {"encoder.pretrained": contents_of(first)}


def text_settings(kind: Any, path: str = "") -> set[str]:
    """Names of all settings that are texts of any content."""
    found = set()
    for name, hint in typing.get_type_hints(kind).items():
        full = f"{path}.{name}" if path else name
        if name in {field.name for field in dataclasses.fields(kind)}:
            found |= {full} if hint is str else set()
            for one in typing.get_args(hint) or (hint,):
                found |= text_settings(one, full) if dataclasses.is_dataclass(one) else set()
    return found


def test_every_setting_that_could_name_a_file_is_known() -> None:
    names_no_file = {"stream"}
    assert text_settings(PathwayConfig) == names_no_file | set(NAMING_FILES)
    of_run = {
        name
        for name in text_settings(RunConfig)
        if not name.startswith(("data.csv.", "data.splits.", "pathways."))
    }
    # where data and results lie, a layout of data, and what a probe fits, which no key is made of
    no_ingredient = {"preset", "out", "data.root", "data.source", "probe.protocols", "cache.folder"}
    assert of_run == no_ingredient | {"data.events.columns"}  # four letters


def test_the_number_of_epochs_counts_where_the_rate_depends_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    longer = small_values(training__epochs=9)
    assert differing(identity(), identity(longer)) == set()
    monkeypatch.setattr(OptimizerConfig, "is_constant", False)
    assert differing(identity(), identity(longer)) == {"identity", "lbp"}


@pytest.mark.parametrize(
    ("modality", "package", "seen_by_pathway"),
    [
        ("image", "torch", True),
        ("image", "numpy", True),
        ("image", "pillow", True),
        ("image", "av", False),
        ("clip", "av", True),
        ("clip", "decord", True),
        ("events", "h5py", True),
        ("events", "decord", False),
    ],
)
def test_versions_of_the_libraries_in_use_are_ingredients(
    modality: str, package: str, seen_by_pathway: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "image": small_values,
        "clip": lambda: clip_values(tmp_path, ("lbp",)),
        "events": lambda: event_values(tmp_path, ("count",)),
    }
    made = identity(kinds[modality]())
    name = next(iter(made.config.pathways))
    before, chunks = made.pathway(name).key, made.chunks("main", {}).key
    real = libraries.version
    monkeypatch.setattr(libraries, "version", lambda one: "0.0" if one == package else real(one))
    assert (made.pathway(name).key != before) is seen_by_pathway
    assert (made.chunks("main", {}).key != chunks) is seen_by_pathway


def test_only_the_dtcwt_depends_on_its_library() -> None:
    values = small_values()
    values["pathways"]["dtcwt"] = {**values["pathways"]["lbp"], "operator": "dtcwt"}
    made = identity(values)
    assert "pytorch_wavelets" in made.pathway("dtcwt").libraries
    assert "pytorch_wavelets" in made.floor("dtcwt").libraries
    assert "pytorch_wavelets" not in made.pathway("lbp").libraries


def test_every_library_is_known_by_the_name_it_is_installed_by() -> None:
    made = identity()
    found = made.pathway("lbp").libraries
    assert {"python", "torch", "numpy", "pillow", "simplejpeg"} <= found.keys()
    assert not {"pyarrow", "ray", "av", "h5py"} & found.keys()
    assert "none" not in found.values()
    assert libraries.version("no-such-package") == "none"


def test_rows_are_part_of_the_features_key() -> None:
    made = identity()
    assert made.features(ROWS).key != made.features(ROWS + 1).key
    assert made.chunks("main", {"num_samples": 5}).key != made.chunks("main", {"num_samples": 6}).key
