"""The processes that stand for ranks: results, errors, deaths, silence; a failure leaves nothing behind."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.ranks import RankError, Ranks


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """A pool of its own: these tests break it."""
    made = Ranks(tmp_path_factory.mktemp("ranks"))
    yield made
    made.close()


def total(rank: int, offset: float) -> tuple[int, int, float]:
    values = torch.tensor([rank + offset])
    dist.all_reduce(values)
    return os.getpid(), dist.get_world_size(), float(values)


def fail(rank: int) -> None:
    if rank == 1:
        raise ValueError("planted on purpose")
    dist.barrier()  # the others wait for the one that failed


def die(rank: int) -> None:
    if rank == 1:
        os._exit(7)
    dist.barrier()


def sleep(rank: int) -> None:
    time.sleep(60.0 * (rank == 1))


def test_each_rank_s_result_comes_from_a_process_that_is_kept(pool: Ranks) -> None:
    four = pool.run(4, total, 0.5)
    assert [(size, value) for _, size, value in four] == [(4, 8.0)] * 4
    two = pool.run(2, total, 0.0)
    assert [(size, value) for _, size, value in two] == [(2, 1.0)] * 2
    assert [process for process, _, _ in two] == [process for process, _, _ in four[:2]]
    assert len({process for process, _, _ in four} | {os.getpid()}) == 5


def test_an_error_comes_with_its_traceback_and_the_next_call_works(pool: Ranks) -> None:
    with pytest.raises(RankError, match=r"(?s)rank 1 of 2: Traceback .*in fail\n.*ValueError: planted on"):
        pool.run(2, fail)
    assert [value for _, _, value in pool.run(2, total, 1.0)] == [3.0, 3.0]


def test_a_rank_that_dies_is_named(pool: Ranks) -> None:
    with pytest.raises(RankError, match="rank 1 of 2: ended with exit code 7"):
        pool.run(2, die)
    assert len(pool.run(2, total, 1.0)) == 2


def test_silence_ends(pool: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.run(2, total, 1.0)
    monkeypatch.setattr(pool, "_timeout_s", 0.5)
    with pytest.raises(RankError, match=r"ranks \[1\] of 2 gave nothing in time"):
        pool.run(2, sleep)


def test_what_cannot_be_sent_fails_at_once(pool: Ranks) -> None:
    with pytest.raises(AttributeError, match="local object"):
        pool.run(1, lambda rank: rank)
    with pytest.raises(RankError, match="rank 0 of 1: Traceback"):
        pool.run(1, open_file, __file__)


def open_file(rank: int, path: str) -> object:
    return Path(path).open()
