"""Reading a batch out of its chunks, against one plain copy of as many bytes into memory that is kept."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.forms.chunk import Chunk
from pipelines.order.plan import BatchPlan, ChunkPlan, Cursor, chunk_samples
from pipelines.stream.batch import BatchReader
from pipelines.stream.buffers import KeptBuffers
from raytrain.config.pathway import PathwayConfig

NUM_SAMPLES, BATCH, WARM = 2048, 128, 3
CASES = ((224, 1, 1), (224, 2, 1), (224, 2, 2), (64, 1, 1))
"""side in px, lanes, workers"""


def run(*, device: str = "cpu", repeats: int = 5) -> list[dict[str, Any]]:
    """Measure whole epochs in turn with plain copies of the same bytes; the smallest of each counts."""
    del device
    return [_row(*case, repeats=repeats) for case in CASES]


def _row(side: int, lanes: int, workers: int, *, repeats: int) -> dict[str, Any]:
    size = 3 * side**2
    length = chunk_samples(size, chunk_mib=0, num_samples=NUM_SAMPLES, num_lanes=lanes)
    chunks = ChunkPlan(num_samples=NUM_SAMPLES, chunk_samples=length, num_lanes=lanes)
    plan = BatchPlan(chunks=chunks, batch_size=BATCH, num_workers=workers)
    made = [_chunk(chunks, number, side) for number in range(chunks.chunks_per_epoch)]
    reader = BatchReader(plan, made.__getitem__, PathwayConfig(), buffers=KeptBuffers())
    num_samples = BATCH // workers
    kept = np.zeros((num_samples, 3, side, side), np.uint8)
    sources = [np.full_like(kept, number) for number in range(NUM_SAMPLES // num_samples)]
    read, copied = [], []
    for _ in range(repeats):
        steps = range(plan.num_steps(0))
        read.append(_seconds(lambda step: reader.read(Cursor(0, step)), steps))
        copied.append(_seconds(lambda step: np.copyto(kept, sources[step % len(sources)]), steps))
    return {
        "name": f"read {num_samples} images of {side} px, {lanes} lane(s)",
        "value": 1e6 * min(read) / num_samples,
        "unit": "us a sample",
        "against": "one plain copy",
        "ratio": min(read) / min(copied),
        "bound": "<= 1.3",
    }


def _chunk(plan: ChunkPlan, number: int, side: int) -> Chunk:
    epoch, positions = plan.positions(number)
    count = len(positions)
    return Chunk(
        number=number,
        epoch=epoch,
        rows=positions,
        positions=positions,
        valid=np.ones(count, np.bool_),
        keys=[f"{position:08d}.jpg" for position in positions],
        key_hashes=positions.astype(np.uint64),
        labels=positions % 10,
        groups=positions,
        factors=np.zeros((count, 0), np.float32),
        columns={"images": np.full((count, 3, side, side), number % 251, np.uint8)},
    )


def _seconds(work: Callable[[int], Any], steps: range) -> float:
    """Return the smallest CPU time of a step behind the first ones."""
    times = []
    for step in steps:
        began = time.thread_time()
        work(step)
        times.append(time.thread_time() - began)
    return float(np.mean(sorted(times[WARM:])[: max(1, len(times) // 2)]))
