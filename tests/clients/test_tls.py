"""Real clients over TLS and mTLS, the kubelet beside it, and certificates renewed under load."""

import json
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import Authority, Secret
from tests.clients.conftest import CHECK, Client, client, find
from tests.processes import Served, run, served, settings_file

SMOKE = "petsage.v1.SmokeTestService/SmokeTest"
OK, CONNECT = 0, 2


@dataclass
class Guarded:
    """A service over TLS, and the files of its clients."""

    service: Served
    folder: Path
    secret: Secret
    authority: Authority

    @property
    def address(self) -> str:
        return self.service.address

    @property
    def probes(self) -> str:
        return self.service.wait_for(r"probes are answered on (\S+),")[1]

    def curl(self, own: str = "") -> list[str]:
        """Make the flags of grpcurl and ghz for a client certificate, or none."""
        given = [f"-cacert={self.folder}/ca.pem"]
        if own:
            given += [f"-cert={self.folder}/{own}.pem", f"-key={self.folder}/{own}-key.pem"]
        return given

    def probe(self, own: str = "") -> list[str]:
        """Make those of our probe."""
        given = ["-tls", f"-tls-ca-cert={self.folder}/ca.pem"]
        if own:
            given += [f"-tls-client-cert={self.folder}/{own}.pem"]
            given += [f"-tls-client-key={self.folder}/{own}-key.pem"]
        return given


def guard(folder: Path, *, mutual: bool) -> Iterator[Guarded]:
    authority, clients = Authority(), Authority()
    authority.write(folder, "ca")
    secret = Secret(folder / "secret", authority.pair(), clients.cert)
    for name, pair in {
        "right": clients.pair("me"),
        "wrong": Authority().pair("me"),
        "expired": clients.pair("me", days=-1),
    }.items():
        pair.write(folder, name)
    lines = [f'{key} = "{path}"' for key, path in secret.settings(mutual=mutual).items()]
    config = settings_file(folder, *lines, 'probe_listen = ["127.0.0.1:0"]')
    with served("--config", str(config)) as service:
        service.wait_for("check disk is passing")
        service.wait_for("check log is passing")
        yield Guarded(service, folder, secret, authority)


class Watching:
    """A grpcurl that watches."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def status(self) -> str:
        """Wait for the next status."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if '"status"' in line:
                return str(json.loads("{" + line + "}")["status"])
        raise AssertionError("the watch has ended")


@pytest.fixture
def watch() -> Iterator[Callable[..., Watching]]:
    """Start grpcurls that watch; they end with the test."""
    path, processes = find("grpcurl"), []

    def start(*arguments: str) -> Watching:
        command = [path, *arguments, "grpc.health.v1.Health/Watch"]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return Watching(processes[-1])

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A service that wants a certificate of each client."""
    yield from guard(tmp_path_factory.mktemp("mutual"), mutual=True)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Guarded]:
    """A service that wants none."""
    yield from guard(tmp_path, mutual=False)


def test_grpcurl_and_our_probe_are_answered_over_tls(grpcurl: Client, tls: Guarded) -> None:
    ended = grpcurl(*tls.curl(), tls.address, CHECK)
    assert json.loads(ended.stdout) == {"status": "SERVING"}
    assert "petsage.v1.SmokeTestService" in grpcurl(*tls.curl(), tls.address, "list").stdout
    assert run("probe", f"-addr={tls.address}", *tls.probe()).returncode == OK


def test_grpcurl_and_our_probe_find_no_trust_in_another_authority(
    grpcurl: Client, tls: Guarded
) -> None:
    Authority().write(tls.folder, "ca")
    ended = grpcurl(*tls.curl(), tls.address, CHECK)
    assert "certificate signed by unknown authority" in ended.stderr
    assert run("probe", f"-addr={tls.address}", *tls.probe()).returncode == CONNECT


@pytest.mark.parametrize(
    ("own", "answered"), [("right", True), ("", False), ("wrong", False), ("expired", False)]
)
def test_grpcurl_and_our_probe_need_a_certificate_over_mtls(
    grpcurl: Client, mutual: Guarded, own: str, answered: bool
) -> None:
    for method in (CHECK, SMOKE):
        given = ("-connect-timeout=2", *mutual.curl(own), mutual.address, method)
        ended = grpcurl(*given)
        assert (ended.returncode == 0) is answered, ended.stderr
    ended = run("probe", f"-addr={mutual.address}", *mutual.probe(own))
    assert ended.returncode == (OK if answered else CONNECT), ended.stderr


def test_the_grpcurl_command_that_is_printed_can_be_copied(grpcurl: Client, tls: Guarded) -> None:
    printed = shlex.split(tls.service.wait_for(r"ask it: grpcurl (.+)")[1])
    assert json.loads(grpcurl(*printed).stdout) == {"status": "SERVING"}


@pytest.mark.parametrize("name", ["", "readiness", "liveness", "startup"])
def test_the_kubelet_asks_the_port_for_probes(kubelet: Client, mutual: Guarded, name: str) -> None:
    host, _, port = mutual.probes.rpartition(":")
    assert kubelet("-host", host, "-port", port, "-service", name).returncode == 0


def test_the_kubelet_can_not_ask_the_port_with_tls(kubelet: Client, mutual: Guarded) -> None:
    host, _, port = mutual.address.rpartition(":")
    assert kubelet("-host", host, "-port", port).returncode != 0


def test_grpcurl_is_told_that_the_port_for_probes_has_check_alone(
    grpcurl: Client, mutual: Guarded
) -> None:
    ended = grpcurl("-plaintext", mutual.probes, "list")
    assert "server does not support the reflection API" in ended.stderr
    protos = Path(__file__).parents[2] / "protos"
    own = [f"-import-path={protos}", "-proto=petsage/v1/smoke_test.proto"]
    ended = grpcurl("-plaintext", *own, mutual.probes, SMOKE)
    assert "Code: Unimplemented" in ended.stderr
    assert "answers grpc.health.v1.Health/Check alone (probe_listen)" in ended.stderr


def test_a_watch_goes_on_while_a_certificate_is_renewed_that_new_connections_see(
    grpcurl: Client, tls: Guarded, watch: Callable[..., Watching]
) -> None:
    watching = watch(*tls.curl(), "-d", '{"service": "readiness"}', tls.address)
    assert watching.status() == "SERVING"
    other = Authority()
    tls.secret.renew(other.pair())
    tls.service.wait_for("the files have changed, and are in use")
    assert "signed by unknown authority" in grpcurl(*tls.curl(), tls.address, CHECK).stderr
    other.write(tls.folder, "ca")
    assert json.loads(grpcurl(*tls.curl(), tls.address, CHECK).stdout) == {"status": "SERVING"}
    tls.service.process.terminate()  # it drains, which the watch tells
    assert watching.status() == "NOT_SERVING"


def test_no_call_of_ghz_fails_while_certificates_are_renewed(tls: Guarded) -> None:
    """Each run makes 20 connections, and 1,000 calls on them."""
    ghz, over = client("ghz"), threading.Event()

    def renew() -> None:
        while not over.wait(0.05):
            tls.secret.renew(tls.authority.pair())

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        for _ in range(3):
            ended = ghz(
                *(f"-{flag}" for flag in tls.curl()), "--call=grpc.health.v1.Health.Check",
                "--connections=20", "--concurrency=20", "--total=1000", "--format=json",
                "--connect-timeout=10s", "--timeout=10s", tls.address,
            )  # fmt: skip
            assert json.loads(ended.stdout)["statusCodeDistribution"] == {"OK": 1000}, ended.stderr
    finally:
        over.set()
        renewing.join()
    assert [line for line in tls.service.lines if " in use: " in line]
    assert not [line for line in tls.service.lines if " ERROR " in line]
