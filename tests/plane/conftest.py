"""A folder for packages with features, and a service that mounts what is there."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from petsage_grpc import HealthPlane
from petsage_grpc.plane.service import Service
from petsage_grpc.rpc import stubs as pb
from petsage_grpc.rpc.hops import HOPS
from petsage_grpc.settings_load import load_settings
from tests.packages import importable, write_package
from tests.plane.asking import Asking, make

Status = health_pb2.HealthCheckResponse
NAP_SERVICE = "petsage.naps.v1.NapService"

SERVICE = f"""
import grpc

async def nap(request, context):
    return b"zzz"

def put_service_in(feature, name="{NAP_SERVICE}", nap=nap):
    methods = {{"Nap": grpc.unary_unary_rpc_method_handler(nap)}}
    feature.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    feature.add_registered_method_handlers(name, methods)

def mount(feature):
    put_service_in(feature)
"""
"""A feature with a service, put in as generated code does it."""

FAST = "interval=0.02, edge_interval=0.02"
TWO_CHECKS = f"""
from petsage_grpc import CheckFailedError
broken = []

def mount(feature):
    feature.message = "Naps are taken."

    @feature.check("bed", {FAST})
    async def bed():
        if broken:
            raise CheckFailedError("a dog lies in it")

    @feature.check("quiet", {FAST}, gates=[])
    def quiet():
        return True
"""
"""A feature with a check that gates and one that does not."""


class App:
    """A service that runs, and its client.

    Args:
        service: the service.
        channel: to the plane.
        features: to the features, where they listen.
    """

    def __init__(
        self, service: Service, channel: grpc.aio.Channel, features: grpc.aio.Channel
    ) -> None:
        self.service = service
        self._channel = channel
        self._features = features
        self._health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        self._smoke = pb.SmokeTestServiceStub(channel)

    async def call(self, path: str, request: bytes = b"") -> bytes:
        """Call a method of a feature."""
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._features.unary_unary(path)
        return await method(request)

    async def code(self, path: str) -> grpc.StatusCode:
        try:
            await self.call(path)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def watch_features(self, name: str) -> Any:
        """Watch a name where the features listen."""
        stub = health_pb2_grpc.HealthStub(self._features)  # type: ignore[no-untyped-call]
        return stub.Watch(health_pb2.HealthCheckRequest(service=name))

    async def hop_features(self, asking: str) -> tuple[int, dict[str, str]]:
        """Ask as the check of another service does; return the status, and what trails it."""
        stub = health_pb2_grpc.HealthStub(self._features)  # type: ignore[no-untyped-call]
        call = stub.Check(health_pb2.HealthCheckRequest(), metadata=((HOPS, asking),))
        return (await call).status, dict(await call.trailing_metadata())

    async def becomes(self, status: int, name: str = "") -> None:
        """Wait until a name has the status."""
        watch = self._health.Watch(health_pb2.HealthCheckRequest(service=name))
        async for response in watch:
            if response.status == status:
                break
        watch.cancel()

    async def smoke(self, feature: str = "", *checks: str) -> pb.SmokeTestResponse:
        return await self._smoke.SmokeTest(pb.SmokeTestRequest(feature=feature, checks=checks))

    async def smoke_becomes(self, status: "pb.Status", feature: str) -> pb.SmokeTestResponse:
        """Wait until a feature has the status."""
        while (response := await self.smoke(feature)).status != status:
            pass
        return response

    async def services(self) -> list[str]:
        """Name the services of the plane as reflection tells them."""
        return await services_of(self._channel)

    async def features_services(self) -> list[str]:
        """Name the services of the features as reflection tells them."""
        return await services_of(self._features)


async def services_of(channel: grpc.aio.Channel) -> list[str]:
    """Name the services of a server as reflection tells them."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[no-untyped-call]
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    response = await call.read()
    call.cancel()
    return [service.name for service in response.list_services_response.service]


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[App]:
    """Run a service, by default without any check of the settings."""
    given: dict[str, Any] = {
        "listen": "127.0.0.1:0", "features_listen": "127.0.0.1:0", "checks": {},
    } | settings  # fmt: skip
    async with await Service.hosting(load_settings(environ={}, **given)) as service:
        features = (*service.features_addresses, *service.addresses)[0]
        async with (
            grpc.aio.insecure_channel(service.addresses[0]) as channel,
            grpc.aio.insecure_channel(features) as features_channel,
        ):
            yield App(service, channel, features_channel)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder where packages are found."""
    with importable(tmp_path / "site") as folder:
        yield folder


def bring(site: Path, code: str, feature: str = "naps", package: str = "petsage-naps") -> None:
    """Install a package whose one module is a feature."""
    module = f"{feature}_feature"
    write_package(site, package, {module: code}, features={feature: module})


@pytest.fixture
def plane() -> Iterator[HealthPlane]:
    """A plane that runs, without checks of its own."""
    with make() as plane:
        yield plane


@pytest.fixture
def asking(plane: HealthPlane) -> Iterator[Asking]:
    """What asks it."""
    with Asking(plane.address) as asking:
        yield asking
