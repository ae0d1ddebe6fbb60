"""Whether a Ray cluster answers at an address: asked by a process of its own, whose time is limited.

Ray itself waits for minutes and writes lines of its own meanwhile; a call of it cannot be ended from outside.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from urllib.parse import urlparse

from raytrain.errors import ClusterError

CONNECT_S, ASK_S = 3.0, 12.0
ANSWER_S = 6
"""of ASK_S, which the process that asks also needs to start"""
_SAYS = "raytrain asked: "
"""before what the asking process says: whatever else it prints is none of ours"""
_ASK = f"""
import signal
import sys
address = sys.argv[1]
try:
    from ray._private.services import canonicalize_bootstrap_address_or_die
    from ray._raylet import GcsClient
    signal.alarm({ANSWER_S})  # it ends this process, whatever it waits in
    if ":" not in address:  # "auto"
        address = canonicalize_bootstrap_address_or_die(address)
    GcsClient(address=address).get_all_node_info()
except ImportError:  # moved by Ray: then it is asked without a limit, by Ray itself
    pass
except Exception as error:
    print({_SAYS!r} + type(error).__name__, str(error).splitlines()[0] if str(error) else "")
"""


def connects(address: str) -> bool:
    """Return whether something takes connections at host:port; of "auto" and the like that is not asked."""
    parsed = urlparse(f"//{address}")
    if parsed.hostname is None or address in ("auto", "local"):
        return True
    place = (parsed.hostname, parsed.port or 6379)
    with contextlib.suppress(OSError), socket.create_connection(place, CONNECT_S):
        return True
    return False


def check_answers(address: str) -> None:
    """Raise ClusterError within CONNECT_S + ASK_S where no Ray cluster answers at an address, or refuses."""
    if "://" in address:
        raise ClusterError(
            f"RAY_ADDRESS {address} is a client's address, behind which a run cannot start its actors; name "
            "the cluster's own, host:6379, or send the command there by `ray job submit`"
        )
    if not connects(address):
        raise ClusterError(
            f"RAY_ADDRESS {address} does not answer; start one with `ray start --head`, or unset RAY_ADDRESS"
        )
    if address == "local":
        return
    said = _ask(address)
    if said is None:
        if os.environ.get("RAY_ADDRESS"):
            named, advice = "RAY_ADDRESS", "name the address that `ray start --head` printed"
        else:  # it was found: `ray start` writes down what it started, and not that it has ended
            named, advice = "a cluster that was started at", "`ray stop` forgets it"
        raise ClusterError(f"{named} {address}: no Ray cluster answers there within {ANSWER_S} s; {advice}")
    if said.startswith("AuthenticationError"):
        raise ClusterError(
            f"Ray cluster {address} refuses this process's token; set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's"
        )
    if said:
        raise ClusterError(f"Ray cluster {address} cannot be used: {said}; check RAY_ADDRESS")


def _ask(address: str) -> str | None:
    """Return why a cluster cannot be used; empty: it can, None: it did not answer."""
    try:
        asked = subprocess.run(
            [sys.executable, "-P", "-c", _ASK, address],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=ASK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if asked.returncode == -signal.SIGALRM:
        return None
    said = [line.removeprefix(_SAYS) for line in asked.stdout.splitlines() if line.startswith(_SAYS)]
    return said[-1].strip() if said else ""
