"""The Ray cluster of a run: the one that is named or running, else one in this process; checked first."""

import contextlib
import importlib
import math
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raytrain.config import RunConfig
from raytrain.config.machine import usable_cpus, usable_memory
from raytrain.device import gpus_here
from raytrain.errors import ClusterError, ConfigError
from raytrain.training.allotment import FEW_DECODE_TASKS, Demand, Node, allot
from raytrain.training.answering import check_answers, connects
from raytrain.training.ray_folder import short_path, temporary_folder
from raytrain.training.signals import outliving_the_terminal

ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
SPARE_CPUS = 2


def check_docstrings(config: RunConfig) -> None:
    """Raise ConfigError where a run needs Ray Data, which needs docstrings, and Python has none."""
    if config.training.executor == "ray" and sys.flags.optimize > 1:
        raise ConfigError(
            "Ray Data cannot be imported by python -OO (or PYTHONOPTIMIZE=2), which leaves docstrings out; "
            "use -O, or --executor inline"
        )


def nodes_of(config: RunConfig, stack: contextlib.ExitStack) -> tuple[Node, ...]:
    """Return the machines that a run may use: of the cluster that is named or running, else this one.

    That cluster is connected to for as long as `stack` is open; none is started.

    Raises:
        ClusterError: the address does not answer, or runs another Ray version.
    """
    if config.training.executor == "ray" and (is_connected() or _address()):
        stack.enter_context(connect(config))
        return cluster_nodes()
    return (this_machine(Demand.of(config)),)


def this_machine(demand: Demand) -> Node:
    """Return this machine, with as many CPUs as a cluster that is started here would be given."""
    cores, tasks = usable_cpus(), demand.decode_tasks
    most = max(FEW_DECODE_TASKS, cores if tasks == "auto" else tasks)
    cpus = demand.ranks * demand.cpus_per_worker + demand.stages + demand.streams * most
    return Node(cpus=cpus, gpus=gpus_here(), cores=cores, memory=usable_memory())


@contextlib.contextmanager
def connect(config: RunConfig) -> Iterator[None]:
    """Connect to the cluster of a run, or start one in this process.

    Raises:
        ClusterError: the address does not answer, runs another Ray version, or a cluster does not start.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = _address()
    _set_authentication(address)
    import ray

    from raytrain.training.worker_path import OwnPath

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    options["job_config"] = OwnPath()
    already = ray.is_initialized()
    stack = contextlib.ExitStack()
    try:
        if already:
            pass
        elif address:
            check_answers(address)
            ray.init(address=address, **options)
        else:
            demand = Demand.of(config)
            machine = this_machine(demand)
            cpus = math.ceil(allot(demand, (machine,)).cpus(demand)) + SPARE_CPUS
            options |= {"num_gpus": machine.gpus, "include_dashboard": False}
            if folder := stack.enter_context(short_path()):
                options["_temp_dir"] = folder
            with outliving_the_terminal():
                ray.init(address="local", num_cpus=cpus, **options)
    except ClusterError:
        raise
    except Exception as error:  # a node that is too slow to start raises just that
        stack.close()
        raise ClusterError(_refusal(address, error)) from None
    _quiet_errors()
    with stack:
        try:
            yield
        finally:
            if not already:
                ray.shutdown()


def _refusal(address: str, error: Exception) -> str:
    """Say why a cluster cannot be used; of other versions, both sides' are named."""
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", str(error))
    if "Version mismatch" in str(error) and len(versions) == 2:
        there, here = (f"Ray {ray_version} on Python {python}" for ray_version, python in versions)
        return f"Ray cluster {address} runs {there}, this process {here}; install the same on both sides"
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if not address:
        advice = "run it again when the machine is less busy, or with --executor inline"
        return f"Ray does not start in this process: {text}; {advice}"
    advice = "check RAY_ADDRESS, the Ray version and RAY_AUTH_MODE on both sides"
    return f"Ray cluster {address} cannot be used: {text}; {advice}"


def cluster_resources() -> dict[str, float]:
    """Return the total resources of the connected cluster by name."""
    import ray

    untyped: Any = ray.cluster_resources
    resources: dict[str, float] = untyped()
    return resources


def cluster_nodes() -> tuple[Node, ...]:
    """Return the living machines of the connected cluster; of this one, what exists and is free is known."""
    import ray

    untyped: Any = ray.nodes
    here = ray.get_runtime_context().get_node_id()
    return tuple(
        _node(entry["Resources"], is_here=entry["NodeID"] == here) for entry in untyped() if entry["Alive"]
    )


def _node(resources: dict[str, float], *, is_here: bool) -> Node:
    cpus, memory = float(resources.get("CPU", 0.0)), resources.get("memory")
    return Node(
        cpus=cpus,
        gpus=int(resources.get("GPU", 0)),
        cores=min(cpus, usable_cpus()) if is_here else cpus,
        memory=usable_memory() if is_here else memory,
    )


def is_connected() -> bool:
    """Return whether this process is connected to a cluster."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def _address() -> str:
    """Return the address of the cluster that is named or running, or ''."""
    return os.environ.get("RAY_ADDRESS") or _running_cluster()


def _quiet_errors() -> None:
    """Keep Ray's remarks on its own process counts off the terminal; what fails comes as an exception."""
    import importlib

    def ignore(*arguments: object, **options: object) -> None:
        """Print nothing."""

    # There is no public switch; where Ray has moved the function, its remarks are seen, nothing worse.
    with contextlib.suppress(ImportError):
        worker = importlib.import_module("ray._private.worker")
        if hasattr(worker, "print_to_stdstream"):
            worker.print_to_stdstream = ignore  # type: ignore[attr-defined]


def _running_cluster() -> str:
    """Return the address of a cluster started on this machine by `ray start`, or ''."""
    record = Path(temporary_folder(), "ray", "ray_current_cluster")
    with contextlib.suppress(OSError):
        address = record.read_text(encoding="utf-8").strip()
        if address and connects(address):
            return address
    return ""


def _set_authentication(address: str) -> None:
    """Set RAY_AUTH_MODE always: Ray switches tokens on by itself in some cases and not in others."""
    if os.environ.get("RAY_AUTH_MODE"):
        return
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if os.environ.get("RAY_AUTH_TOKEN") or (address and token.exists()):
        os.environ["RAY_AUTH_MODE"] = "token"
    elif address:
        os.environ["RAY_AUTH_MODE"] = "disabled"
    else:  # a token of this process's own cluster, so that nothing is written into the home folder
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    if "ray" in sys.modules:  # it read the environment when it was imported
        internals: Any = importlib.import_module("ray._raylet")
        internals.Config.initialize("")
        internals.AuthenticationTokenLoader.instance().reset_cache()
