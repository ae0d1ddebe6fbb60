import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pipelines.forms.chunk import Chunk, from_table, to_table
from pipelines.order.permutation import epoch_order
from pipelines.order.plan import BatchPlan, ChunkPlan, Cursor
from pipelines.sources import open_manifest
from pipelines.storage.patience import PAUSE_S, Patience
from pipelines.storage.places import Storage, opened
from pipelines.stream import decoder
from pipelines.stream.batch import BatchReader
from pipelines.stream.decoder import CachedChunk, DecodeCount, Decoder
from pipelines.stream.source import StreamSource
from raytrain.config import DataConfig
from raytrain.config.data import CsvConfig
from raytrain.config.pathway import PathwayConfig
from raytrain.errors import StorageError

NUM, LENGTH, SIDE = 22, 6, 16


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A class folder of images that are all different."""
    rng = np.random.default_rng(0)
    for index in range(NUM):
        folder = tmp_path / "images" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return tmp_path / "images"


def source_of(root: Path, *, lanes: int = 1, **changes: Any) -> StreamSource:
    config = DataConfig(
        source="folder",
        root=str(root),
        canvas_px=SIDE,
        select_fraction=0.0,
        test_fraction=0.0,
        cache="memory",
    )
    manifest = open_manifest(config)
    rows = manifest.indices("pretrain")
    plan = ChunkPlan(num_samples=len(rows), chunk_samples=LENGTH, num_lanes=lanes)
    return StreamSource(manifest=manifest, rows=rows, data=config, seed=3, plan=plan, **changes)


def assert_equal(one: Chunk, other: Chunk) -> None:
    for name in ("rows", "positions", "valid", "key_hashes", "labels", "groups", "factors", "images"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.number, one.epoch, one.keys) == (other.number, other.epoch, other.keys)


def pixels_of(root: Path, key: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(root / key)).transpose(2, 0, 1)


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_chunk_holds_what_stands_at_its_positions(images: Path, lanes: int) -> None:
    source = source_of(images, lanes=lanes)
    for epoch in range(2):
        seen: list[int] = []
        for number in range(epoch * source.plan.chunks_per_epoch, (epoch + 1) * source.plan.chunks_per_epoch):
            chunk = source.chunk(number)
            order = epoch_order(NUM, 3, epoch).samples_at(np.arange(NUM))
            np.testing.assert_array_equal(chunk.rows, source.rows[order[chunk.positions]])
            for place, key in enumerate(chunk.keys):
                np.testing.assert_array_equal(chunk.images[place], pixels_of(images, key))
                assert chunk.labels[place] == int(key.startswith("class1"))
            assert chunk.valid.all()
            assert (chunk.number, chunk.epoch, chunk.decodes) == (number, epoch, len(chunk))
            seen += chunk.positions.tolist()
        assert sorted(seen) == list(range(NUM))


def test_label_sets_go_from_the_list_to_the_batch(images: Path) -> None:
    names = sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))
    sets = {name: [place % 2, int(place % 3 == 0), 0] for place, name in enumerate(names)}
    lines = [",".join([name, *map(str, sets[name])]) for name in names]
    (images / "list.csv").write_text("\n".join(["path,a,b,c", *lines]))
    config = DataConfig(
        root=str(images / "list.csv"),
        csv=CsvConfig(label_columns="a,b,c"),
        canvas_px=SIDE,
        select_fraction=0.0,
        test_fraction=0.0,
    )
    manifest = open_manifest(config)
    plan = ChunkPlan(num_samples=NUM, chunk_samples=LENGTH, num_lanes=2)
    source = StreamSource(
        manifest=manifest, rows=manifest.indices("pretrain"), data=config, seed=3, plan=plan
    )
    reader = BatchReader(
        BatchPlan(chunks=plan, batch_size=8),
        lambda number: from_table(to_table(source.chunk(number))),
        PathwayConfig(),
    )
    for step in range(2):
        batch = reader.read(Cursor(0, step))
        assert batch.label_sets.dtype == torch.uint8
        assert batch.label_sets.tolist() == [sets[key] for key in batch.keys]
        assert batch.labels.tolist() == [0] * 8


def test_a_chunk_is_a_function_of_its_number_alone(images: Path) -> None:
    source = source_of(images)
    forwards = {number: source.chunk(number) for number in range(8)}
    fresh: StreamSource = pickle.loads(pickle.dumps(source_of(images)))  # as in another process
    epoch_order.cache_clear()
    for number in reversed(range(8)):
        assert_equal(fresh.chunk(number), forwards[number])


def test_an_open_storage_stays_at_home(images: Path) -> None:
    source = source_of(images)
    source.chunk(0)
    sent: Decoder = pickle.loads(pickle.dumps(source.decoder))
    assert sent.__getstate__()["_storage"] == sent._storage == []
    assert sent.storage is sent.storage
    assert_equal(sent.make(source.task(0)), source.chunk(0))


def test_without_shuffle_rows_come_in_their_order(images: Path) -> None:
    source = source_of(images, shuffle=False)
    rows = np.concatenate([source.chunk(number).rows for number in range(source.plan.chunks_per_epoch)])
    np.testing.assert_array_equal(rows, source.rows)


def test_first_rows_are_those_of_the_first_positions(images: Path) -> None:
    source = source_of(images)
    np.testing.assert_array_equal(source.first_rows(LENGTH), source.chunk(0).rows)
    assert len(source.first_rows(1000)) == NUM


def spoil(root: Path, keys: list[str]) -> None:
    for key in keys:
        (root / key).write_bytes(b"\x89PNG no image any more")


def expected_images(good: Chunk, bad: list[int]) -> NDArray[np.uint8]:
    """Fill each bad place from the nearest good one, of two the earlier, in plain loops."""
    images = good.images.copy()
    for place in bad:
        for distance in range(1, len(good)):
            near = [n for n in (place - distance, place + distance) if 0 <= n < len(good) and n not in bad]
            if near:
                images[place] = good.images[near[0]]
                break
    return images


@pytest.mark.parametrize("bad", [[0], [2], [5], [1, 2], [0, 1, 2, 4], [2, 3]])
def test_a_bad_sample_is_filled_by_the_nearest_good_one_and_nothing_moves(
    images: Path, bad: list[int]
) -> None:
    good = source_of(images).chunk(1)
    spoil(images, [good.keys[place] for place in bad])
    counts: list[DecodeCount] = []
    chunk = source_of(images, on_decoded=counts.append).chunk(1)
    assert np.flatnonzero(~chunk.valid).tolist() == bad
    np.testing.assert_array_equal(chunk.images, expected_images(good, bad))
    for name in ("rows", "positions", "labels", "key_hashes"):
        np.testing.assert_array_equal(getattr(chunk, name), getattr(good, name))
    assert chunk.keys == good.keys
    assert [entry["key"] for entry in chunk.quarantined] == [good.keys[place] for place in bad]
    assert all(entry["reason"] for entry in chunk.quarantined)
    assert counts == [DecodeCount("main", 1, LENGTH, chunk.quarantined)]


def test_what_is_missing_is_looked_for_again_together_after_one_pause(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = source_of(images).chunk(1)
    away = {key: (images / key).read_bytes() for key in good.keys[1:4]}
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        """One file comes back, one is broken, one stays away."""
        pauses.append(seconds)
        back, broken, _ = away
        (images / back).write_bytes(away[back])
        (images / broken).write_bytes(b"broken")

    monkeypatch.setattr(decoder, "PATIENCE", Patience(sleep=sleep))
    source = source_of(images)
    for key in away:
        (images / key).unlink()
    chunk = source.chunk(1)
    assert pauses == [PAUSE_S]
    assert chunk.valid.tolist() == [True, True, False, False, True, True]
    np.testing.assert_array_equal(chunk.images[:2], good.images[:2])
    assert [(one["key"], one["fate"]) for one in chunk.quarantined] == [
        (good.keys[2], "damaged"),
        (good.keys[3], "missing"),
    ]
    assert (chunk.decodes, chunk.counts) == (LENGTH, {"late": 1})


def test_what_is_broken_costs_no_pause(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(decoder, "PATIENCE", Patience(sleep=pauses.append))
    spoil(images, source_of(images).chunk(1).keys[:2])
    assert {one["fate"] for one in source_of(images).chunk(1).quarantined} == {"damaged"}
    assert pauses == []


def test_a_chunk_without_any_good_sample_is_black_and_invalid(images: Path) -> None:
    spoil(images, source_of(images).chunk(1).keys)
    chunk = source_of(images).chunk(1)
    assert not chunk.valid.any()
    assert not chunk.images.any()
    assert len(chunk.quarantined) == LENGTH


@pytest.mark.parametrize("num_bad", [0, 2])
def test_memory_cache_gives_the_same_chunks_without_decoding(images: Path, num_bad: int) -> None:
    spoil(images, source_of(images).chunk(0).keys[:num_bad])
    plain, source = source_of(images), source_of(images)
    kept = {number: source.chunk(number) for number in range(source.plan.chunks_per_epoch)}
    cached: CachedChunk = kept.get
    before = opened()
    made = [source.chunk(number, cached) for number in range(len(kept), 3 * len(kept))]
    assert opened() == before
    assert [chunk.decodes for chunk in made] == [0] * len(made)
    for chunk in made:
        assert_equal(chunk, plain.chunk(chunk.number))


def test_a_chunk_that_the_cache_lacks_is_decoded(images: Path) -> None:
    source = source_of(images)
    kept = {number: source.chunk(number) for number in range(source.plan.chunks_per_epoch)}
    number = source.plan.chunks_per_epoch
    rows = source.chunk(number).rows
    needed = [first for first, chunk in kept.items() if np.isin(rows, chunk.rows).any()]
    assert source.task(number).needed == needed
    lost = kept.pop(needed[0])
    chunk = source.chunk(number, kept.get)
    assert 0 < chunk.decodes == np.isin(rows, lost.rows).sum() < LENGTH
    assert_equal(chunk, source_of(images).chunk(number))


@pytest.mark.parametrize("num_bad", [0, 2])
def test_disk_cache_decodes_once_and_survives_the_process(images: Path, tmp_path: Path, num_bad: int) -> None:
    spoil(images, source_of(images).chunk(0).keys[:num_bad])
    plain, cache = source_of(images), str(tmp_path / "cache")
    source = source_of(images, cache_folder=cache)
    epoch = source.plan.chunks_per_epoch
    assert sum(source.chunk(number).decodes for number in range(epoch)) == NUM
    before = opened()
    again: StreamSource = pickle.loads(pickle.dumps(source_of(images, cache_folder=cache)))
    made = [again.chunk(number) for number in range(3 * epoch)]
    assert opened() == before
    for chunk in made:
        assert_equal(chunk, plain.chunk(chunk.number))
    assert [chunk.decodes for chunk in made[epoch:]] == [0] * 2 * epoch


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cached_chunk_that_was_cut_off_is_made_again(images: Path, tmp_path: Path, share: float) -> None:
    source = source_of(images, cache_folder=str(tmp_path / "cache"))
    first = source.chunk(1)
    path = tmp_path / "cache" / "00000001.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    before = opened()
    assert_equal(source.chunk(1), first)
    assert opened() == before + LENGTH
    assert path.read_bytes() == whole
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_full_disk_ends_the_cache_with_a_storage_error(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(images, cache_folder=str(tmp_path / "cache"))

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(
        StorageError, match=r"00000000\.arrow: cached chunk not written: No space left.*cache = none"
    ):
        source.chunk(0)
    assert list((tmp_path / "cache").iterdir()) == []


def test_storage_errors_propagate_and_drop_no_sample(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of(images)

    def fails(self: Storage, uri: str, **ranged: int) -> bytes:
        raise StorageError(f"{uri}: timed out")

    monkeypatch.setattr(Storage, "read_bytes", fails)
    with pytest.raises(StorageError, match="timed out"):
        source.chunk(0)


def test_counts_name_stream_and_chunk(images: Path) -> None:
    counts: list[DecodeCount] = []
    source = replace(source_of(images), name="left", on_decoded=counts.append)
    source.chunk(3)
    assert counts == [DecodeCount("left", 3, NUM - 3 * LENGTH, [])]


def test_decode_tasks_load_neither_torch_nor_ray() -> None:
    """They run in many small processes: torch alone would cost each of them seconds and 200 MB."""
    decode = "pipelines.decode.read_clip, pipelines.decode.read_events, pipelines.decode.child_main"
    code = f"import sys, pipelines.stream.source, {decode}; print({{'torch', 'ray'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_task_is_as_small_in_a_large_data_set(images: Path) -> None:
    source = source_of(images)
    small = len(pickle.dumps(source.task(8)))
    table = pa.concat_tables([source.manifest.table] * 400)
    keys = pa.array([f"{number:06d}/{key}" for number, key in enumerate(table["key"].to_pylist())])
    manifest = replace(source.manifest, table=table.set_column(0, "key", keys))
    rows = manifest.indices("pretrain")
    large = replace(source, manifest=manifest, rows=rows, plan=replace(source.plan, num_samples=len(rows)))
    assert len(pickle.dumps(large.decoder)) == len(pickle.dumps(source.decoder))
    sent = pickle.dumps(large.task(8 * large.plan.chunks_per_epoch + 1))
    assert len(sent) - small < 400 + 7 * 2 * LENGTH  # longer keys, and what is kept of epoch 0
    chunk = large.decoder.make(pickle.loads(sent))
    assert chunk.valid.all()
    assert chunk.keys == [keys[row].as_py() for row in chunk.rows]


def test_a_kept_chunk_that_the_disk_does_not_give_is_named(images: Path, tmp_path: Path) -> None:
    source = source_of(images, cache_folder=str(tmp_path / "cache"))
    source.chunk(1)
    path = tmp_path / "cache" / "00000001.arrow"
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=r"00000001\.arrow: cached chunk cannot be read: .*cache = none"):
        source.chunk(1)
