"""Takes in the services of others: what generated code puts on a server is kept until it is up."""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import grpc
import grpc.aio

__all__ = ["Services"]


class Services(grpc.aio.Server):
    """What can be served, as ``add_…Servicer_to_server(servicer, services)`` puts it in.

    It is a server as far as generated code needs one; the server that serves it has the ports.
    """

    def __init__(self) -> None:
        self.methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        """The methods whose names are known, by their paths."""
        self.handlers: list[grpc.GenericRpcHandler] = []
        """What finds the others."""
        self.service_names: tuple[str, ...] = ()
        """The services, as far as they have names."""
        self._taken_in: set[tuple[str, str]] = set()
        self._sealed = False

    def seal(self) -> None:
        """Take in nothing more."""
        self._sealed = True

    def require_open(self) -> None:
        """Raise RuntimeError when nothing more is taken in."""
        if self._sealed:
            raise RuntimeError("it is too late: put it in before mount() returns")

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """Take in handlers; those of a service have its name."""
        self.require_open()
        for handler in generic_rpc_handlers:
            if isinstance(handler, grpc.ServiceRpcHandler):
                self._name("handlers", handler.service_name())
            self.handlers.append(handler)

    def add_registered_method_handlers(
        self,
        service_name: str,
        method_handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]",
    ) -> None:
        """Take in a service; generated code hands each over in both ways."""
        self.require_open()
        self._name("methods", service_name)
        for method, handler in method_handlers.items():
            self.methods[f"/{service_name}/{method}"] = handler

    def _name(self, way: str, service: str) -> None:
        if (way, service) in self._taken_in:
            raise ValueError(f"{service} is put in twice")
        self._taken_in.add((way, service))
        self.service_names = tuple(dict.fromkeys((*self.service_names, service)))

    def add_insecure_port(self, address: str) -> int:
        """Refuse: the setting `features_listen` says where it is served."""
        _refuse(f"listen on {address}", "the setting features_listen says where")

    def add_secure_port(self, address: str, _: grpc.ServerCredentials) -> int:
        """Refuse: the setting `features_listen` says where it is served."""
        _refuse(f"listen on {address}", "the setting features_listen says where")

    async def start(self) -> None:
        """Refuse: it is started with the service."""
        _refuse("be started")

    async def stop(self, _: float | None) -> None:
        """Refuse: it is stopped with the service."""
        _refuse("be stopped")

    async def wait_for_termination(self, _: float | None = None) -> bool:
        """Refuse: it ends with the service."""
        _refuse("be waited for")


def _refuse(what: str, mend: str = "the service does that") -> NoReturn:
    raise RuntimeError(f"what is mounted can not {what} by itself: {mend}")
