from typing import Any

import pytest

from raytrain.config import from_mapping
from raytrain.training.allotment import Allotment
from raytrain.training.placement import SAID_AFTER_S, SAID_AGAIN_S, Resources, Shortage
from tests.conftest import small_values


class Cluster:
    """A cluster of eight CPUs and two GPUs, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.free: Resources = {}
        self.pending: list[list[Resources]] = []
        self.wanted = True

    def shortage(self, *, gpus: float = 0.0, **changes: Any) -> Shortage:
        return Shortage(
            from_mapping(small_values(training__executor="ray", **changes)),
            Allotment(gpus_per_worker=gpus),
            total=lambda: {"CPU": 8.0, "GPU": 2.0},
            free=lambda: self.free,
            pending=lambda: self.pending,
            wanted=lambda: self.wanted,
            clock=lambda: self.now,
        )


def fresh(*waiting: str, made: int = 0, lines: int = 0) -> dict[str, Any]:
    return {"waiting": list(waiting), "made": made, "lines": [{}] * lines, "events": []}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_a_wait_for_cpus_is_said_after_some_seconds_and_then_seldom(cluster: Cluster) -> None:
    shortage = cluster.shortage()
    cluster.pending = [[{"CPU": 1.0}]]
    assert shortage.look(fresh("lbp")) == ""
    cluster.now += SAID_AFTER_S - 1
    assert shortage.look(fresh("lbp")) == ""
    cluster.now += 1
    said = "lbp waits for 1 CPU: 8 of 8 are in use"
    assert shortage.look(fresh("lbp")) == said
    heard = []
    for _ in range(5 * int(SAID_AGAIN_S) + 5):
        cluster.now += 0.2
        heard.append(shortage.look(fresh("lbp")))
    assert [text for text in heard if text] == [said]


def test_several_pathways_and_kinds_are_one_line(cluster: Cluster) -> None:
    shortage = cluster.shortage(gpus=0.5, training__workers=2, training__cpus_per_worker=1.5)
    cluster.pending = [[{"CPU": 1.5, "GPU": 0.5}] * 2] * 2
    cluster.free = {"CPU": 7.0, "GPU": 0.5}
    shortage.look(fresh("identity", "lbp"))
    cluster.now += SAID_AFTER_S
    assert shortage.look(fresh("identity", "lbp")) == "identity, lbp wait for 2 GPUs: 1.5 of 2 are in use"
    cluster.free = {"CPU": 1.0}
    cluster.now += SAID_AGAIN_S
    said = shortage.look(fresh("identity", "lbp"))
    assert said == "identity, lbp wait for 6 CPUs and 2 GPUs: 7 of 8 and 2 of 2 are in use"


def test_workers_that_are_placed_and_slow_to_start_wait_for_nothing(cluster: Cluster) -> None:
    shortage = cluster.shortage()
    cluster.pending = [[{"CPU": 4.0}]]  # another job's
    shortage.look(fresh("lbp"))
    cluster.now += SAID_AFTER_S
    assert shortage.look(fresh("lbp")) == ""


def test_a_wait_that_ends_begins_anew(cluster: Cluster) -> None:
    shortage = cluster.shortage()
    cluster.pending = [[{"CPU": 1.0}]]
    shortage.look(fresh("lbp"))
    cluster.now += SAID_AFTER_S
    assert shortage.look(fresh(lines=1)) == ""
    assert shortage.look(fresh("lbp")) == ""


def test_enough_that_fits_nowhere_is_said_when_it_lasts(cluster: Cluster) -> None:
    shortage = cluster.shortage(training__cpus_per_worker=3)
    cluster.pending = [[{"CPU": 3.0}]]
    cluster.free = {"CPU": 4.0}
    shortage.look(fresh("lbp"))
    cluster.now += SAID_AFTER_S
    assert shortage.look(fresh("lbp")) == ""  # it may just have become free
    cluster.now += SAID_AFTER_S
    assert shortage.look(fresh("lbp")) == "lbp waits for 3 CPUs: 4 of 8 are in use, and no node fits"


def test_decode_tasks_without_a_cpu_are_said_when_nothing_moves(cluster: Cluster) -> None:
    shortage = cluster.shortage()
    for made in range(3):
        cluster.now += SAID_AFTER_S
        assert shortage.look(fresh(made=made)) == ""
    cluster.now += SAID_AFTER_S
    assert shortage.look(fresh(made=3, lines=1)) == ""
    cluster.free = {"CPU": 2.0}
    cluster.now += SAID_AFTER_S
    assert shortage.look(fresh(made=3)) == ""
    assert not shortage.decoding_starves
    cluster.free, cluster.wanted = {}, False  # the pathways are slow, the window is full
    assert not shortage.decoding_starves
    cluster.wanted = True
    cluster.now += SAID_AFTER_S
    assert shortage.decoding_starves
    assert shortage.look(fresh(made=3)) == (
        "no chunk and no step for 20 s: decode tasks wait for a CPU, or are slow; 8 of 8 are in use"
    )
