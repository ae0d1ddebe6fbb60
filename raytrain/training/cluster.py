"""The Ray cluster of a run: the one that is named or running, else one in this process; checked first."""

import contextlib
import importlib
import os
import re
import secrets
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from raytrain.config import RunConfig
from raytrain.errors import ClusterError

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


@dataclass(frozen=True)
class Needs:
    """What a run asks of a cluster."""

    cpus: float
    gpus: float

    @classmethod
    def of(cls, config: RunConfig) -> "Needs":
        """Count the workers of all pathways, the decode tasks and the operator stages."""
        workers = sum(config.workers(name) for name in config.pathways)
        streams = {pathway.stream for pathway in config.pathways.values()}
        staged = {p.stream for p in config.pathways.values() if p.placement == "stream"}
        decode = config.data.decode_tasks * len(streams)
        return cls(
            workers * config.training.cpus_per_worker + decode + len(staged),
            workers * config.training.gpus_per_worker,
        )


@contextlib.contextmanager
def connect(config: RunConfig) -> Iterator[Any]:
    """Connect to the cluster of a run, or start one in this process, and yield the `ray` module.

    Raises:
        ClusterError: the address does not answer, runs another Ray version, or has too little for the run.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS") or _running_cluster()
    needs = Needs.of(config)
    _set_authentication(address)
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    already = ray.is_initialized()
    try:
        if already:
            pass
        elif address:
            _check_answers(address)
            ray.init(address=address, **options)
        else:
            options |= {"num_gpus": None, "include_dashboard": False}
            ray.init(address="local", num_cpus=int(needs.cpus + 0.999) + SPARE_CPUS, **options)
    except ClusterError:
        raise
    except Exception as error:  # a node that is too slow to start raises just that
        raise ClusterError(_refusal(address, error)) from None
    _quiet_errors()
    try:
        check_fits(needs, cluster_resources())
        yield ray
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


def check_fits(needs: Needs, resources: dict[str, float]) -> None:
    """Raise ClusterError with the numbers when the run does not fit the cluster."""
    for kind, wanted in (("CPU", needs.cpus), ("GPU", needs.gpus)):
        there = resources.get(kind, 0.0)
        if wanted > there:
            raise ClusterError(
                f"the run needs {wanted:g} {kind}s (workers, decode tasks, operator stages) but the cluster "
                f"has {there:g}; lower training.workers, training.{kind.lower()}s_per_worker or "
                "data.decode_tasks, or add nodes"
            )


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
    record = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    with contextlib.suppress(OSError):
        address = record.read_text().strip()
        if address and _answers(address):
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


def _check_answers(address: str) -> None:
    if not _answers(address):
        raise ClusterError(
            f"RAY_ADDRESS {address} does not answer; start one with `ray start --head`, or unset RAY_ADDRESS"
        )


def _answers(address: str) -> bool:
    parsed = urlparse(address if "://" in address else f"ray://{address}")
    if parsed.hostname is None or address in ("auto", "local"):
        return True
    with contextlib.suppress(OSError), socket.create_connection((parsed.hostname, parsed.port or 6379), 3.0):
        return True
    return False
