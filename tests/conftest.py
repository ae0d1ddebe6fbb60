import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.ranks import Ranks

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAYTRAIN_CACHE"] = "off"  # tests train; those of the cache name a folder of their own


@pytest.fixture
def real_data() -> Path:
    """The folder of small real data sets, where there is one."""
    folder = os.environ.get("RAYTRAIN_TEST_DATA")
    if not folder:
        pytest.skip("RAYTRAIN_TEST_DATA is not set: no real data to test on")
    return Path(folder)


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Processes for tests of several ranks, started when first asked for."""
    made = Ranks(tmp_path_factory.mktemp("ranks"))
    yield made
    made.close()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of a report are made but not drawn, nor points spread by t-SNE: most of its time."""
    from matplotlib.figure import Figure

    from raytrain.reporting.report.sections import space

    def savefig(figure: Figure, target: IO[Any], *, format: str, **_: Any) -> None:
        target.write('<svg viewBox="0 0 1 1"></svg>' if format == "svg" else b"\x89PNG")

    monkeypatch.setattr(Figure, "savefig", savefig)
    monkeypatch.setattr(space, "tsne", lambda points, *, seed: points[:, :2])


def run_values(**changes: Any) -> dict[str, Any]:
    """Settings of a small run on generated shapes: random crops, asynchronous signs, batch norm."""
    encoder = {"name": "vgg6", "width": 0.0625, "batch_norm": True}
    augmentation = {"crop_px": 64, "flip": True}
    values: dict[str, Any] = {
        "data": {
            "source": "shapes",
            "canvas_px": 72,
            "select_fraction": 0.0,
            "chunk_mib": 0.36,  # 24 samples: the 8 that training leaves out lie in a chunk that is read
            "shapes": {"num_train": 72, "num_test": 32},
        },
        "training": {"epochs": 3, "batch_size": 16, "log_every": 1, "checkpoint_every": 3, "device": "cpu"},
        "pathways": {
            "identity": {"encoder": encoder, "augmentation": augmentation},
            "lbp": {"operator": "lbp", "encoder": encoder, "augmentation": augmentation},
        },
        "probe": {"enabled": False},
        "report": False,
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            values[section][name] = value
        else:
            values[section] = value
    return values


def small_values(**changes: Any) -> dict[str, Any]:
    """Settings of the smallest run through the inline executor: 3 epochs of 3 steps, about a second."""
    pathway = {
        "encoder": {"name": "vgg6", "width": 0.0078125, "batch_norm": True},
        "objective": {"name": "clapp", "num_steps": 1},
        "augmentation": {"crop_px": 32, "flip": True},
    }
    base: dict[str, Any] = {
        "data__canvas_px": 36,
        "data__chunk_mib": 0.03,  # 8 samples
        "data__shapes": {"num_train": 26, "num_test": 16},
        "training__batch_size": 8,
        "training__executor": "inline",
        "pathways": {"identity": pathway, "lbp": {**pathway, "operator": "lbp"}},
    }
    return run_values(**(base | changes))


class StopAfter:
    """A signal that comes before step `count` + 1."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __enter__(self) -> "StopAfter":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.fixture
def own_environment() -> Iterator[None]:
    """Take back what a run sets in the environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def own_folder(own_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with an environment of one's own."""
    monkeypatch.chdir(tmp_path)
