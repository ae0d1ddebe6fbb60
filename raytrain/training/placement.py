"""What a run waits for on a busy cluster: said in words, seldom; and what can be given up on a signal."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import ray
import ray.util
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError
from ray.train.v2._internal.execution.callback import WorkerGroupCallback

from raytrain.config import RunConfig
from raytrain.training.allotment import Allotment
from raytrain.training.cluster import cluster_resources

SAID_AFTER_S = 10.0
SAID_AGAIN_S = 120.0
Resources = dict[str, float]


class PlacementNotes(WorkerGroupCallback):
    """Tells the recorder when a pathway's workers ask for their resources, and when they run.

    It runs in the actor that starts the workers (Ray Train's controller), where an error ends the pathway.
    """

    def __init__(self, name: str, recorder: Any) -> None:
        self._name, self._recorder = name, recorder

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        """Note that workers are asked for, and by whom.

        Raises:
            ActorDiedError: the recorder is gone, and with it the run: nobody wants the workers any more.
        """
        controller = ray.get_runtime_context().current_actor
        with contextlib.suppress(GetTimeoutError, ActorUnavailableError):
            ray.get(self._recorder.waits.remote(self._name, controller), timeout=30)

    def after_worker_group_start(self, worker_group: Any) -> None:
        """Note that the workers are there."""
        with contextlib.suppress(Exception):
            self._recorder.placed.remote(self._name)


class Shortage:
    """Says which pathways wait for which resources, after some seconds and then seldom.

    Args:
        total, free: return the cluster's resources by name.
        pending: returns the bundles of placement groups that are not placed, one list a group.
        wanted: returns whether a chunk is to be made.
    """

    def __init__(
        self,
        config: RunConfig,
        allotment: Allotment,
        *,
        total: Callable[[], Resources] = cluster_resources,
        free: Callable[[], Resources] | None = None,
        pending: Callable[[], list[list[Resources]]] | None = None,
        wanted: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._wanted, self._clock = config, wanted, clock
        self._gpus = allotment.gpus_per_worker
        self._total, self._free, self._pending = total, free or _available, pending or _pending
        self._since: dict[str, float] = {}
        self._made, self._moved_at = -1, clock()
        self._next_look = 0.0
        self._looks_with_enough = 0

    @property
    def still_s(self) -> float:
        """Seconds since a chunk was made, a step was logged, or a pathway waited to be placed."""
        return self._clock() - self._moved_at

    def look(self, fresh: dict[str, Any]) -> str:
        """Take what the recorder has new; return what is to be said, else ''."""
        now, waiting = self._clock(), fresh["waiting"]
        self._since = {name: self._since.get(name, now) for name in waiting}
        if waiting or fresh["lines"] or fresh.get("made") != self._made:
            self._made, self._moved_at = fresh.get("made", -1), now
        late = [name for name in waiting if now - self._since[name] >= SAID_AFTER_S]
        if now < self._next_look or not (late or self.still_s >= SAID_AFTER_S):
            return ""
        self._next_look = now + SAID_AFTER_S
        text = self._of_workers(waiting) if late else self._of_decoding()
        if text:
            self._next_look = now + SAID_AGAIN_S
        return text

    @property
    def decoding_starves(self) -> bool:
        """Whether nothing has moved for some seconds, a chunk is wanted, and no CPU is free to make it."""
        return self.still_s >= SAID_AFTER_S and self._free().get("CPU", 0.0) < 1 and self._wanted()

    def _of_workers(self, names: list[str]) -> str:
        """Say what pathways wait for; '' where their workers are placed and only slow to start."""
        pending = self._pending()
        unplaced = [name for name in names if self._group(name) in pending]
        if not unplaced:
            return ""
        total, free = self._total(), self._free()
        needs: Resources = {}
        for name in unplaced:
            for bundle in self._group(name):
                for kind, amount in bundle.items():
                    needs[kind] = needs.get(kind, 0.0) + amount
        short = [kind for kind, amount in needs.items() if free.get(kind, 0.0) < amount]
        enough, self._looks_with_enough = not short, 0 if short else self._looks_with_enough + 1
        if self._looks_with_enough == 1:  # it may just have become free
            return ""
        wanted = " and ".join(
            f"{needs[kind]:g} {kind}{'' if needs[kind] == 1 else 's'}" for kind in short or needs
        )
        used = " and ".join(
            f"{total.get(kind, 0.0) - free.get(kind, 0.0):g} of {total.get(kind, 0.0):g}"
            for kind in short or needs
        )
        verb, where = ("waits" if len(unplaced) == 1 else "wait"), ", and no node fits" if enough else ""
        return f"{', '.join(unplaced)} {verb} for {wanted}: {used} are in use{where}"

    def _of_decoding(self) -> str:
        if not self.decoding_starves:
            return ""
        total = self._total().get("CPU", 0.0)
        return (
            f"no chunk and no step for {self.still_s:.0f} s: decode tasks wait for a CPU, or are slow; "
            f"{total - self._free().get('CPU', 0.0):g} of {total:g} are in use"
        )

    def _group(self, name: str) -> list[Resources]:
        """Return the bundles that Ray Train asks for, one a worker."""
        bundle = {"CPU": self._config.training.cpus_per_worker, "GPU": self._gpus}
        return [{kind: amount for kind, amount in bundle.items() if amount}] * self._config.workers(name)


def _available() -> Resources:
    untyped: Any = ray.available_resources
    resources: Resources = untyped()
    return resources


def _pending() -> list[list[Resources]]:
    """Return the bundles of each placement group that waits for resources."""
    with contextlib.suppress(RayError):
        groups = ray.util.placement_group_table().values()
        return [list(group["bundles"].values()) for group in groups if group["state"] == "PENDING"]
    return []
