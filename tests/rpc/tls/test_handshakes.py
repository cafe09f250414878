"""TLS of the ports: who is let in, and what new connections see while others go on."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc import HealthPlane
from petsage_grpc.plane.service import Service
from tests.certificates import Authority, Secret, der, shown
from tests.rpc.conftest import SERVING, read_status
from tests.rpc.tls.conftest import CHECK, Lines, ask, credentials, refusal, settings


async def test_an_answer_comes_over_tls_and_not_without_it(
    secret: Secret, authority: Authority
) -> None:
    async with Service(settings(secret)) as service:
        (address,) = service.addresses
        assert await ask(address, credentials(authority)) == SERVING
        assert await refusal(address, credentials(Authority())) is grpc.StatusCode.UNAVAILABLE
        async with grpc.aio.insecure_channel(address) as channel:
            call: Any = channel.unary_unary(CHECK)
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"", timeout=10)


async def test_nothing_older_than_tls_1_2_is_spoken(secret: Secret) -> None:
    versions = ssl.TLSVersion
    async with Service(settings(secret)) as service:
        (address,) = service.addresses
        for version in (versions.TLSv1_2, versions.TLSv1_3):
            assert await asyncio.to_thread(
                shown, address, minimum_version=version, maximum_version=version
            )
        for number in ("-tls1", "-tls1_1"):
            old = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", address, number, "-cipher", "ALL:@SECLEVEL=0",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, _ = await old.communicate()
            assert b"Cipher is (NONE)" in out
            assert old.returncode == 1


async def test_an_old_version_is_what_is_refused_and_not_the_tool(
    secret: Secret, tmp_path: Path
) -> None:
    """The same tool gets through to a server that allows TLS 1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.deprecated_call():
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(*secret.settings().values())
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    async with server:
        host, port = server.sockets[0].getsockname()
        old = await asyncio.create_subprocess_exec(
            "openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_1", "-cipher",
            "ALL:@SECLEVEL=0", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await old.communicate()
    assert b"Protocol  : TLSv1.1" in out


async def test_with_mtls_who_has_no_certificate_of_the_authority_is_refused(
    secret: Secret, authority: Authority, clients: Authority
) -> None:
    async with Service(settings(secret, mutual=True)) as service:
        (address,) = service.addresses
        assert await ask(address, credentials(authority, clients.pair("me"))) == SERVING
        for own in (None, Authority().pair("me"), clients.pair("me", days=-1)):
            assert (
                await refusal(address, credentials(authority, own)) is grpc.StatusCode.UNAVAILABLE
            )


async def test_a_unix_socket_speaks_tls_too(
    secret: Secret, authority: Authority, tmp_path: Path
) -> None:
    async with Service(settings(secret, listen=f"unix:{tmp_path}/it.sock")) as service:
        options = [("grpc.default_authority", "localhost")]
        given = credentials(authority)
        async with grpc.aio.secure_channel(service.addresses[0], given, options) as channel:
            call: Any = channel.unary_unary(CHECK)
            assert await call(b"", timeout=10)


async def test_a_renewed_certificate_is_shown_to_new_connections_and_ends_no_watch(
    secret: Secret, authority: Authority, lines: Lines, quick: None
) -> None:
    renewed = authority.pair(days=99)
    async with (
        Service(settings(secret, listen=["127.0.0.1:0", "[::1]:0"])) as service,
        grpc.aio.secure_channel(service.addresses[0], credentials(authority)) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="orders"))
        await read_status(watch)
        secret.renew(renewed)
        await asyncio.to_thread(lines.wait, "the files have changed, and are in use")
        for address in service.addresses:
            assert await asyncio.to_thread(shown, address) == der(renewed)
        service.plane.say("orders", serving=True, reason="", ttl=None)
        assert await read_status(watch) == SERVING
        watch.cancel()


async def test_renewed_authorities_of_clients_hold_for_new_connections(
    secret: Secret, authority: Authority, clients: Authority, lines: Lines, quick: None
) -> None:
    server, others = authority.pair(), Authority()
    async with Service(settings(secret, mutual=True)) as service:
        (address,) = service.addresses
        ours, theirs = clients.pair("me"), others.pair("me")
        assert await ask(address, credentials(authority, ours)) == SERVING
        secret.renew(server, clients.cert + others.cert)
        await asyncio.to_thread(lines.wait, "are in use")
        assert await ask(address, credentials(authority, ours)) == SERVING
        assert await ask(address, credentials(authority, theirs)) == SERVING
        lines.said.clear()
        secret.renew(server, others.cert)
        await asyncio.to_thread(lines.wait, "are in use")
        assert await refusal(address, credentials(authority, ours)) is grpc.StatusCode.UNAVAILABLE
        assert await ask(address, credentials(authority, theirs)) == SERVING


async def test_no_call_fails_while_certificates_are_renewed(
    secret: Secret, authority: Authority, lines: Lines, quick: None
) -> None:
    given, answered = credentials(authority), asyncio.Queue[int]()

    async def asking(address: str) -> None:
        while True:
            answered.put_nowait(await ask(address, given))

    async with Service(settings(secret)) as service, asyncio.TaskGroup() as group:
        asked = [group.create_task(asking(service.addresses[0])) for _ in range(4)]
        for days in range(40, 50):
            lines.said.clear()
            secret.renew(authority.pair(days=days))
            await asyncio.to_thread(lines.wait, "are in use")
            for _ in range(2 * len(asked)):
                assert await answered.get() == SERVING
        for one in asked:
            one.cancel()


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_an_embedded_plane_speaks_tls_and_renews_its_certificate(
    secret: Secret, authority: Authority, isolation: Any, lines: Lines
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        probes = f"127.0.0.1:{free.getsockname()[1]}"
    given: dict[str, Any] = {"listen": "127.0.0.1:0", "probe_listen": probes, "checks": {}}
    with HealthPlane.from_settings(isolation=isolation, **given, **secret.settings()) as plane:
        assert asyncio.run(ask(plane.address, credentials(authority))) == SERVING
        renewed = authority.pair()
        secret.renew(renewed)
        lines.wait("the files have changed, and are in use")
        assert shown(plane.address) == der(renewed)
        with grpc.insecure_channel(probes) as channel:
            call: Any = channel.unary_unary(CHECK)
            assert call(b"", timeout=10)
