"""Puts the servicers on one grpc.aio server with its limits, on ports that nobody shares."""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from petsage_grpc.errors import BindError, PlaneError
from petsage_grpc.rpc.convert import HEALTH_SERVICE, SMOKE_TEST_SERVICE
from petsage_grpc.rpc.health import HealthServicer
from petsage_grpc.rpc.hops import HOPS
from petsage_grpc.rpc.services import Services
from petsage_grpc.rpc.smoke_test import SmokeTestServicer
from petsage_grpc.settings_listen import parse_listen

__all__ = ["AioServer", "Server", "make_handlers", "mount_on"]

AioServer = grpc.aio.Server

_PENDING: Final = 100_000
_KEEPALIVE_TIME_MS: Final = 60_000
_KEEPALIVE_TIMEOUT_MS: Final = 20_000
_CONNECT_TIMEOUT: Final = 1.0
_LONGEST_UNIX_PATH: Final = 107
_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104 -- to know them, not to listen there


class _Methods(grpc.GenericRpcHandler):
    """Finds the handler of a method by its path.

    grpc.aio waits anew for each registered method whenever a call comes in; one generic handler for
    all of them makes a call cheaper.

    Args:
        handlers: by path.
        for_hops: those that take a call of theirs when it comes from another service's check.
    """

    def __init__(
        self,
        handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]",
        for_hops: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]",
    ) -> None:
        self._handlers = handlers
        self._for_hops = for_hops

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        method = handler_call_details.method
        if method in self._for_hops:
            for header in handler_call_details.invocation_metadata:
                if header[0] == HOPS:
                    return self._for_hops[method]
        return self._handlers.get(method)


def make_handlers(
    health: HealthServicer,
    smoke_test: SmokeTestServicer | None = None,
    mounted: Sequence[Services] = (),
    *,
    told: Sequence[str] = (),
    reflection: bool,
    stopping: asyncio.Event,
) -> tuple[grpc.GenericRpcHandler, ...]:
    """Make what a grpc.aio server needs to serve these, reflection too where it is wanted.

    Args:
        health: answers grpc.health.v1.Health.
        smoke_test: answers petsage.v1.SmokeTestService.
        mounted: the services of others.
        told: further services of the same server, of which reflection tells.
        reflection: whether it says which services there are.
        stopping: ends the calls of reflection, which tools keep open for long.
    """
    handlers, names = health.handlers(), [HEALTH_SERVICE]
    if smoke_test is not None:
        handlers |= smoke_test.handlers()
        names.append(SMOKE_TEST_SERVICE)
    for services in mounted:
        handlers |= services.methods
        names += services.service_names
    if reflection:
        from petsage_grpc.rpc.reflection import reflection_handlers  # noqa: PLC0415 -- optional

        handlers |= reflection_handlers(dict.fromkeys((*names, *told)), stopping)
    others = [handler for services in mounted for handler in services.handlers]
    return (_Methods(handlers, health.hop_handlers()), *others)


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


class Server:
    """A grpc.aio server with its limits, on the running event loop.

    Args:
        health: answers grpc.health.v1.Health.
        smoke_test: answers petsage.v1.SmokeTestService.
        mounted: the services of others.
        reflection: whether it says which services there are.
        max_message_size: bytes in a request.
    """

    def __init__(
        self,
        health: HealthServicer,
        smoke_test: SmokeTestServicer | None = None,
        mounted: Sequence[Services] = (),
        *,
        reflection: bool,
        max_message_size: int,
    ) -> None:
        self.addresses: tuple[str, ...] = ()
        """Where it listens, with the port that was bound."""
        self._stopping = asyncio.Event()
        self._starting = asyncio.Lock()
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_message_size),
                # Without these, calls beyond a thousand that arrive at once are cancelled.
                ("grpc.server.max_pending_requests", _PENDING),
                ("grpc.server.max_pending_requests_hard_limit", _PENDING),
                # A peer that is gone without a word is noticed, and its watchers with it.
                ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
                ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
            ]
        )
        self._server.add_generic_rpc_handlers(
            make_handlers(
                health, smoke_test, mounted, reflection=reflection, stopping=self._stopping
            )
        )

    def bind(self, listen: Iterable[str], setting: str) -> None:
        """Take every address; it answers there once it is started.

        Args:
            listen: the addresses.
            setting: where others could be chosen.

        Raises BindError when one can not be had; nothing answers then.
        """
        # All are looked at before one is bound: grpc can not give back a port that it has bound.
        found = [(address, _find(address, setting)) for address in listen]
        self.addresses = tuple(
            bound for address, places in found for bound in self._bind(address, places)
        )

    async def start(self) -> None:
        """Answer from now on."""
        async with self._starting:
            await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """Take no new calls and wait for those under way, at most `grace` seconds."""
        self._stopping.set()
        async with self._starting:  # or a stop in the midst of a start would crash the interpreter
            pass
        await self._server.stop(grace)

    def _bind(self, address: str, places: list[str]) -> list[str]:
        host, port = parse_listen(address)
        if port < 0:
            self._add_port(address, f"unix:{host}")
            return [address]
        bound = []
        for place in places:
            # The second address of a name with port 0 gets the port of the first.
            port = self._add_port(address, f"{place}:{port}")
            bound.append(f"{place}:{port}")
        return bound

    def _add_port(self, address: str, target: str) -> int:
        try:
            return self._server.add_insecure_port(target)
        except RuntimeError:
            raise BindError(
                f"can not listen on {address}: it is taken, perhaps by another address in listen"
            ) from None


def _find(address: str, setting: str) -> list[str]:
    """Find what is to be bound for an address, and make sure that nobody has it.

    Raises BindError.
    """
    host, port = parse_listen(address)
    if port < 0:
        _free_unix_socket(address, Path(host))
        return [host]
    return _resolve(address, host, port, setting)


def _resolve(address: str, host: str, port: int, setting: str) -> list[str]:
    """Find the numeric addresses of a host on which the port is free, IPv6 ones in brackets.

    grpc would be content when one of a name's addresses is free; a client could then reach
    somebody else at the other one.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "no valid name"
        raise BindError(f"can not listen on {address}: {host}: {reason}") from None
    free, absent = [], None
    wildcard = host in _WILDCARDS
    if wildcard:  # grpc listens on both families then
        found.append((socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::", port, 0, 0)))
    for family, _, _, _, sockaddr in dict.fromkeys(found):
        try:
            _try_bind(family, sockaddr)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                why = _why(error, port, setting)
                raise BindError(f"can not listen on {address}: {why}") from None
            absent = error
            continue
        numeric = str(sockaddr[0])
        free.append(f"[{numeric}]" if family == socket.AF_INET6 else numeric)
    if absent is not None and not free:
        raise BindError(f"can not listen on {address}: {_why(absent, port, setting)}")
    return free[:1] if wildcard else free


def _try_bind(family: int, sockaddr: tuple[object, ...]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            only = sockaddr[0] not in _WILDCARDS
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        probe.bind(sockaddr)


def _why(error: OSError, port: int, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken: stop what listens there, or choose another with {setting}"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges: choose one above 1023 with {setting}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no such address: choose one of its own with {setting}"
    return str(error.strerror)


def _free_unix_socket(address: str, path: Path) -> None:
    """Remove the socket that a dead server left; grpc would take that of a living one as well."""
    if len(os.fsencode(path)) > _LONGEST_UNIX_PATH:
        raise BindError(f"can not listen on {address}: longer than {_LONGEST_UNIX_PATH} bytes")
    if not path.parent.is_dir():
        raise BindError(f"can not listen on {address}: there is no directory {path.parent}")
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise BindError(f"can not listen on {address}: a file that is no socket stands there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_CONNECT_TIMEOUT)  # a server that accepts nobody is one too
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except (TimeoutError, BlockingIOError):
            raise BindError(f"can not listen on {address}: a server that is stuck has it") from None
        except OSError as error:
            raise BindError(f"can not listen on {address}: {error.strerror}") from None
        else:
            raise BindError(f"can not listen on {address}: a server listens there: stop it first")
