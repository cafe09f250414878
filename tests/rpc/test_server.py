"""Where the server listens, and what it says when it can not."""

import contextlib
import re
import socket
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from petsage_grpc.errors import BindError
from petsage_grpc.plane.service import Service
from petsage_grpc.settings import Settings
from petsage_grpc.settings_load import load_settings
from tests.rpc.conftest import SERVING, Serve


def settings_for(*listen: str) -> Settings:
    return load_settings(environ={}, listen=list(listen), checks={})


async def answers(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        return response.status == SERVING  # type: ignore[no-any-return]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "localhost:0", "0.0.0.0:0", "[::]:0"])
async def test_it_listens_and_says_on_which_port(listen: str) -> None:
    async with Service(settings_for(listen)) as service:
        assert service.addresses
        for address in service.addresses:
            assert not address.endswith(":0")
            assert await answers(
                re.sub(r"0\.0\.0\.0", "127.0.0.1", address).replace("[::]", "[::1]")
            )


async def test_a_name_with_several_addresses_gets_one_port_on_all_of_them() -> None:
    async with Service(settings_for("localhost:0")) as service:
        assert len({address.rpartition(":")[2] for address in service.addresses}) == 1


async def test_it_listens_on_several_addresses(tmp_path: Path) -> None:
    listen = ("127.0.0.1:0", "[::1]:0", f"unix:{tmp_path}/it.sock")
    async with Service(settings_for(*listen)) as service:
        assert len(service.addresses) == 3
        for address in service.addresses:
            assert await answers(address)


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    async with Service(settings_for("127.0.0.1:0")) as service:
        (address,) = service.addresses
        port = address.rpartition(":")[2]
        with pytest.raises(BindError) as caught:
            await Service(settings_for(address)).start()
        assert str(caught.value) == (
            f"can not listen on {address}: port {port} is taken:"
            " stop what listens there, or choose another with --listen"
        )
        assert await answers(address)


async def test_a_name_of_which_one_address_is_taken_is_not_served_by_halves() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BindError, match=f"port {port} is taken"):
            await Service(settings_for(f"localhost:{port}")).start()


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "[::]"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_port_that_one_family_has_taken_is_not_had_by_a_wildcard(
    wildcard: str, family: socket.AddressFamily
) -> None:
    with socket.socket(family) as other:
        other.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BindError, match=f"port {port} is taken"):
            await Service(settings_for(f"{wildcard}:{port}")).start()


async def test_an_address_that_another_one_covers_is_an_error_that_says_so() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = Service(settings_for(f"127.0.0.1:{port}", f"0.0.0.0:{port}"))
    with pytest.raises(BindError, match="perhaps by another address in listen"):
        await service.start()
    await service.stop()


async def test_nothing_listens_when_one_of_several_addresses_is_taken() -> None:
    with socket.socket() as other, socket.socket() as probe:
        for each in (other, probe):
            each.bind(("127.0.0.1", 0))
        other.listen()
        free = probe.getsockname()[1]
        probe.close()
        service = Service(settings_for(f"127.0.0.1:{free}", f"127.0.0.1:{other.getsockname()[1]}"))
        with pytest.raises(BindError):
            await service.start()
        await service.stop()
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", free)) != 0


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        ("198.51.100.7:50051", "this machine has no such address"),
        ("no-such-host.invalid:50051", "no-such-host.invalid: "),
        ("unix:/no-such-directory/it.sock", "there is no directory /no-such-directory"),
        ("unix:/tmp/" + "a" * 110, "longer than 107 bytes"),
    ],
)
async def test_an_address_that_can_not_be_had_is_an_error_that_says_why(
    listen: str, message: str
) -> None:
    with pytest.raises(BindError, match=re.escape(f"can not listen on {listen}: ")) as caught:
        await Service(settings_for(listen)).start()
    assert message in str(caught.value)


async def test_the_socket_of_a_living_server_is_not_taken_over(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/it.sock"
    async with Service(settings_for(address)):
        with pytest.raises(BindError, match="a server listens there"):
            await Service(settings_for(address)).start()
        assert await answers(address)


async def test_the_socket_of_a_server_that_is_stuck_is_not_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "it.sock")
    with socket.socket(socket.AF_UNIX) as stuck, contextlib.ExitStack() as stack:
        stuck.bind(path)
        stuck.listen(0)
        while True:  # until its backlog is full
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(path) != 0:
                break
        with pytest.raises(BindError, match="a server that is stuck has it"):
            await Service(settings_for(f"unix:{path}")).start()


async def test_the_socket_of_a_dead_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "it.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with Service(settings_for(f"unix:{path}")):
        assert await answers(f"unix:{path}")


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(BindError, match="a file that is no socket stands there"):
        await Service(settings_for(f"unix:{path}")).start()
    assert path.read_text() == "data"


async def test_reflection_can_be_turned_off(serve: Serve) -> None:
    backend = await serve(reflection=False)
    call = backend.call("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", b"")
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
