import threading

import pytest

from pipelines.storage.patience import FREE_S, PAUSE_S, SHARE, Patience


def test_pauses_take_a_tenth_of_the_time_at_most() -> None:
    now, slept = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    patience = Patience(clock=lambda: now[0], sleep=sleep)
    for _ in range(1_000):  # a folder that lacks a file in every chunk
        patience.pause()
        now[0] += 0.04
    assert slept[:3] == [PAUSE_S] * 3
    assert sum(slept) <= FREE_S + SHARE * (now[0] - 100.0) + 1e-9
    assert sum(slept) > 4
    now[0] += 60.0
    assert patience.pause() == PAUSE_S


def test_threads_pause_at_a_time_and_share_the_bound() -> None:
    slept: list[float] = []
    patience = Patience(clock=lambda: 0.0, sleep=slept.append)
    threads = [threading.Thread(target=patience.pause) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(slept) == 10
    assert sum(slept) == pytest.approx(FREE_S)
