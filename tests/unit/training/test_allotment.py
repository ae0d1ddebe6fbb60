from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.config import from_mapping
from raytrain.errors import ClusterError, ConfigError
from raytrain.training.allotment import (
    Allotment,
    Demand,
    Node,
    RepresentAllotment,
    allot,
    allot_represent,
    check_fits,
)
from tests.conftest import small_values


def machine(gpus: int = 0, cpus: float = 64.0, *, cores: float | None = None) -> Node:
    return Node(cpus=cpus, gpus=gpus, cores=cpus if cores is None else cores)


EIGHT, ONE, NONE = (machine(8),), (machine(1),), (machine(0),)


@pytest.mark.parametrize(
    ("nodes", "demand", "worker", "stage"),
    [
        (EIGHT, Demand(ranks=3), 1.0, 0.0),
        (EIGHT, Demand(ranks=8), 1.0, 0.0),
        (EIGHT, Demand(ranks=7, stages=1), 1.0, 0.1),
        (EIGHT, Demand(ranks=8, stages=1), 0.9, 0.1),  # no whole one is left for the stage
        (EIGHT, Demand(ranks=12), 0.5, 0.0),
        (EIGHT, Demand(ranks=16), 0.5, 0.0),
        (EIGHT, Demand(ranks=17), 0.3333, 0.0),
        (EIGHT, Demand(ranks=12, stages=1), 0.45, 0.1),
        (ONE, Demand(ranks=1), 1.0, 0.0),
        (ONE, Demand(ranks=4), 0.25, 0.0),
        (ONE, Demand(ranks=4, stages=1), 0.225, 0.1),
        (ONE, Demand(ranks=1, stages=5, streams=5), 0.6666, 0.0666),
        (NONE, Demand(ranks=4, stages=1), 0.0, 0.0),
        ((machine(4), machine(4)), Demand(ranks=8), 1.0, 0.0),
        ((machine(4, cpus=2), machine(4)), Demand(ranks=8), 0.5, 0.0),  # the first has CPUs for two only
        ((machine(1), machine(0, cpus=200)), Demand(ranks=2), 0.5, 0.0),
        (EIGHT, Demand(ranks=4, cpus_per_worker=0), 1.0, 0.0),
        (EIGHT, Demand(ranks=3, device="cpu"), 0.0, 0.0),
        (EIGHT, Demand(ranks=3, gpus_per_worker=0), 0.0, 0.0),
        (EIGHT, Demand(ranks=3, gpus_per_worker=0.25, stages=1), 0.25, 0.1),
        (EIGHT, Demand(ranks=4, gpus_per_worker=2), 2.0, 0.0),
    ],
)
def test_the_share_of_a_gpu(nodes: tuple[Node, ...], demand: Demand, worker: float, stage: float) -> None:
    found = allot(demand, nodes)
    assert (found.gpus_per_worker, found.gpus_per_stage) == (worker, stage)
    assert found.device == ("cuda" if worker else "cpu")
    check_fits(demand, found, nodes)


@settings(max_examples=300, deadline=None)
@given(
    gpus=st.lists(st.integers(0, 8), min_size=1, max_size=4).filter(any),
    ranks=st.integers(1, 20),
    stages=st.integers(0, 4),
    data=st.data(),
)
def test_shares_of_auto_are_placed_in_whatever_order_they_come(
    gpus: list[int], ranks: int, stages: int, data: st.DataObject
) -> None:
    nodes = [machine(count) for count in gpus]
    demand = Demand(ranks=ranks, stages=stages, streams=max(1, stages))
    found = allot(demand, nodes)
    check_fits(demand, found, nodes)
    shares = data.draw(
        st.permutations([found.gpus_per_worker] * ranks + [found.gpus_per_stage] * stages), label="order"
    )
    free = [1.0] * sum(gpus)
    for share in shares:
        fitting = [place for place, left in enumerate(free) if left >= share - 1e-9]
        assert fitting, (found, free)
        free[data.draw(st.sampled_from(fitting))] -= share


def test_no_gpu_takes_more_workers_than_it_must() -> None:
    for gpus, ranks, stages in ((1, 4, 3), (2, 9, 2), (8, 20, 1), (3, 31, 4)):
        found = allot(Demand(ranks=ranks, stages=stages), [machine(gpus)])
        assert int(1 / found.gpus_per_worker) == -(-ranks // gpus)


@pytest.mark.parametrize(
    ("nodes", "demand", "text"),
    [
        (EIGHT, Demand(ranks=3), "device: cuda, 1 GPU a worker"),
        (EIGHT, Demand(ranks=12), "device: cuda, 0.5 GPU a worker; up to 2 processes share a GPU"),
        (
            ONE,
            Demand(ranks=4, stages=1),
            "device: cuda, 0.225 GPU a worker, 0.1 an operator stage; up to 5 processes share a GPU",
        ),
        (EIGHT, Demand(ranks=2, stages=1), "device: cuda, 1 GPU a worker, 0.1 an operator stage"),
        (NONE, Demand(ranks=1), "device: cpu, there is no GPU"),
        (EIGHT, Demand(ranks=1, device="cpu"), "device: cpu, cpu is asked for; 8 GPUs are left alone"),
        (
            ONE,
            Demand(ranks=1, gpus_per_worker=0),
            "device: cpu, training.gpus_per_worker is 0; 1 GPU is left alone",
        ),
    ],
)
def test_the_device_and_who_shares_it_are_said(nodes: tuple[Node, ...], demand: Demand, text: str) -> None:
    assert allot(demand, nodes).text(demand, nodes) == text


@pytest.mark.parametrize(
    ("nodes", "demand", "tasks"),
    [
        ((machine(0, 16),), Demand(ranks=3), 13),
        ((machine(0, 16),), Demand(ranks=3, stages=1, streams=2), 6),
        ((machine(0, 16), machine(8, 16)), Demand(ranks=8), 24),
        ((machine(0, 4),), Demand(ranks=4), 1),  # check_fits says what is lacking
        ((machine(0, 5),), Demand(ranks=4), 1),
        ((machine(0, 8, cores=2),), Demand(ranks=2), 2),  # more CPUs are counted than there are
        ((machine(0, 16),), Demand(ranks=3, decode_tasks=5), 5),
        ((machine(0, 8),), Demand(ranks=3, cpus_per_worker=0.5), 6),
    ],
)
def test_decoding_gets_the_cores_that_the_workers_leave(
    nodes: tuple[Node, ...], demand: Demand, tasks: int
) -> None:
    assert allot(demand, nodes).decode_tasks == tasks


def test_the_demand_of_settings() -> None:
    values = small_values(data__decode_tasks=3, training__workers=2, training__executor="ray")
    values["training"] |= {"cpus_per_worker": 0.5, "gpus_per_worker": 0.25}
    values["pathways"]["lbp"] |= {"workers": 1, "stream": "own", "placement": "stream"}
    demand = Demand.of(from_mapping(values))
    assert demand == Demand(
        ranks=3,
        cpus_per_worker=0.5,
        streams=2,
        stages=1,
        device="cpu",
        gpus_per_worker=0.25,
        decode_tasks=3,
    )
    allotment = Allotment(device="cuda", gpus_per_worker=0.25, gpus_per_stage=0.1, decode_tasks=3)
    assert allotment.cpus(demand) == 1.5 + 2 * 3 + 1
    assert allotment.gpus(demand) == 0.85
    inline = from_mapping(small_values(training__device="auto"))
    assert Demand.of(inline) == Demand(ranks=1, device="auto")
    assert Demand.of(inline, device="cpu").device == "cpu"  # it goes on where it began


def refused(demand: Demand, nodes: tuple[Node, ...]) -> Any:
    with pytest.raises((ClusterError, ConfigError)) as caught:
        check_fits(demand, allot(demand, nodes), nodes)
    return caught.value


def test_what_does_not_fit_is_refused_with_the_numbers() -> None:
    advice = "leave training.gpus_per_worker at auto, lower training.workers, or add nodes"
    assert str(refused(Demand(ranks=4, cpus_per_worker=1.125, decode_tasks=1), (machine(0, 4),))) == (
        "the run needs 5.5 CPUs (workers, decode tasks, operator stages) but the cluster has 4; lower "
        "training.workers, training.cpus_per_worker or data.decode_tasks, or add nodes"
    )
    assert str(refused(Demand(ranks=8, stages=1, gpus_per_worker=1), EIGHT)) == (
        "the run needs 8.1 GPUs (8 worker(s) of 1 and 1 operator stage(s) of 0.1) but the cluster has 8; "
        f"{advice}"
    )
    assert str(refused(Demand(ranks=2, gpus_per_worker=2), (machine(2), machine(1), machine(1)))) == (
        "the run needs places for 2 workers, each with 1 CPU and 2 GPU on one node, but the nodes have 1; "
        f"{advice}"
    )
    assert str(refused(Demand(ranks=3, gpus_per_worker=0.6), (machine(2),))) == (
        "the run needs places for 3 workers, each with 1 CPU and 0.6 GPU on one node, but the nodes have 2; "
        f"{advice}"
    )
    assert str(refused(Demand(ranks=2, stages=1, gpus_per_worker=0.95), (machine(2),))) == (
        f"no GPU has room for what comes last of 2 worker(s) of 0.95 and 1 operator stage(s) of 0.1; {advice}"
    )


@pytest.mark.parametrize(
    "demand",
    [Demand(ranks=1, device="cuda"), Demand(ranks=1, gpus_per_worker=1), Demand(ranks=2, device="cuda")],
)
def test_a_run_on_gpus_without_one_is_refused(demand: Demand) -> None:
    error = refused(demand, NONE)
    assert isinstance(error, ClusterError)
    assert str(error) == (
        "the run is on cuda (by training.device, training.gpus_per_worker, or because it began so) and there "
        "is no GPU; start it where there is one, or name another --out and training.device = cpu"
    )


def test_settings_that_contradict_each_other_are_refused() -> None:
    error = refused(Demand(ranks=1, device="cuda", gpus_per_worker=0), EIGHT)
    assert isinstance(error, ConfigError)
    assert str(error) == (
        "the run is on cuda, but training.gpus_per_worker is 0; leave it at auto, or name a share"
    )
    error = refused(Demand(ranks=1, device="cpu", gpus_per_worker=0.5), EIGHT)
    assert str(error) == "the run is on cpu, but training.gpus_per_worker is 0.5; leave it at auto"


@pytest.mark.parametrize(
    ("nodes", "device", "actors", "gpus", "tasks"),
    [
        ((machine(8, 64),), "cuda", 8, 1.0, 56),
        ((machine(8, 64), machine(8, 64)), "cuda", 16, 1.0, 112),
        ((machine(8, 8),), "cuda", 7, 1.0, 1),  # one CPU decodes
        ((machine(4, 2), machine(0, 30)), "cuda", 2, 1.0, 30),  # an actor needs a CPU beside its GPU
        ((machine(8, 64),), "cpu", 48, 0.0, 16),
        ((machine(0, 64),), "cuda", 48, 0.0, 16),
        ((machine(0, 6, cores=2),), "cpu", 2, 0.0, 1),  # logical CPUs: more actors would only take memory
        ((machine(0, 2),), "cpu", 1, 0.0, 1),
    ],
)
def test_representing_takes_every_gpu_and_decodes_on_the_cores_that_are_left(
    nodes: tuple[Node, ...], device: str, actors: int, gpus: float, tasks: int
) -> None:
    expected = RepresentAllotment(num_actors=actors, gpus_per_actor=gpus, decode_tasks=tasks)
    assert allot_represent(nodes, device=device) == expected
