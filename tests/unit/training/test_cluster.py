import platform
import socket
from pathlib import Path
from typing import Any

import pytest

from raytrain.config import RunConfig, from_mapping
from raytrain.errors import ClusterError
from raytrain.training import answering
from raytrain.training.cluster import connect
from tests.conftest import small_values

pytestmark = pytest.mark.usefixtures("own_environment")


def config_of(**changes: Any) -> RunConfig:
    return from_mapping(small_values(training__executor="ray", **changes))


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_clients_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(
        ClusterError, match=r"^RAY_ADDRESS ray://head:10001 is a client's address.*ray job submit"
    ):
        connect(config_of()).__enter__()


def test_an_address_that_does_not_answer_is_refused_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    address = f"127.0.0.1:{unused_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    advice = "start one with `ray start --head`, or unset RAY_ADDRESS"
    with pytest.raises(ClusterError, match=f"^RAY_ADDRESS {address} does not answer; {advice}$"):
        connect(config_of()).__enter__()
    assert not ray.is_initialized()


def test_an_address_that_swallows_everything_is_waited_for_5_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []

    def never(address: tuple[str, int], timeout: float) -> socket.socket:
        waited.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", never)
    monkeypatch.setenv("RAY_ADDRESS", "10.255.255.1:6379")
    with pytest.raises(ClusterError, match=r"^RAY_ADDRESS 10\.255\.255\.1:6379 does not answer"):
        connect(config_of()).__enter__()
    assert 0 < sum(waited) < 5


def test_a_port_that_takes_connections_and_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr(answering, "ASK_S", 1.0)
        with pytest.raises(ClusterError, match=f"^RAY_ADDRESS {address}: no Ray cluster answers there"):
            connect(config_of()).__enter__()


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "AuthenticationError RPC error: InvalidAuthToken",
            "refuses this process's token; set RAY_AUTH",
        ),
        ("RpcError unknown service", "cannot be used: RpcError unknown service; check RAY_ADDRESS"),
    ],
)
def test_what_the_cluster_says_is_one_line(monkeypatch: pytest.MonkeyPatch, said: str, line: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{head.getsockname()[1]}")
        monkeypatch.setattr(answering, "_ASK", f"print('hello'); print({answering._SAYS + said!r})")
        with pytest.raises(ClusterError, match=rf"^Ray cluster 127\.0\.0\.1:\d+ {line}"):
            connect(config_of()).__enter__()


def test_what_auto_finds_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    said = answering._SAYS + "ConnectionError Could not find any"
    monkeypatch.setattr(answering, "_ASK", f"print({said!r})")
    with pytest.raises(ClusterError, match=r"^Ray cluster auto cannot be used: ConnectionError Could not"):
        connect(config_of()).__enter__()


def test_a_cluster_that_was_started_and_answers_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
        monkeypatch.setattr(answering, "ASK_S", 0.5)
        with pytest.raises(ClusterError, match=rf"^a cluster that was started at {address}: .*; `ray stop` "):
            connect(config_of()).__enter__()


def test_an_address_without_a_number_for_its_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "node:head")
    with pytest.raises(ClusterError, match=r"^Ray cluster node:head cannot be used: .*; check RAY_ADDRESS"):
        connect(config_of()).__enter__()


def test_another_ray_version_is_refused_with_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray._private.utils import check_version_info

    def init(**options: Any) -> None:
        check_version_info({"ray_version": "2.59.1", "python_version": "3.12.4"}, "node 10.0.0.2")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr("raytrain.training.cluster.check_answers", lambda address: None)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    here = f"Ray {ray.__version__} on Python {platform.python_version()}"
    with pytest.raises(ClusterError) as caught:
        connect(config_of()).__enter__()
    assert str(caught.value) == (
        f"Ray cluster head:6379 runs Ray 2.59.1 on Python 3.12.4, this process {here}; install the same on "
        "both sides"
    )
    assert caught.value.exit_code == 5


def test_a_machine_too_busy_to_start_ray_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(**options: Any) -> None:
        raise Exception("The current node timed out during startup. This could happen because\nof much.")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr("raytrain.training.cluster._running_cluster", lambda: "")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(
        ClusterError,
        match=r"^Ray does not start in this process: The current node timed out during startup\..*; run it "
        r"again when the machine is less busy, or with --executor inline$",
    ):
        connect(config_of()).__enter__()
