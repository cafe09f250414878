"""The verb `probe` over TLS, and what it says when TLS fails."""

from typing import Any

import pytest

from petsage_grpc.cli import probe
from tests.cli.conftest import Certificates, Health, Outcome, Run, serving


@pytest.mark.parametrize(
    ("flags", "name", "mutual"),
    [
        pytest.param("-tls -tls-ca-cert={ca}", "127.0.0.1", False, id="trusted"),
        pytest.param("-tls=true -tls-no-verify", "else.example", False, id="not verified"),
        pytest.param("--tls --tls-ca-cert {ca} --tls-server-name else.example", "else.example",
                     False, id="other name"),
        pytest.param("-tls -tls-ca-cert={ca} -tls-client-cert={cert} -tls-client-key={key}",
                     "127.0.0.1", True, id="mutual"),
    ],
)  # fmt: skip
def test_a_server_with_tls_is_asked(
    certificates: Certificates, run: Run, flags: str, name: str, mutual: bool
) -> None:
    given = flags.format(**vars(certificates)).split()
    with serving(Health(), certificates.server(name, mutual=mutual)) as address:
        assert run("-addr", address, *given) == Outcome(0, ["status: SERVING"])


@pytest.mark.parametrize(
    ("flags", "server", "reason"),
    [
        pytest.param("", {}, "the server speaks TLS; add -tls", id="plaintext"),
        pytest.param("-tls -tls-ca-cert={ca}", {"days": -1},
                     "the server's certificate has expired; renew it", id="expired"),
        pytest.param("-tls", {}, "the server's certificate is not trusted (", id="not trusted"),
        pytest.param("-tls -tls-ca-cert={ca}", {"name": "else.example"},
                     'the server\'s certificate is not for "127.0.0.1"; name one', id="other name"),
        pytest.param("-tls -tls-ca-cert={ca}", {"mutual": True},
                     "the server closed the connection in TLS;"
                     " if it demands a client certificate, add -tls-client-cert and -tls-cl",
                     id="client certificate missing"),
    ],
)  # fmt: skip
def test_tls_that_fails_exits_2_and_says_why(
    certificates: Certificates, run: Run, flags: str, server: dict[str, Any], reason: str
) -> None:
    given = flags.format(**vars(certificates)).split()
    with serving(Health(), certificates.server(**server)) as address:
        outcome = run("-addr", address, *given)

    (line,) = outcome.lines
    assert outcome.code == probe.CONNECT
    assert line.startswith(f'timeout: failed to connect service "{address}" within 1s: {reason}')
