"""Where rendered clips are kept: another folder for another renderer."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.forms import randomness
from pipelines.generated import clips, scenes, shapes
from pipelines.generated.clips import clip_bytes, renderer

URI = "clips://0/32/2/8/train/0.mp4"


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    renderer.cache_clear()
    yield
    renderer.cache_clear()


@pytest.mark.parametrize("module", [clips, scenes, shapes, randomness])
def test_clips_of_a_changed_renderer_are_rendered_again(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYTRAIN_CACHE", str(tmp_path / "cache"))
    clip_bytes(URI)
    clip_bytes(URI)
    assert len(list((tmp_path / "cache").rglob("*.mp4"))) == 1
    changed = tmp_path / "changed.py"
    changed.write_text(Path(str(module.__file__)).read_text() + "\n")
    monkeypatch.setattr(module, "__file__", str(changed))
    renderer.cache_clear()
    clip_bytes(URI)
    assert len(list((tmp_path / "cache").rglob("*.mp4"))) == 2
