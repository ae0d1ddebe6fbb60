"""Whether a Ray cluster answers at an address: asked by a process of its own, whose time is limited.

Ray itself waits for minutes and writes lines of its own meanwhile; a call of it cannot be ended from outside.
"""

import contextlib
import socket
import subprocess
import sys
from urllib.parse import urlparse

from raytrain.errors import ClusterError

CONNECT_S, ASK_S = 3.0, 12.0
_CLIENT = "ray://"
_ASK = f"""
import sys
address = sys.argv[1]
try:
    if address.startswith({_CLIENT!r}):
        import grpc
        channel = grpc.insecure_channel(address.removeprefix({_CLIENT!r}))
        grpc.channel_ready_future(channel).result()
    else:
        import ray
        from ray._raylet import GcsClient
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
    if ":" not in address:  # "auto" and the like, which Ray itself looks up
        return
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
        raise ClusterError(
            f"RAY_ADDRESS {address} takes connections, but no Ray cluster answers there within {ASK_S:g} s; "
            "name the address that `ray start --head` printed"
        ) from None
    if asked.stdout.startswith("AuthenticationError"):
        raise ClusterError(
            f"Ray cluster {address} refuses this process's token; set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the cluster's"
        )
    if asked.stdout:
        raise ClusterError(f"Ray cluster {address} cannot be used: {asked.stdout.strip()}; check RAY_ADDRESS")
