"""Ray Data over our own blocks: one read task makes one block, blocks keep their order."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import ray.data
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

MakeBlock = Callable[[], list[pa.Table]]


class BlockSource(Datasource):
    """A Ray Data source whose read tasks each make one block, so that blocks and chunks coincide."""

    def __init__(self, tasks: list[MakeBlock]) -> None:
        self._tasks = tasks

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None: blocks are bounded by their makers."""
        return None

    def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[ReadTask]:
        """Return one task a block, in order."""
        metadata = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(task, metadata) for task in self._tasks]


def ordered_dataset(tasks: list[MakeBlock]) -> ray.data.Dataset:
    """Return a lazy dataset of the tasks' blocks in their order, each left whole."""
    quiet()
    dataset: ray.data.Dataset = ray.data.read_datasource(BlockSource(tasks), override_num_blocks=len(tasks))
    return dataset


def add_stage(
    dataset: ray.data.Dataset, stage: type, arguments: tuple[Any, ...], **resources: Any
) -> ray.data.Dataset:
    """Put an actor stage behind a dataset: `stage(*arguments)` is called with each block."""
    return dataset.map_batches(
        stage,
        fn_constructor_args=arguments,
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        **resources,
    )


def block_references(
    dataset: ray.data.Dataset, *, num_cpus: float, num_bytes: float | None = None
) -> Iterator[Any]:
    """Run a dataset within so many CPUs and yield its blocks' references in order.

    Args:
        num_bytes: no further block is begun while those that are held, here or by readers, take more; None:
            Ray Data's own bound, half of the object store.
    """
    context = dataset.context
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.target_max_block_size = 2**40  # a block is left whole, however large
    limits = context.execution_options.resource_limits
    context.execution_options.resource_limits = limits.copy(cpu=num_cpus, object_store_memory=num_bytes)
    for bundle in dataset.iter_internal_ref_bundles():
        for entry in bundle.blocks:
            yield entry.ref


def quiet() -> None:
    """Switch off Ray Data's progress output and the guard that ends an execution whose consumer pauses."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1
    context.memory_usage_poll_interval_s = None  # each task would start a thread that watches its memory
    logging.getLogger("ray.data").setLevel(logging.ERROR)
