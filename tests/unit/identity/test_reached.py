"""What a training really runs, and really imports, lies in the closure that its key is made of."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from raytrain import api
from raytrain.config import from_mapping
from raytrain.identity import entries
from raytrain.identity.code import ROOTS, closure
from tests.clip_runs import clip_values
from tests.conftest import small_values
from tests.event_runs import event_values

DRIVES = (
    "pipelines.sources",
    "raytrain.config.machine",
    "raytrain.cpu",
    "raytrain.training.line_file",
    "raytrain.reporting.progress",
    *(
        f"raytrain.training.{name}"
        for name in ("cache", "cluster", "inline", "recorder", "run", "run_folder")
    ),
    *(
        f"raytrain.training.{name}"
        for name in ("left_out", "marks", "opening", "provenance", "signals", "tensorboard", "turns")
    ),
)
"""what runs beside a training: it makes the manifest, whose fingerprint is in the key, watches and writes"""


def one_pathway(modality: str, out: Path) -> dict[str, Any]:
    if modality == "clip":
        return clip_values(out, ("lbp",))
    if modality == "events":
        return event_values(out, ("voxels",))
    values = small_values()
    return {**values, "out": str(out), "pathways": {"lbp": values["pathways"]["lbp"]}}


@contextmanager
def watched(seen: set[CodeType]) -> Iterator[None]:
    """Collect the code of every function that any thread calls."""

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            seen.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def module_of(code: CodeType) -> str | None:
    root = Path(api.__file__).parents[1]
    path = Path(code.co_filename)
    if not path.is_relative_to(root) or path.relative_to(root).parts[0] not in ROOTS:
        return None
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def below(name: str, modules: Any) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


@pytest.mark.parametrize("modality", ["image", "clip", "events"])
@pytest.mark.slow
def test_every_module_that_a_training_runs_is_in_its_key(modality: str, tmp_path: Path) -> None:
    seen: set[CodeType] = set()
    for out in ("imports", "runs"):  # what is called while modules are imported is no part of the training
        seen.clear()
        config = from_mapping(one_pathway(modality, tmp_path / out))
        with watched(seen):
            api.train(config)
    pathway = next(iter(config.pathways.values()))
    found = entries.code_of(entries.PATHWAY, modality=modality, chosen=entries.chosen_by(pathway))
    ran = {name for code in seen if (name := module_of(code))}
    missed = {name for name in ran - found.modules.keys() if not below(name, entries.DECIDES_NOTHING)}
    told = (
        "run in a training but are in no key: let an entry reach them, or name them with those that drive it"
    )
    assert sorted(name for name in missed if not below(name, DRIVES)) == [], told
    assert {"raytrain.pathway", "raytrain.training.loop", "pipelines.stream.source"} <= ran


def test_every_module_that_a_training_imports_is_reached_where_no_member_is_left_out(tmp_path: Path) -> None:
    api.train(from_mapping(one_pathway("clip", tmp_path / "run")))
    whole = closure(entries.PATHWAY, left_out=entries.DECIDES_NOTHING).modules
    imported = {name for name in sys.modules if name.partition(".")[0] in ROOTS}
    deciding = (
        "pipelines.decode",
        "pipelines.forms",
        "pipelines.order",
        "pipelines.storage",
        "pipelines.views",
    )
    deciding += (
        "raytrain.encoders",
        "raytrain.objectives",
        "raytrain.stems",
        "raytrain.layers",
        "raytrain.optim",
    )
    # A child process, the walk of a root, and what `prepare` packs with, where another test imported it here.
    beside = {"pipelines.decode.child_main", "pipelines.storage.archive", "pipelines.storage.shards"}
    assert {name for name in imported if below(name, deciding)} - whole.keys() - beside == set()


@pytest.mark.slow
def test_reasons_name_modules_that_exist() -> None:
    named = {*entries.DECIDES_NOTHING, *entries.REGISTRIES, *entries.NO_ENCODER}
    named |= {module for modules in entries.OF_OTHERS.values() for module in modules}
    every = (entries.PATHWAY, entries.REPRESENT, entries.FIT)
    whole = closure([*named, *(entry for group in every for entry in group)])
    assert named <= whole.modules.keys()
