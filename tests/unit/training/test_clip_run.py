"""Whole runs on clips in this process: frames and known motion from one stream of files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.generated.clips import clip_bytes
from raytrain import api
from raytrain.config import from_mapping
from raytrain.errors import ConfigError, Interrupted
from raytrain.training import run as run_module
from tests.clip_runs import PATHWAYS, clip_values
from tests.conftest import StopAfter

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def kept_clips(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Render each generated clip once for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYTRAIN_CACHE", str(tmp_path_factory.mktemp("clips")))
        yield


def train(out: Path, *names: str, **more: Any) -> api.Run:
    return api.train(from_mapping(clip_values(out, names or tuple(PATHWAYS), **more)))


def weights(run: api.Run) -> dict[str, str]:
    return {pathway["name"]: pathway["weights_sha256"] for pathway in run.summary["pathways"]}


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    return train(tmp_path_factory.mktemp("four") / "run", probe={"batch_size": 4})


def test_every_pathway_trains_and_is_measured(four: api.Run) -> None:
    entries = {"+".join(entry["pathways"]) for entry in four.summary["probes"]}
    assert entries == {*PATHWAYS, "identity+lbp+slow+movnet", "identity+lbp+slow"}
    joined = next(entry for entry in four.summary["probes"] if len(entry["pathways"]) == 4)
    names = [contrast["name"] for contrast in joined["contrasts"]]
    assert "joined - joined without movnet" in names
    (motion,) = four.summary["motion"]
    assert motion["n"] == 32  # 8 clips drawn 4 times
    assert sum(map(sum, motion["confusion"])) == 32
    assert {"kind", "speed", "one_frame_kind", "control_kind", "kind_interval"} <= motion.keys()


def test_a_clip_is_opened_once_an_epoch_whatever_the_number_of_pathways(
    four: api.Run, tmp_path: Path
) -> None:
    one = train(tmp_path / "one", "identity")
    assert one.summary["data"]["decodes"] == four.summary["data"]["decodes"] == 2 * 8
    assert one.summary["data"]["decodes_replayed"] == 0


def test_a_pathway_trains_alike_alone_and_beside_others(four: api.Run, tmp_path: Path) -> None:
    """The union of the requests changes nothing of what each of them gets."""
    for name in ("slow", "movnet"):
        assert weights(train(tmp_path / name, name))[name] == weights(four)[name]


@pytest.mark.parametrize(
    "objective", [{"name": "clapp_video", "num_steps": 1}, {"name": "supervised", "pool": "flat"}]
)
def test_volumes_train_layer_by_layer_and_end_to_end(tmp_path: Path, objective: dict[str, Any]) -> None:
    values = clip_values(tmp_path, ("identity",), probe={"batch_size": 4})
    cut = {"name": "volume", "num_frames": 18, "rate_hz": 8.0}
    encoder = {"name": "movnet", "width": 0.03125}
    values["pathways"] = {
        "volume": {"operator": "lbp", "cut": cut, "encoder": encoder, "objective": objective}
    }
    run = api.train(from_mapping(values))
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines[-1]["losses"]) == (5 if objective["name"] == "clapp_video" else 1)
    assert {entry["pathway"] for entry in run.summary["layers"]} == {"volume"}
    assert "motion" not in run.summary


def test_too_short_a_volume_is_said(tmp_path: Path) -> None:
    values = clip_values(tmp_path, ("identity",))
    pathway = {"cut": {"name": "volume", "num_frames": 8}, "encoder": "movnet", "objective": "supervised"}
    values["pathways"] = {"volume": pathway}
    with pytest.raises(ConfigError, match=r"cut\.num_frames is 8; encoder movnet needs at least 9"):
        api.train(from_mapping(values))


def test_epochs_of_a_pathways_own(four: api.Run, tmp_path: Path) -> None:
    """One goes on where the others have ended; those are what they are without it."""
    values = clip_values(tmp_path, ("identity", "movnet"))
    values["pathways"]["movnet"] = {**values["pathways"]["movnet"], "epochs": 4}
    run = api.train(from_mapping(values))
    assert {one["name"]: one["epochs"] for one in run.summary["pathways"]} == {"identity": 2, "movnet": 4}
    assert weights(run)["identity"] == weights(four)["identity"]
    assert run.summary["data"]["decodes"] == 4 * 8
    values["pathways"]["movnet"]["epochs"] = 5
    again = api.train(from_mapping(values))
    assert {one["name"]: one["epochs"] for one in again.summary["pathways"]} == {"identity": 2, "movnet": 5}


@pytest.mark.slow
def test_a_stopped_run_goes_on_bitwise(
    four: api.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "StopSignal", lambda: StopAfter(2))
        with pytest.raises(Interrupted):
            train(tmp_path)
    assert weights(train(tmp_path)) == weights(four)


def test_what_is_counted_of_clips(four: api.Run) -> None:
    counts = four.summary["data"]["counts"]
    assert counts["short"] == 16  # three frames, a second apart, of clips of 1.9 s
    assert sum(number for name, number in counts.items() if name.startswith("decoder:")) == 16


def videos(root: Path, count: int) -> None:
    """Write clips of two classes, half of them .mp4, half .avi."""
    for number in range(count):
        folder = root / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        ending = ("mp4", "avi")[number // 2 % 2]
        (folder / f"{number}.{ending}").write_bytes(clip_bytes(f"clips://0/64/16/8/train/{number}.{ending}"))
    for kind in "ab":
        (root / "test" / kind).mkdir(parents=True)
        (root / "test" / kind / "0.mp4").write_bytes(clip_bytes(f"clips://0/64/16/8/test/{ord(kind)}.mp4"))


def damage(path: Path, way: int, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    place = int(rng.integers(len(data) // 8, len(data) // 2))
    if way == 0:
        data = data[:place]
    elif way == 1:
        data[place : place + len(data) // 3] = bytes(len(data) // 3)
    elif way == 2:
        data = bytearray()
    elif way == 3:
        data = bytearray(b"\x89PNG\r\n" + rng.bytes(300))
    path.write_bytes(data)


def of_videos(root: Path, out: Path, names: tuple[str, ...]) -> dict[str, Any]:
    values = clip_values(out, names)
    values["data"] = {k: v for k, v in values["data"].items() if k not in ("generated", "source")}
    values["data"] |= {"root": str(root), "quarantine_budget": 0.6}
    return values


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.slow
def test_twenty_damaged_clips_are_named_and_the_run_goes_on(tmp_path: Path, prepared: bool) -> None:
    """Of a prepared data set all are noticed, by size or checksum; else those that cannot be decoded."""
    root = tmp_path / "videos"
    videos(root, 40)
    values = of_videos(root, tmp_path / "run", ("identity", "movnet"))
    if prepared:
        api.prepare(from_mapping(values).data, str(tmp_path / "list"))
        values["data"]["root"] = str(tmp_path / "list")
    rng = np.random.default_rng(0)
    files = sorted((root / "train").rglob("*.*"))
    damaged = {
        str(files[int(place)].relative_to(root)): way % 4
        for way, place in enumerate(rng.permutation(40)[:20])
    }
    for name, way in damaged.items():
        damage(root / name, way, rng)
    run = api.train(from_mapping(values))
    lines = [json.loads(line) for line in (run.folder / "quarantine.jsonl").read_text().splitlines()]
    named = {line["key"] for line in lines}
    assert all(line["reason"] for line in lines)
    assert named <= damaged.keys()
    certain = {name for name, way in damaged.items() if way in (2, 3)}
    assert named == damaged.keys() if prepared else named >= certain
    assert run.summary["data"]["quarantined"] == len(named)
    assert run.summary["status"] == "done"


def test_images_do_not_go_through_a_cut_of_clips(tmp_path: Path) -> None:
    values = clip_values(tmp_path, ("identity",))
    values["data"] = {"source": "shapes", "canvas_px": 67}
    with pytest.raises(
        ConfigError, match=r"of kind image, but pathways\.identity\.cut frames takes clip; presets for "
    ):
        api.train(from_mapping(values))
