"""Puts together what answers on a server: the servicers, other services, and reflection."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from petsage_grpc.errors import PlaneError
from petsage_grpc.rpc._requests import Context, abort
from petsage_grpc.rpc.convert import HEALTH_SERVICE, SMOKE_TEST_SERVICE
from petsage_grpc.rpc.health import HealthServicer
from petsage_grpc.rpc.hops import HOPS
from petsage_grpc.rpc.services import Services
from petsage_grpc.rpc.smoke_test import SmokeTestServicer
from petsage_grpc.settings import Settings

__all__ = ["AioServer", "make_handlers", "make_probe_handlers", "mount_on"]

AioServer = grpc.aio.Server


def _nothing() -> None:
    """Take no note of a call."""


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a method by its path.

    grpc.aio waits anew for each registered method whenever a call comes in; one generic handler for
    all of them makes a call cheaper.

    Args:
        handlers: by path.
        for_hops: those that take a call of theirs when it comes from another service's check.
        otherwise: takes the calls of all other methods.
        came: called with each call.
    """

    def __init__(
        self,
        handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]",
        for_hops: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]",
        otherwise: "grpc.RpcMethodHandler[Any, Any] | None" = None,
        *,
        came: Callable[[], None] = _nothing,
    ) -> None:
        self._came = came
        self._handlers = handlers
        self._for_hops = for_hops
        self._otherwise = otherwise

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        self._came()
        method = handler_call_details.method
        if method in self._for_hops:
            for header in handler_call_details.invocation_metadata:
                if header[0] == HOPS:
                    return self._for_hops[method]
        return self._handlers.get(method, self._otherwise)


def make_handlers(
    health: HealthServicer,
    smoke_test: SmokeTestServicer | None = None,
    mounted: Sequence[Services] = (),
    *,
    told: Sequence[str] = (),
    settings: Settings,
    stopping: asyncio.Event,
    came: Callable[[], None] = _nothing,
) -> tuple[grpc.GenericRpcHandler, ...]:
    """Make what a grpc.aio server needs to serve these, reflection too where the settings want it.

    Args:
        health: answers grpc.health.v1.Health.
        smoke_test: answers petsage.v1.SmokeTestService.
        mounted: the services of others.
        told: further services of the same server, of which reflection tells.
        settings: what is wanted.
        stopping: ends the calls of reflection, which tools keep open for long.
        came: called with each call that is taken up.
    """
    handlers, names = health.handlers(), [HEALTH_SERVICE]
    if smoke_test is not None:
        handlers |= smoke_test.handlers()
        names.append(SMOKE_TEST_SERVICE)
    hops = health.hop_handlers()
    for services in mounted:
        handlers |= services.methods
        names += services.service_names
    if settings.reflection:
        from petsage_grpc.rpc.reflection import reflection_handlers  # noqa: PLC0415 -- optional

        handlers |= reflection_handlers(
            dict.fromkeys((*names, *told)), stopping, refusals=health.refusals
        )
    others = [handler for services in mounted for handler in services.handlers]
    return (_Methods(handlers, hops, came=came), *others)


def make_probe_handlers(
    health: HealthServicer, came: Callable[[], None] = _nothing
) -> tuple[grpc.GenericRpcHandler, ...]:
    """Make what a grpc.aio server needs to answer Check, and to say of all else that it does not.

    Args:
        health: answers it.
        came: called with each call that is taken up.
    """
    check = f"/{HEALTH_SERVICE}/Check"
    refuse: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
        _refuse_on_probe_port
    )
    handlers = {check: health.handlers()[check]}
    return (_Methods(handlers, health.hop_handlers(), refuse, came=came),)


async def _refuse_on_probe_port(_: object, context: Context) -> None:
    details = (
        f"this port is for probes and answers {HEALTH_SERVICE}/Check alone (probe_listen):"
        " ask the service's port with TLS (listen)"
    )
    await abort(context, "UNIMPLEMENTED", details)


def mount_on(
    server: AioServer,
    health: HealthServicer,
    smoke_test: SmokeTestServicer,
    others: Sequence[grpc.GenericRpcHandler],
) -> None:
    """Put both services and other handlers on a server of the application.

    What is registered by name goes before all handlers, and of one name the last: so ours are
    registered, and who comes after us with a health service is refused. It would be believed.

    Raises TypeError when it is no grpc.aio server.
    """
    if not isinstance(server, AioServer):
        told = f"{type(server).__module__}.{type(server).__qualname__}"
        mend = "an application without one uses HealthPlane"
        raise TypeError(f"the plane is mounted on a grpc.aio.Server, and not on a {told}; {mend}")
    server.add_generic_rpc_handlers(tuple(others))
    ours: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for path, handler in (health.handlers() | smoke_test.handlers()).items():
        _, service, method = path.split("/")
        ours.setdefault(service, {})[method] = handler
    ours[HEALTH_SERVICE]["Check"] = health.any_check_handler()
    register = server.add_registered_method_handlers
    for service, methods in ours.items():
        register(service, methods)

    def refuse_ours(service_name: str, method_handlers: Any) -> None:  # noqa: ANN401 -- as grpc's
        if service_name in ours:
            raise PlaneError(
                f"{service_name} is served by the plane on this server: leave the other one out"
            )
        register(service_name, method_handlers)

    server.add_registered_method_handlers = refuse_ours  # type: ignore[method-assign]
