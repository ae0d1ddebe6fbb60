"""The broadcast by itself: what a reader gets when blocks are lost, and when a cache starts cold."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.exceptions import GetTimeoutError, ObjectLostError

from pipelines.forms.chunk import Chunk, from_table
from pipelines.order.plan import ChunkPlan
from pipelines.sources import open_manifest
from pipelines.stream import broadcast as module
from pipelines.stream import reader as reading
from pipelines.stream.broadcast import Broadcast, StreamRequest, make_block
from pipelines.stream.decoder import DecodeCount
from pipelines.stream.reader import ChunkReader
from pipelines.stream.source import StreamSource
from raytrain.config import DataConfig
from raytrain.config.data import ShapesConfig
from raytrain.training.recorder import Recorder

pytestmark = [pytest.mark.ray, pytest.mark.chaos]
NUM, LENGTH, EPOCHS = 16, 4, 3
PER_EPOCH, WINDOW = NUM // LENGTH, 4


def source_of(**data: Any) -> StreamSource:
    shapes = ShapesConfig(num_train=NUM, num_test=1, size_px=16)
    config = DataConfig(source="shapes", shapes=shapes, select_fraction=0.0, **{"canvas_px": 16, **data})
    manifest = open_manifest(config)
    plan = ChunkPlan(num_samples=NUM, chunk_samples=LENGTH)
    return StreamSource(manifest=manifest, rows=manifest.indices("pretrain"), data=config, seed=0, plan=plan)


Read = Callable[..., tuple[list[Chunk], dict[str, Any]]]


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    """Reads chunks through a broadcast; returns them and the recorder's counts."""
    actors: list[Any] = []

    def read(
        source: StreamSource, numbers: range, *, epochs: int = EPOCHS, killed_at: int = -1
    ) -> tuple[list[Chunk], dict[str, Any]]:
        recorder: Any = ray.remote(Recorder).options(num_cpus=0).remote(str(tmp_path), "demo")

        def decoded(count: DecodeCount) -> None:
            ray.get(recorder.decoded.remote(count))

        request = StreamRequest(
            source=replace(source, on_decoded=decoded),
            cursors={"lbp/0": numbers[0]},
            num_chunks=epochs * PER_EPOCH,
            num_used=[NUM] * epochs,
            window_chunks=WINDOW,
            chunk_bytes=LENGTH * 3 * source.data.canvas_px**2,
        )
        actor: Any = ray.remote(Broadcast).options(num_cpus=0, max_concurrency=100, max_restarts=1).remote()
        actor.serve.remote({"main": request})
        actors.extend((recorder, actor))
        reader = ChunkReader(actor, "main", "lbp/0", iter(numbers))
        chunks = []
        for number in numbers:
            if number == killed_at:
                while ray.get(recorder.counts.remote())["decodes"] <= number * LENGTH:
                    time.sleep(0.05)  # until a chunk was made ahead, which is lost with the actor
                ray.kill(actor, no_restart=False)
            chunks.append(reader(number))
        counts, before = ray.get(recorder.counts.remote()), None
        while counts != before:  # whatever is made ahead
            time.sleep(1)
            counts, before = ray.get(recorder.counts.remote()), counts
        reader.close()
        return chunks, counts

    yield read
    for actor in actors:
        ray.kill(actor)


def assert_right(chunks: list[Chunk], source: StreamSource) -> None:
    for chunk in chunks:
        np.testing.assert_array_equal(chunk.images, source.chunk(chunk.number).images)


class Lossy:
    """Ray, with blocks that turn out to be lost when they are first read, or that never arrive."""

    def __init__(self, losses: set[int], never: frozenset[int] = frozenset()) -> None:
        self._losses, self._never, self._number = losses, never, 0
        self._blocks, self._absent = set[Any](), set[Any]()

    def __getattr__(self, name: str) -> Any:
        return getattr(ray, name)

    def get(self, reference: Any, **options: Any) -> Any:
        if reference in self._blocks:
            self._blocks.discard(reference)
            self._number += 1
            if self._number in self._losses:
                raise ObjectLostError(reference.hex(), b"", "")
            if self._number in self._never:
                self._absent.add(reference)
        if reference in self._absent:
            raise GetTimeoutError("Get timed out")
        found = ray.get(reference, **options)
        self._blocks.update(getattr(found, "block", ()))
        return found


def test_lost_blocks_are_made_again_and_counted(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ray", Lossy({2, 3, 6}))
    source = source_of()
    chunks, counts = read(source, range(PER_EPOCH * EPOCHS))
    assert [chunk.number for chunk in chunks] == list(range(PER_EPOCH * EPOCHS))
    assert_right(chunks, source)
    assert counts["decodes_replayed"] >= 3 * LENGTH  # and what had been read ahead of a lost one
    assert counts["decodes"] == NUM * EPOCHS + counts["decodes_replayed"]


def test_a_block_that_never_arrives_is_made_again(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ray", Lossy(set(), frozenset({2, 5})))
    monkeypatch.setattr(reading, "BLOCK_S", 0.1)
    source = source_of()
    chunks, counts = read(source, range(PER_EPOCH * EPOCHS))
    assert_right(chunks, source)
    assert counts["decodes_replayed"] >= 2 * LENGTH


def test_one_that_is_killed_comes_back_with_what_it_was_asked_for(read: Read) -> None:
    source = source_of()
    chunks, counts = read(source, range(PER_EPOCH * EPOCHS), killed_at=PER_EPOCH)
    assert [chunk.number for chunk in chunks] == list(range(PER_EPOCH * EPOCHS))
    assert_right(chunks, source)
    assert counts["decodes_replayed"] > 0


def test_what_is_made_ahead_is_bounded(read: Read) -> None:
    source = source_of(canvas_px=256)  # 768 KiB a chunk
    _, counts = read(source, range(1), epochs=100)
    assert counts["decodes"] <= (2 * WINDOW + 4) * LENGTH


def test_a_memory_cache_that_starts_cold_decodes_what_it_lacks(read: Read) -> None:
    source = source_of(cache="memory")
    chunks, counts = read(source, range(2, PER_EPOCH * EPOCHS))
    assert_right(chunks, source)
    # half of epoch 0 was cached: the other half is decoded in each later epoch
    assert counts["decodes"] == NUM // 2 + (EPOCHS - 1) * NUM // 2


def test_a_cached_chunk_that_is_lost_is_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source, lost = source_of(cache="memory"), object()

    class Lossy:
        exceptions = ray.exceptions

        def get(self, reference: Any) -> Any:
            if reference is lost:
                raise ObjectLostError("00" * 28, b"", "")
            return reference

    monkeypatch.setattr(module, "ray", Lossy())
    task = source.task(PER_EPOCH)
    kept = {number: make_block(source.decoder, source.task(number), {})[0] for number in range(PER_EPOCH)}
    made = [from_table(make_block(source.decoder, task, {**kept, number: lost})[0]) for number in kept]
    whole = from_table(make_block(source.decoder, task, kept)[0])
    assert whole.decodes == 0
    assert sum(chunk.decodes for chunk in made) == LENGTH
    assert_right([*made, whole], source)
