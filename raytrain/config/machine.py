"""How many CPUs this process may use: what settings of `auto` are resolved from on one machine."""

import os
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus(quota: Path = CGROUP_QUOTA) -> int:
    """Return the CPUs that this process may run on, at most what its container's quota pays for."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        return max(1, min(count, int(allowed) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return count
