"""How many CPUs and how much memory this process may use: what settings of `auto` and refusals go by."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
CGROUP_QUOTA = CGROUP / "cpu.max"
MEMINFO = Path("/proc/meminfo")


def usable_cpus(quota: Path = CGROUP_QUOTA) -> int:
    """Return the CPUs that this process may run on, at most what its container's quota pays for."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="utf-8").split()
        return max(1, min(count, int(allowed) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return count


def usable_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Return the bytes of memory that are free for this process, a container's limit included; None: unknown.

    What the system keeps of files counts as free: it gives it up.
    """
    found = []
    try:
        lines = dict(
            line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines() if ":" in line
        )
        found.append(1024 * int(lines["MemAvailable"].split()[0]))
    except (OSError, KeyError, ValueError):
        pass
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            left = int((cgroup / limit).read_text(encoding="utf-8")) - int(
                (cgroup / used).read_text(encoding="utf-8")
            )
            found.append(left + _file_bytes(cgroup / limit))
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
    return max(0, min(found)) if found else None


def _file_bytes(limit: Path) -> int:
    """Return what a container's use of memory counts of files, which is given up when it is needed."""
    try:
        counts = dict(
            line.split() for line in (limit.parent / "memory.stat").read_text(encoding="utf-8").splitlines()
        )
        return int(counts.get("inactive_file", 0))
    except (OSError, ValueError):
        return 0
