"""How a process computes on the CPU: its threads, and memory that it keeps between steps."""

import ctypes
import os

import torch

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # of mallopt, in glibc's malloc.h
_MOST_FREE_BYTES = 2**31 - 1
_GROWTH_BYTES = 64 << 20


def prepare_cpu(*, threads: int) -> None:
    """Set the threads that torch computes with, and keep what it frees for its next tensors."""
    torch.set_num_threads(threads)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory instead of handing it back; return whether it does.

    A step asks for the memory that the step before has freed. By default glibc maps each large tensor anew,
    and the kernel zeroes its pages one fault at a time: 30,000 faults and a quarter of the wall time of a
    step of gtsrb-small in the main thread, a tenth in the thread of a Ray Train worker; with this a hundred
    faults. The peak stays as it is, but the process keeps what it once reached. Call it in the thread that
    computes, before its first large tensor.

    Nothing is done with another C library, or where the environment says how malloc shall work.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    options = {
        _MMAP_MAX: 0,  # large tensors come from the heap too
        _TRIM_THRESHOLD: _MOST_FREE_BYTES,
        _TOP_PAD: _GROWTH_BYTES,
        _ARENA_MAX: 1,  # other heaps are limited to 64 MB
    }
    taken = [int(mallopt(option, value)) for option, value in options.items()]
    return min(taken) == 1
