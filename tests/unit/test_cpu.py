"""Memory that a process keeps: page faults of large tensors, counted in processes of their own."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, resource, sys, torch
from raytrain.cpu import keep_freed_memory
torch.set_num_threads(1)
kept = keep_freed_memory() if sys.argv[1] == "kept" else None
faults = []
for _ in range(16):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    total = sum(float(torch.ones(size << 18).sum()) for size in (48, 3, 24))
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(json.dumps({"kept": kept, "faults": faults[10:]}))
"""


def run(how: str, **environment: str) -> dict[str, object]:
    made = subprocess.run(
        [sys.executable, "-c", SCRIPT, how],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(made.stdout)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    plain, kept = run("plain"), run("kept")
    if not kept["kept"]:
        pytest.skip("another C library")
    assert sum(kept["faults"]) * 20 < sum(plain["faults"])  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_environment_has_the_last_word() -> None:
    assert run("kept", MALLOC_MMAP_MAX_="8")["kept"] is False
