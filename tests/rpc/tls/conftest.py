"""Certificates of a service, who asks it over TLS, and what it logs of that."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc.rpc import tls
from petsage_grpc.settings_load import load_settings
from tests.certificates import Authority, Pair, Secret

CHECK = "/grpc.health.v1.Health/Check"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def clients() -> Authority:
    """The one that signs for clients."""
    return Authority()


@pytest.fixture
def secret(authority: Authority, clients: Authority, tmp_path: Path) -> Secret:
    return Secret(tmp_path / "secret", authority.pair(), clients.cert)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the files looked at often."""
    monkeypatch.setattr(tls, "_LOOK_EVERY", 0.02)


class Lines(logging.Handler):
    """Hears what is logged of TLS."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._more = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._more:
            self.said.append(f"{record.levelname} {record.getMessage()}")
            self._more.notify_all()

    def wait(self, part: str) -> str:
        """Wait for a line with this part."""

        def find() -> str | None:
            return next((line for line in self.said if part in line), None)

        with self._more:
            assert self._more.wait_for(find, 20), f"no line has {part!r}: {self.said}"
            return find() or ""


@pytest.fixture
def lines() -> Iterator[Lines]:
    logger, heard = logging.getLogger("petsage_grpc.tls"), Lines()
    logger.addHandler(heard)
    level = logger.level
    logger.setLevel("INFO")
    yield heard
    logger.setLevel(level)
    logger.removeHandler(heard)


def settings(secret: Secret, *, mutual: bool = False, **given: Any) -> Any:
    given = {"listen": "127.0.0.1:0", "checks": {}} | secret.settings(mutual=mutual) | given
    return load_settings(environ={}, **given)


def credentials(authority: Authority, pair: Pair | None = None) -> grpc.ChannelCredentials:
    own = {} if pair is None else {"private_key": pair.key, "certificate_chain": pair.cert}
    return grpc.ssl_channel_credentials(authority.cert, **own)


async def ask(address: str, given: grpc.ChannelCredentials) -> int:
    """Ask once, on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, given, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        return response.status  # type: ignore[no-any-return]


async def refusal(address: str, given: grpc.ChannelCredentials) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(address, given)
    return caught.value.code()
