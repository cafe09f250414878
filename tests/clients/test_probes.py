"""The kubelet's own prober and grpc_health_probe against our service, and ours beside them."""

import contextlib
import socket
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from tests.clients.conftest import Client
from tests.processes import Served, run, served, settings_file

SERVING, NOT_SERVING, FAILED, UNCONNECTED, USAGE = 0, 4, 3, 2, 1


@pytest.fixture(scope="module")
def unwell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service of which a dependency is missing."""
    config = settings_file(
        tmp_path_factory.mktemp("unwell"), "[checks.disk]", 'kind = "disk"',
        'directory = "/no/such/directory"',
    )  # fmt: skip
    with served("--config", str(config)) as process:
        process.wait_for("check disk is failing")
        yield process


@contextlib.contextmanager
def silent_listener() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def server_without_health() -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


def kubelet_asks(kubelet: Client, address: str, name: str) -> int:
    host, _, port = address.rpartition(":")
    return kubelet("-host", host, "-port", port, "-service", name).returncode


@pytest.mark.parametrize("name", ["", "readiness", "liveness", "startup"])
def test_the_kubelet_and_our_probe_agree_that_it_is_well(
    kubelet: Client, service: Served, name: str
) -> None:
    assert kubelet_asks(kubelet, service.address, name) == 0
    assert run("probe", "-addr", service.address, "-service", name).returncode == SERVING


@pytest.mark.parametrize(
    ("name", "healthy", "code"),
    [
        ("", False, NOT_SERVING),
        ("readiness", False, NOT_SERVING),
        ("startup", False, NOT_SERVING),
        ("liveness", True, SERVING),
        ("nobody", False, FAILED),
    ],
)
def test_the_kubelet_and_our_probe_agree_when_a_dependency_is_missing(
    kubelet: Client, unwell: Served, name: str, healthy: bool, code: int
) -> None:
    assert (kubelet_asks(kubelet, unwell.address, name) == 0) is healthy
    assert run("probe", "-addr", unwell.address, "-service", name).returncode == code


def test_the_kubelet_and_our_probe_agree_on_what_is_no_health_server(kubelet: Client) -> None:
    with server_without_health() as address:
        assert kubelet_asks(kubelet, address, "") != 0
        assert run("probe", "-addr", address).returncode == FAILED
    with silent_listener() as address:
        assert kubelet_asks(kubelet, address, "") != 0
        assert run("probe", "-addr", address).returncode == UNCONNECTED
    assert kubelet_asks(kubelet, address, "") != 0
    assert run("probe", "-addr", address).returncode == UNCONNECTED


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-addr={well}"], SERVING),
        (["--addr", "{well}", "-v"], SERVING),
        (["-addr={well}", "-service", "liveness", "-rpc-timeout=1m30s"], SERVING),
        (["-addr={well}", "-gzip", "-user-agent=x", "-rpc-header=a: b"], SERVING),
        (["-addr={unwell}"], NOT_SERVING),
        (["-addr={well}", "-service=nobody"], FAILED),
        (["-addr={nothing}"], UNCONNECTED),
        (["-addr=127.0.0.1"], UNCONNECTED),
        (["-addr=127.0.0.1:99999"], UNCONNECTED),
        (["-addr={well}", "-tls"], UNCONNECTED),
        ([], USAGE),
        (["-adr={well}"], USAGE),
        (["-addr={well}", "-connect-timeout=0"], USAGE),
        (["-addr={well}", "-connect-timeout=5"], USAGE),
        (["-addr={well}", "-tls-ca-cert=x.pem"], USAGE),
    ],
)
def test_our_probe_ends_as_grpc_health_probe_does(
    grpc_health_probe: Client, service: Served, unwell: Served, arguments: list[str], code: int
) -> None:
    places = {"well": service.address, "unwell": unwell.address, "nothing": "127.0.0.1:1"}
    given = [argument.format(**places) for argument in arguments]
    theirs, ours = grpc_health_probe(*given), run("probe", *given)
    assert (theirs.returncode, ours.returncode) == (code, code)


def test_probes_of_a_unix_socket(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/it.sock"
    with served("--listen", address) as process:
        process.wait_for("check log is passing")
        process.wait_for("check disk is passing")
        assert run("probe", "-addr", address).returncode == SERVING
