"""What each process of a run gets of a cluster: GPU shares, decode tasks; arithmetic without a cluster."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from raytrain.config import RunConfig
from raytrain.errors import ClusterError, ConfigError

STAGE_SHARE = 0.1  # of a GPU, of an operator stage, where that much is left
GRAIN = 10_000  # Ray counts GPUs in ten thousandths
FEW_DECODE_TASKS = 2  # of a stream, also where workers take all cores: one is read while one is written


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one machine offers."""

    cpus: float
    """as Ray counts them"""
    gpus: int = 0
    cores: float
    """those that exist; less than `cpus` where a cluster was started with more than the machine has"""
    memory: float | None = None
    """bytes: of this machine what is free, of another what its Ray counts; None: not known"""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a run asks for, by its settings."""

    ranks: int
    """workers of all pathways"""
    cpus_per_worker: float = 1.0
    streams: int = 1
    stages: int = 0
    """streams with operators placed in them: one actor each"""
    device: str = "auto"
    gpus_per_worker: float | Literal["auto"] = "auto"
    decode_tasks: int | Literal["auto"] = "auto"

    @classmethod
    def of(cls, config: RunConfig, *, device: str = "") -> "Demand":
        """Count what a run asks for; `device`: the one that it began on, if it goes on."""
        training, pathways = config.training, config.pathways.values()
        wanted = device or training.device
        if training.executor == "inline":
            return cls(ranks=1, device=wanted)
        return cls(
            ranks=sum(config.workers(name) for name in config.pathways),
            cpus_per_worker=training.cpus_per_worker,
            streams=len({pathway.stream for pathway in pathways}),
            stages=len({pathway.stream for pathway in pathways if pathway.placement == "stream"}),
            device=wanted,
            gpus_per_worker=training.gpus_per_worker,
            decode_tasks=config.data.decode_tasks,
        )


@dataclass(frozen=True, kw_only=True)
class Allotment:
    """What each process of a run gets."""

    device: str = "cpu"
    """cpu or cuda: where the workers compute, and the operator stages"""
    gpus_per_worker: float = 0.0
    gpus_per_stage: float = 0.0
    decode_tasks: int = FEW_DECODE_TASKS
    """of each stream, at a time"""

    def cpus(self, demand: Demand) -> float:
        """Return the CPUs that the whole run takes."""
        workers = demand.ranks * demand.cpus_per_worker
        return workers + self.decode_tasks * demand.streams + demand.stages

    def gpus(self, demand: Demand) -> float:
        """Return the GPUs that the whole run takes."""
        return round(demand.ranks * self.gpus_per_worker + demand.stages * self.gpus_per_stage, 4)

    def text(self, demand: Demand, nodes: Sequence[Node]) -> str:
        """Say in words where a run computes, and who shares a GPU."""
        there = sum(node.gpus for node in nodes)
        if self.device == "cpu":
            if not there:
                return "device: cpu, there is no GPU"
            why = "training.gpus_per_worker is 0" if demand.gpus_per_worker == 0 else "cpu is asked for"
            return f"device: cpu, {why}; {_counted(there, 'GPU')} left alone"
        shares = f"device: cuda, {self.gpus_per_worker:g} GPU a worker"
        shares += f", {self.gpus_per_stage:g} an operator stage" if demand.stages else ""
        at_once = min(demand.ranks, _a_gpu(self.gpus_per_worker))
        whole = self.gpus_per_worker >= 1
        sharing = at_once + (0 if whole else demand.stages)
        return shares + (f"; up to {sharing} processes share a GPU" if sharing > 1 else "")


def allot(demand: Demand, nodes: Sequence[Node]) -> Allotment:
    """Share a cluster out; whether it suffices is `check_fits`'s to say.

    GPUs, where `demand` leaves them to us: a whole one a worker if there are as many, and one left for each
    operator stage; else the largest equal share of which every GPU holds as many as it must, whichever
    process comes first. Of cores, decoding gets what the workers leave.
    """
    there, asked = sum(node.gpus for node in nodes), demand.gpus_per_worker
    tasks = _decode_tasks(demand, nodes)
    needs_gpu = demand.device == "cuda" or asked not in ("auto", 0)
    if demand.device == "cpu" or asked == 0 or not (there or needs_gpu):
        return Allotment(decode_tasks=tasks)
    if asked == "auto":
        worker, stage = _shares(demand, nodes)
    else:
        worker, stage = asked, STAGE_SHARE
    return Allotment(
        device="cuda",
        gpus_per_worker=worker,
        gpus_per_stage=stage if demand.stages else 0.0,
        decode_tasks=tasks,
    )


def _shares(demand: Demand, nodes: Sequence[Node]) -> tuple[float, float]:
    """Return the GPU shares of a worker and of an operator stage."""
    if _places(demand, nodes, 1.0) >= demand.ranks + demand.stages:
        return 1.0, STAGE_SHARE
    together = next(
        (count for count in range(1, demand.ranks) if _places(demand, nodes, 1 / count) >= demand.ranks),
        demand.ranks,
    )
    # Every GPU keeps room for all stages, because nobody knows where they will be placed; with less than
    # 1 / (together + 1) of room no GPU takes one worker more than it must.
    room = min(STAGE_SHARE * demand.stages, 1 / (together + 2))
    worker = math.floor(GRAIN * (1 - room) / together) / GRAIN
    return worker, math.floor(GRAIN * room / max(1, demand.stages)) / GRAIN


def _places(demand: Demand, nodes: Sequence[Node], gpus: float) -> int:
    """Return for how many workers with so much of a GPU, or so many GPUs, there is a place: on one node."""
    places = 0
    for node in nodes:
        by_gpu = node.gpus * _a_gpu(gpus) if gpus <= 1 else int(node.gpus // gpus)
        each = demand.cpus_per_worker
        places += min(by_gpu, int(node.cpus / each + 1e-6)) if each else by_gpu
    return places


def _a_gpu(share: float) -> int:
    """Return how many of a share one GPU holds."""
    return int(1 / share + 1e-6) if 0 < share <= 1 else 1


def _decode_tasks(demand: Demand, nodes: Sequence[Node]) -> int:
    """Return the decode tasks of each stream: the cores that are left, and a few where there are none."""
    if demand.decode_tasks != "auto":
        return demand.decode_tasks
    taken = demand.ranks * demand.cpus_per_worker + demand.stages
    left, counted = (
        int(max(0.0, sum(cpus) - taken)) // demand.streams
        for cpus in ((node.cores for node in nodes), (node.cpus for node in nodes))
    )
    return max(1, left, min(FEW_DECODE_TASKS, counted))


def check_fits(demand: Demand, allotment: Allotment, nodes: Sequence[Node]) -> None:
    """Refuse, with the numbers, a run that would wait for ever.

    Raises:
        ConfigError: settings that contradict each other.
        ClusterError: the cluster has too little.
    """
    asked = demand.gpus_per_worker
    if demand.device == "cuda" and asked == 0:
        raise ConfigError(
            "the run is on cuda, but training.gpus_per_worker is 0; leave it at auto, or name a share"
        )
    if demand.device == "cpu" and asked not in ("auto", 0):
        raise ConfigError(f"the run is on cpu, but training.gpus_per_worker is {asked:g}; leave it at auto")
    cpus, there = allotment.cpus(demand), sum(node.cpus for node in nodes)
    if cpus > there:
        raise ClusterError(
            f"the run needs {cpus:g} CPUs (workers, decode tasks, operator stages) but the cluster has "
            f"{there:g}; lower training.workers, training.cpus_per_worker or data.decode_tasks, or add nodes"
        )
    if allotment.device == "cuda":
        _check_gpus(demand, allotment, nodes)


def _check_gpus(demand: Demand, allotment: Allotment, nodes: Sequence[Node]) -> None:
    there, share = sum(node.gpus for node in nodes), allotment.gpus_per_worker
    if not there:
        raise ClusterError(
            "the run is on cuda (by training.device, training.gpus_per_worker, or because it began so) and "
            "there is no GPU; start it where there is one, or name another --out and training.device = cpu"
        )
    needed, stages = allotment.gpus(demand), f" and {demand.stages} operator stage(s) of "
    what = f"{demand.ranks} worker(s) of {share:g}"
    what += f"{stages}{allotment.gpus_per_stage:g}" if demand.stages else ""
    advice = "leave training.gpus_per_worker at auto, lower training.workers, or add nodes"
    if needed > there:
        raise ClusterError(f"the run needs {needed:g} GPUs ({what}) but the cluster has {there}; {advice}")
    places = _places(demand, nodes, share)
    if places < demand.ranks:
        raise ClusterError(
            f"the run needs places for {demand.ranks} workers, each with {demand.cpus_per_worker:g} CPU and "
            f"{share:g} GPU on one node, but the nodes have {places}; {advice}"
        )
    if _stage_places(demand, allotment, there) < demand.stages:
        raise ClusterError(f"no GPU has room for what comes last of {what}; {advice}")


def _stage_places(demand: Demand, allotment: Allotment, gpus: int) -> int:
    """Return how many operator stages there is room for beside and behind the workers."""
    share, stage = allotment.gpus_per_worker, allotment.gpus_per_stage
    if not stage:
        return demand.stages
    if share > 1:
        used, beside = math.ceil(demand.ranks * share), 0
    else:
        used = math.ceil(demand.ranks / _a_gpu(share))
        beside = int((1 - _a_gpu(share) * share) / stage + 1e-6)
    return used * beside + (gpus - used) * _a_gpu(stage)


@dataclass(frozen=True, kw_only=True)
class RepresentAllotment:
    """What each process that represents gets."""

    num_actors: int
    """that hold the encoders"""
    gpus_per_actor: float
    decode_tasks: int


def allot_represent(nodes: Sequence[Node], *, device: str) -> RepresentAllotment:
    """Share a cluster out for a pass over the labelled samples, when the workers of the training are gone.

    An actor a GPU, and every core that they leave decodes. Without GPUs one core in four decodes, because
    encoders take most of the time; they get the others, or all where Ray counts more CPUs than cores.
    """
    cpus, cores = int(sum(node.cpus for node in nodes)), int(sum(node.cores for node in nodes))
    places = sum(min(node.gpus, int(node.cpus)) for node in nodes) if device == "cuda" else 0
    if places:
        actors = max(1, min(places, cpus - 1))
        return RepresentAllotment(
            num_actors=actors, gpus_per_actor=1.0, decode_tasks=max(1, min(cpus, cores) - actors)
        )
    tasks = max(1, cores // 4)
    return RepresentAllotment(
        num_actors=max(1, min(cores, cpus - tasks)), gpus_per_actor=0.0, decode_tasks=tasks
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"
