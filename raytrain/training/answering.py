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
_CLIENT = "ray://"
_ASK = f"""
import signal
import sys
address = sys.argv[1]
try:
    if address.startswith({_CLIENT!r}):
        import grpc
        signal.alarm({ANSWER_S})  # it ends this process, whatever it waits in
        channel = grpc.insecure_channel(address.removeprefix({_CLIENT!r}))
        grpc.channel_ready_future(channel).result()
    else:
        from ray._private.services import canonicalize_bootstrap_address_or_die
        from ray._raylet import GcsClient
        signal.alarm({ANSWER_S})
        if ":" not in address:  # "auto"
            address = canonicalize_bootstrap_address_or_die(address)
        GcsClient(address=address).get_all_node_info()
except ImportError:  # moved by Ray: then it is asked without a limit, by Ray itself
    pass
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[0] if str(error) else "")
"""


def connects(address: str) -> bool:
    """Return whether something takes connections at host:port; of "auto" and the like that is not asked."""
    parsed = urlparse(address if "://" in address else f"{_CLIENT}{address}")
    if parsed.hostname is None or address in ("auto", "local"):
        return True
    place = (parsed.hostname, parsed.port or 6379)
    with contextlib.suppress(OSError), socket.create_connection(place, CONNECT_S):
        return True
    return False


def check_answers(address: str) -> None:
    """Raise ClusterError within CONNECT_S + ASK_S where no Ray cluster answers at an address, or refuses."""
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
    return None if asked.returncode == -signal.SIGALRM else asked.stdout.strip()
