import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.decode.read_image import read_sample
from pipelines.preparing import prepare as prepare_module
from pipelines.preparing.prepare import prepare
from pipelines.sources import open_manifest, open_storage
from pipelines.storage.manifest import Manifest
from pipelines.storage.payload import checksum
from pipelines.storage.places import Storage, opened
from pipelines.storage.shards import write_shard
from raytrain.config.data import DataConfig, ShapesConfig
from raytrain.errors import ConfigError, DataError, StorageError

KINDS = ["none", "encoded", "uint8"]
BYTES_A_CANVAS = 3 * 16 * 16


def config(root: Path | str, **settings: Any) -> DataConfig:
    return DataConfig(root=str(root), canvas_px=16, **settings)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Forty noisy images of several sizes in two classes."""
    generator = np.random.default_rng(0)
    for number in range(40):
        size = generator.integers(10, 40, 2)
        path = tmp_path / "data" / "pq"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return tmp_path / "data"


def samples(settings: DataConfig) -> dict[str, np.ndarray]:
    manifest = open_manifest(settings)
    storage = open_storage(manifest.root, settings)
    return {
        key: read_sample(manifest.row(row), storage, settings) for row, key in enumerate(manifest.keys_of())
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_prepared_folder_holds_the_same_data(images: Path, tmp_path: Path, kind: Any) -> None:
    out = tmp_path / "out"
    plain = open_manifest(config(images))
    told: list[tuple[int, int]] = []
    before = opened()
    report = prepare(
        config(images), str(out), shards=kind, shard_mib=0.01, progress=lambda *a: told.append(a)
    )
    assert opened() - before == 40
    assert (report.num_samples, report.quarantined, report.already_done) == (40, (), False)
    assert told[-1] == (40, 40)
    made = open_manifest(config(out))
    assert made.keys_of() == plain.keys_of()
    for name in ("label", "split", "group"):
        assert made.table[name] == plain.table[name]
    assert all(len(text) == 32 for text in made.table["checksum"].to_pylist())
    expected = samples(config(images))
    actual = samples(config(out))
    assert all(np.array_equal(actual[key], expected[key]) for key in expected)
    assert not (out / ".prepare").exists()
    assert (out / "quarantine.jsonl").read_text() == ""
    assert report.num_shards == (0 if kind == "none" else len(list((out / "shards").iterdir())))
    assert (report.num_shards > 1) == (kind != "none")


@pytest.mark.parametrize("kind", ["encoded", "uint8"])
def test_a_folder_of_shards_may_be_moved(images: Path, tmp_path: Path, kind: Any) -> None:
    expected = samples(config(images))
    prepare(config(images), str(tmp_path / "out"), shards=kind)
    (tmp_path / "out").rename(tmp_path / "moved")
    images.rename(tmp_path / "gone")
    actual = samples(config(tmp_path / "moved"))
    assert all(np.array_equal(actual[key], expected[key]) for key in expected)


def test_shards_are_plain_parquet_with_each_payload_in_one_piece(tmp_path: Path) -> None:
    payloads = [
        b"",
        b"a",
        bytes(5000),
        b"PAR1",
        b"\x05\x00\x00\x00",
        np.random.default_rng(0).bytes(300_000),
    ] * 3
    keys = [str(number) for number in range(len(payloads))]
    storage = Storage(str(tmp_path))
    offsets = write_shard(storage, "s.parquet", keys=keys, labels=np.arange(len(keys)), payloads=payloads)
    for offset, payload in zip(offsets, payloads, strict=True):
        assert storage.read_bytes("s.parquet", offset=offset, length=len(payload)) == payload
    assert offsets == sorted(offsets)
    assert min(offsets) > 0
    table = pq.read_table(tmp_path / "s.parquet")
    assert table["payload"].to_pylist() == payloads
    assert table["key"].to_pylist() == keys


def test_a_shard_that_reads_back_otherwise_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "read_bytes", lambda *_, **__: b"something else")
    with pytest.raises(
        StorageError, match=r"s\.parquet: does not read back as it was written; check the disk"
    ):
        write_shard(
            Storage(str(tmp_path)), "s.parquet", keys=["a"], labels=np.zeros(1, np.int64), payloads=[b"x"]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_bad_files_are_listed_and_left_out(images: Path, tmp_path: Path, kind: Any) -> None:
    (images / "p/04.png").write_bytes(b"")
    data = (images / "q/07.png").read_bytes()
    (images / "q/07.png").write_bytes(data[: len(data) // 2])
    (images / "p/08.png").unlink()
    (images / "p/08.png").symlink_to(tmp_path / "nowhere")
    out = tmp_path / "out"
    report = prepare(config(images, quarantine_budget=0.1), str(out), shards=kind, shard_mib=0.01)
    assert [entry.key for entry in report.quarantined] == ["p/04.png", "p/08.png", "q/07.png"]
    assert report.num_samples == 37
    lines = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "key": "p/04.png",
        "uri": "p/04.png",
        "reason": "empty file (0 bytes)",
        "fate": "damaged",
    }
    assert lines[1]["reason"] == "missing: No such file or directory"
    assert [line["fate"] for line in lines] == ["damaged", "missing", "damaged"]
    assert lines[2]["reason"].startswith("cannot be decoded: ")
    made = samples(config(out))
    assert len(made) == 37
    assert not {"p/04.png", "p/08.png", "q/07.png"} & set(made)


def test_too_many_bad_files_stop_and_a_higher_budget_goes_on(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("p/04.png", "q/07.png"):
        (images / name).write_bytes(b"no image")
    text = (
        r"^2 of 40 samples are bad, data\.quarantine_budget 0\.04 allows 1: p/04\.png: no image in a known .*"
        r"; all in .*/out/quarantine\.jsonl; repair them or raise the budget and run the same command again$"
    )
    with pytest.raises(DataError, match=text):
        prepare(config(images, quarantine_budget=0.04), str(out))
    assert len((out / "quarantine.jsonl").read_text().splitlines()) == 2
    assert not (out / "manifest.parquet").exists()
    before = opened()
    report = prepare(config(images, quarantine_budget=0.05), str(out))
    assert opened() == before
    assert (report.num_samples, report.num_resumed, len(report.quarantined)) == (38, 40, 2)


def test_each_part_is_walked_once(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[list[int]] = []
    original = prepare_module._Task.bad_of

    def counted(task: Any, part: Any) -> Any:
        walked.append(part["row"].to_pylist())
        return original(task, part)

    monkeypatch.setattr(prepare_module._Task, "bad_of", counted)
    monkeypatch.setattr(prepare_module, "_PART_SAMPLES", 8)
    (images / "p/04.png").write_bytes(b"")
    report = prepare(config(images, quarantine_budget=0.1), str(tmp_path / "out"))
    assert [entry.key for entry in report.quarantined] == ["p/04.png"]
    assert walked == [list(range(start, start + 8)) for start in range(0, 40, 8)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_prepare_goes_on_where_it_stopped(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(prepare_module, "_PART_SAMPLES", 8)
    (images / "p/04.png").write_bytes(b"")
    settings = config(images, quarantine_budget=0.5)

    def stop(done: int, _: int) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    whole = prepare(settings, str(tmp_path / "whole"), shards=kind, shard_mib=0.01)
    with pytest.raises(KeyboardInterrupt):
        prepare(settings, str(tmp_path / "out"), shards=kind, shard_mib=0.01, progress=stop)
    with pytest.raises(DataError, match=r"holds an unfinished `raytrain prepare`"):
        open_manifest(config(tmp_path / "out"))
    before = opened()
    report = prepare(settings, str(tmp_path / "out"), shards=kind, shard_mib=0.01)
    assert opened() - before == 40 - report.num_resumed
    assert report.num_resumed >= 16
    assert report.quarantined == whole.quarantined
    first, second = (Manifest.load(f"{tmp_path}/{name}/manifest.parquet") for name in ("whole", "out"))
    assert first.table.equals(second.table)
    if kind != "none":
        shards = sorted(path.name for path in (tmp_path / "out/shards").iterdir())
        for name in shards:
            ours, theirs = (tmp_path / folder / "shards" / name for folder in ("out", "whole"))
            assert ours.read_bytes() == theirs.read_bytes()


def test_a_finished_prepare_says_so_and_reads_nothing(images: Path, tmp_path: Path) -> None:
    (images / "p/04.png").write_bytes(b"")
    settings, out = config(images, quarantine_budget=0.5), str(tmp_path / "out")
    first = prepare(settings, out, shards="encoded")
    before = opened()
    again = prepare(settings, out, shards="encoded")
    assert again.already_done
    assert opened() == before
    assert (again.num_samples, again.num_shards, again.num_bytes) == (39, first.num_shards, first.num_bytes)
    assert again.quarantined == first.quarantined


def test_a_folder_of_another_request_is_refused(images: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    prepare(config(images), out)
    with pytest.raises(ConfigError, match=r"out: already holds a manifest of other data or settings; choose"):
        prepare(config(images), out, shards="uint8")
    half = tmp_path / "half" / ".prepare"
    half.mkdir(parents=True)
    (half / "request.json").write_text("{}")
    with pytest.raises(
        ConfigError, match=r"half: holds an unfinished prepare of other data or settings; repeat"
    ):
        prepare(config(images), str(tmp_path / "half"))


def test_wrong_arguments_are_named(images: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    wrong: Any = "encode"
    with pytest.raises(ConfigError, match=r"unknown kind of shards 'encode'; did you mean 'encoded'\?"):
        prepare(config(images), out, shards=wrong)
    with pytest.raises(ConfigError, match=r"^shard_mib is 0; it must be greater than 0"):
        prepare(config(images), out, shard_mib=0)
    with pytest.raises(ConfigError, match=r"^prepare needs --out; name the folder"):
        prepare(config(images), "")
    with pytest.raises(ConfigError, match=r"is data\.root itself; choose a folder of its own"):
        prepare(config(images), str(images))
    prepare(config(images), out, shards="uint8")
    with pytest.raises(ConfigError, match=r"already holds uint8 shards; prepare the original data instead"):
        prepare(config(out), str(tmp_path / "again"))


def test_nothing_that_decodes_is_a_data_error(tmp_path: Path) -> None:
    for name in ("p/1.png", "q/1.png", "q/2.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"^3 of 3 samples are bad"):
        prepare(config(tmp_path / "data", quarantine_budget=0.99), str(tmp_path / "out"))


def test_raw_canvases_fit_one_canvas_only(images: Path, tmp_path: Path) -> None:
    prepare(config(images), str(tmp_path / "out"), shards="uint8")
    assert set(open_manifest(config(tmp_path / "out")).table["bytes"].to_pylist()) == {BYTES_A_CANVAS}
    text = r"prepared as uint8 of 16 px, fit squash, but data\.canvas_px is 16, data\.fit cover; set them"
    with pytest.raises(ConfigError, match=text):
        open_manifest(config(tmp_path / "out", fit="cover"))


def test_a_full_disk_leaves_no_half_files_and_the_work_done(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(
            StorageError, match=r"shards/00000\.parquet: cannot be written: File too large; free"
        ):
            prepare(config(images), str(out), shards="encoded")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()] == [
        ".prepare/request.json"
    ]
    assert prepare(config(images), str(out), shards="encoded").num_samples == 40


@pytest.mark.parametrize("kind", KINDS)
def test_generated_shapes_are_prepared_too(tmp_path: Path, kind: Any) -> None:
    settings = DataConfig(
        source="shapes", canvas_px=24, shapes=ShapesConfig(num_train=10, num_test=10, size_px=24)
    )
    prepare(settings, str(tmp_path / "out"), shards=kind)
    prepared = DataConfig(root=str(tmp_path / "out"), canvas_px=24)
    assert open_manifest(prepared).factor_names[0] == "hue"
    assert np.array_equal(open_manifest(prepared).factors, open_manifest(settings).factors)
    expected, actual = samples(settings), samples(prepared)
    assert all(np.array_equal(actual[key], expected[key]) for key in expected)


def test_checksums_are_of_the_stored_bytes(images: Path, tmp_path: Path) -> None:
    prepare(config(images), str(tmp_path / "out"))
    made = open_manifest(config(tmp_path / "out"))
    for key, digest in zip(made.keys_of(), made.table["checksum"].to_pylist(), strict=True):
        assert digest == checksum((images / key).read_bytes())
