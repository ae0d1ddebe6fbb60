"""One stream of clips, read by one and by four readers that only count: samples a second of each."""

import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from pipelines.sources import open_manifest
from raytrain.config import RunConfig, from_mapping
from raytrain.training.plan import RunSetup

NUM_CLIPS, EPOCHS = 96, 4
READERS = (1, 4)


def run(*, device: str = "cpu", repeats: int = 3) -> list[dict[str, Any]]:
    """Measure through Ray, the two numbers of readers in turn; the median of the ratios counts."""
    del device
    with tempfile.TemporaryDirectory(prefix="raytrain-bench-") as folder:
        config = _config(Path(folder))
        from raytrain.training.cluster import connect

        with connect(config):
            setup = RunSetup.build(config, open_manifest(config.data), Path(folder), {})
            _rate(setup, 1)  # renders the clips, starts the processes
            rounds = [{count: _rate(setup, count) for count in READERS} for _ in range(repeats)]
    one, four = (statistics.median(rates[count] for rates in rounds) for count in READERS)
    return [
        {"name": "stream of clips: 1 reader that counts", "value": one, "unit": "clips/s"},
        {
            "name": "stream of clips: 4 readers that count",
            "value": four,
            "unit": "clips/s",
            "against": "1 reader",
            "ratio": statistics.median(rates[4] / rates[1] for rates in rounds),
            "bound": ">= 0.9",
        },
    ]


def _config(folder: Path) -> RunConfig:
    cut = {"name": "frames", "num_frames": 16, "rate_hz": 10.0}
    generated = {"num_train": NUM_CLIPS, "num_test": 8, "num_frames": 64}
    return from_mapping(
        {
            "preset": "bench",
            "out": str(folder / "run"),
            "data": {"source": "clips", "canvas_px": 120, "select_fraction": 0.0, "generated": generated},
            "training": {"epochs": EPOCHS, "batch_size": 16},
            "pathways": {"identity": {"cut": cut}},
        }
    )


def _rate(setup: RunSetup, num_readers: int) -> float:
    """Return clips a second that every one of the readers gets."""
    import ray

    from pipelines.stream.broadcast import Broadcast, StreamRequest
    from pipelines.stream.reader import ChunkReader

    source = setup.source("main")
    num_chunks = EPOCHS * source.plan.chunks_per_epoch
    request = StreamRequest(
        source=source,
        cursors={f"reader/{number}": 0 for number in range(num_readers)},
        num_chunks=num_chunks,
        num_used=[setup.num_samples] * EPOCHS,
        window_chunks=8,
        chunk_bytes=source.plan.chunk_samples * setup.sample_bytes["main"],
    )
    actor: Any = ray.remote(Broadcast).options(num_cpus=0, max_concurrency=100).remote()
    actor.serve.remote({"main": request})
    readers = [
        ChunkReader(actor, "main", f"reader/{number}", iter(range(num_chunks)))
        for number in range(num_readers)
    ]
    counted = [0] * num_readers
    for reader in readers:
        reader(0)  # the start is not the stream's
    started = time.perf_counter()

    def count(place: int) -> None:
        counted[place] = sum(len(readers[place](number)) for number in range(1, num_chunks))

    threads = [threading.Thread(target=count, args=(place,)) for place in range(num_readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    for reader in readers:
        reader.close()
    ray.kill(actor)
    return min(counted) / seconds
