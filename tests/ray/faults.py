"""Faults for `train_worker`, planted from the test: nested functions travel to the workers by value."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Worker = Callable[[dict[str, Any]], dict[str, Any]]


def worker_with(fault: Callable[[str, int, int], None]) -> Worker:
    """Return `train_worker` that calls `fault(pathway, rank, step)` before each step."""

    def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
        from raytrain.training import worker
        from raytrain.training.loop import PathwayLoop

        advance = PathwayLoop.advance

        def with_fault(loop: PathwayLoop, *arguments: Any, **options: Any) -> bool:
            fault(loop.pathway.name, loop.plan.rank, loop.step + 1)
            return advance(loop, *arguments, **options)

        PathwayLoop.advance = with_fault  # type: ignore[method-assign]
        return worker.train_worker(settings)

    return train_worker


def once(folder: Path, name: str) -> Callable[[], bool]:
    """Return a function that is true the first time it is called, in whatever process."""
    mark = str(folder / name)

    def first() -> bool:
        try:
            Path(mark).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    return first


def losing_worker(first: Callable[[], bool], pathway: str, plain: Worker) -> Worker:
    """Return `plain` in which the first block that a pathway is handed turns out to be lost.

    Ray has no call that frees an object any more, so its error is raised where the block is read.
    """

    def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
        import ray
        from ray.exceptions import ObjectLostError

        from pipelines.stream import reader

        blocks: set[Any] = set()

        class Lossy:
            def __getattr__(self, name: str) -> Any:
                return getattr(ray, name)

            def get(self, reference: Any, **options: Any) -> Any:
                if reference in blocks and first():
                    raise ObjectLostError(reference.hex(), b"", "")
                found = ray.get(reference, **options)
                if settings["setup"].name == pathway:
                    blocks.update(getattr(found, "block", ()))
                return found

        reader.ray = Lossy()  # type: ignore[assignment]
        return plain(settings)

    return train_worker
