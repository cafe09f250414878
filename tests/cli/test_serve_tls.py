"""The verb `serve` over TLS: what it prints can be copied, and what asks it says what to do."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority, Secret
from tests.packages import importable
from tests.plane.conftest import NAP_SERVICE, SERVICE, bring
from tests.processes import Served, run, served, settings_file

OK, USAGE, CONNECT, RPC, FAILING = 0, 1, 2, 3, 4


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def configured(folder: Path, secret: Secret, *lines: str, mutual: bool = False) -> str:
    given = [f'{key} = "{path}"' for key, path in secret.settings(mutual=mutual).items()]
    return str(settings_file(folder, *given, *lines))


@pytest.fixture(scope="module")
def guarded(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with mTLS and a port for probes, whose certificate is for a name."""
    folder = tmp_path_factory.mktemp("guarded")
    secret = Secret(folder / "a secret", authority.pair("*.example.com"), authority.cert)
    authority.write(folder, "ca")
    for name, pair in {
        "good": authority.pair("me"),
        "other": Authority().pair("me"),
        "expired": authority.pair("me", days=-1),
    }.items():
        pair.write(folder, name)
    config = configured(folder, secret, 'probe_listen = "127.0.0.1:0"', mutual=True)
    with served("--config", config) as service:
        service.wait_for("check disk is passing")
        service.wait_for("check log is passing")
        service.folder = folder  # type: ignore[attr-defined]
        yield service


def flags(service: Served, *, client: str = "", trust: str = "ca", dash: str = "-") -> list[str]:
    folder = service.folder  # type: ignore[attr-defined]
    given = ["-tls", "-tls-ca-cert", f"{folder}/{trust}.pem", "-tls-server-name", "a.example.com"]
    if client:
        given += ["-tls-client-cert", f"{folder}/{client}.pem"]
        given += ["-tls-client-key", f"{folder}/{client}-key.pem"]
    return [dash + flag[1:] if flag.startswith("-tls") else flag for flag in given]


@pytest.mark.parametrize("name", [("127.0.0.1",), ("localhost", "other"), ("*.example.com",)])
def test_the_commands_that_it_prints_can_be_copied(
    authority: Authority, name: tuple[str, ...], tmp_path: Path
) -> None:
    secret = Secret(tmp_path / "a secret", authority.pair(*name))
    with served("--config", configured(tmp_path, secret)) as service:
        service.wait_for("check disk is passing")
        service.wait_for("check log is passing")
        ours = shlex.split(service.wait_for(r"ask it: petsage-grpc (.+)")[1])
        assert run(*ours).returncode == OK
        probe = shlex.split(service.wait_for(r"ask it: grpc_health_probe (.+)")[1])
        assert run("probe", *probe).returncode == OK


def test_it_says_what_is_in_use_where_probes_are_answered_and_what_clients_need(
    guarded: Served,
) -> None:
    guarded.wait_for(r"TLS: /.+ is for \*\.example\.com and expires 20.+; clients need a ")
    guarded.wait_for(r"probes are answered on 127\.0\.0\.1:\d+, without TLS")
    guarded.wait_for(r"smoke .+ --tls-client-cert CERT.pem --tls-client-key KEY.pem")
    guarded.wait_for(r"grpcurl .+ -authority any\.example\.com -cert CERT.pem -key KEY.pem")


def test_no_command_that_it_prints_says_plaintext(guarded: Served) -> None:
    guarded.wait_for("ask it: grpc_health_probe")
    assert not [line for line in guarded.lines if "plaintext" in line]


def test_a_client_with_a_certificate_is_answered(guarded: Served) -> None:
    given = flags(guarded, client="good")
    assert run("probe", "-addr", guarded.address, *given).returncode == OK
    given = flags(guarded, client="good", dash="--")
    assert run("smoke", guarded.address, *given).returncode == OK
    assert run("wait", guarded.address, *given).returncode == OK


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ("", "if it demands a client certificate, add -tls-client-cert and -tls-client-key"),
        ("other", "it may not trust the client certificate"),
        ("expired", "it may not trust the client certificate"),
    ],
)
def test_a_client_without_a_certificate_that_is_trusted_is_told_what_to_do(
    guarded: Served, client: str, said: str
) -> None:
    ended = run("probe", "-addr", guarded.address, *flags(guarded, client=client))
    assert (ended.returncode, said in ended.stderr) == (CONNECT, True), ended.stderr
    for verb in ("smoke", "wait"):
        given = ["--timeout=1s"] if verb == "wait" else []
        given += flags(guarded, client=client, dash="--")
        ended = run(verb, guarded.address, *given)
        assert ended.returncode == CONNECT
        assert said.replace(" -tls", " --tls") in ended.stderr


def test_who_does_not_speak_tls_is_told_to(guarded: Served) -> None:
    ended = run("probe", "-addr", guarded.address)
    assert (ended.returncode, "the server speaks TLS; add -tls" in ended.stderr) == (CONNECT, True)
    ended = run("smoke", guarded.address)
    assert ended.returncode == CONNECT
    assert "the server speaks TLS; add --tls" in ended.stderr


def test_who_speaks_tls_to_the_port_for_probes_is_told_not_to(guarded: Served) -> None:
    probes = guarded.wait_for(r"probes are answered on (\S+),")[1]
    ended = run("probe", "-addr", probes, *flags(guarded, client="good"))
    assert ended.returncode == CONNECT
    assert "the server does not speak TLS; leave out -tls" in ended.stderr
    assert run("probe", "-addr", probes, "-service", "readiness").returncode == OK
    ended = run("smoke", probes)
    assert ended.returncode == RPC
    assert "answers grpc.health.v1.Health/Check alone (probe_listen)" in ended.stderr


def test_who_trusts_another_authority_is_told_what_to_name(guarded: Served) -> None:
    ended = run("probe", "-addr", guarded.address, *flags(guarded, client="good", trust="other"))
    assert ended.returncode == CONNECT
    assert "name its authority's file with -tls-ca-cert" in ended.stderr


def test_an_expired_certificate_of_the_server_is_warned_of_and_served(
    authority: Authority, tmp_path: Path
) -> None:
    secret = Secret(tmp_path / "old", authority.pair(days=-1))
    with served("--config", configured(tmp_path, secret)) as service:
        service.wait_for(r"WARNING petsage_grpc.tls: TLS: tls_cert has expired 20.+: renew it")
        ca = authority.write(tmp_path, "ca")
        ended = run("probe", "-addr", service.address, "-tls", "-tls-ca-cert", ca)
        assert ended.returncode == CONNECT
        assert "the server's certificate has expired; renew it" in ended.stderr


def test_the_features_speak_tls_with_the_same_certificate(
    authority: Authority, tmp_path: Path
) -> None:
    ca = authority.write(tmp_path, "ca")
    with importable(tmp_path / "site") as site:
        bring(site, SERVICE)
        secret = Secret(tmp_path / "secret", authority.pair())
        config = configured(tmp_path, secret)
        with served("--config", config, PYTHONPATH=str(site)) as service:
            address = service.wait_for(r"the features listen on (\S+)")[1]
            service.wait_for("check log is passing")
            service.wait_for("check disk is passing")
            given = ["-tls", "-tls-ca-cert", ca]
            ended = run("probe", "-addr", address, "-service", NAP_SERVICE, *given)
            assert ended.returncode in (OK, FAILING), ended.stderr
            assert "add -tls" in run("probe", "-addr", address).stderr
            other = Authority()
            secret.renew(other.pair())
            service.wait_for("the files have changed, and are in use")
            given[-1] = other.write(tmp_path, "other")
            assert "CONNECT" not in run("probe", "-addr", address, *given).stderr
            assert run("probe", "-addr", service.address, *given).returncode == OK
            assert run("probe", "-addr", address, *given).returncode == OK
