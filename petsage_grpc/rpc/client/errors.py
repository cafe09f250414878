"""What the client reports, as data, so that each verb words it and picks its exit code itself."""

from typing import Final

__all__ = [
    "AddressError", "ClientError", "ConnectError", "MetadataError", "RpcError", "TlsOptionError",
]  # fmt: skip

_NAMES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


class ClientError(Exception):
    """Anything that keeps the client from an answer."""


class AddressError(ClientError, ValueError):
    """The text is no address of a server.

    Attributes:
        address: the text.
        reason: what is wrong with it, and the mend.
    """

    def __init__(self, address: str, reason: str) -> None:
        shown = f"***@{address.rpartition('@')[2]}" if "@" in address else address
        super().__init__(f'"{shown}" is no address: {reason}')
        self.address = address
        self.reason = reason


class TlsOptionError(ClientError, ValueError):
    """A file or a name given for TLS can not be used.

    Attributes:
        option: the option that it was given by, without dashes: ``"tls-ca-cert"``.
        value: the path or the name.
        reason: what is wrong with it.
    """

    def __init__(self, option: str, value: str, reason: str) -> None:
        super().__init__(f'-{option} "{value}": {reason}')
        self.option = option
        self.value = value
        self.reason = reason


class MetadataError(ClientError, ValueError):
    """A header can not be sent with an RPC; the message never has its value, which may be secret.

    Attributes:
        header: its name.
        reason: what is wrong with it, and the mend.
    """

    def __init__(self, header: str, reason: str) -> None:
        super().__init__(f'header "{header}": {reason}')
        self.header = header
        self.reason = reason


class ConnectError(ClientError):
    """No gRPC connection came about.

    Attributes:
        address: the address as it was given.
        reason: why, and the mend where one is known.
        timed_out: whether the time was over before the reason was final.
    """

    def __init__(self, address: str, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(f'cannot connect to "{address}": {reason}')
        self.address = address
        self.reason = reason
        self.timed_out = timed_out


class RpcError(ClientError):
    """The RPC ended with another status than OK.

    Attributes:
        code: the number of the gRPC status.
        name: its name, such as ``"NOT_FOUND"``.
        details: what the server said, or what the client saw.
    """

    def __init__(self, code: int, details: str) -> None:
        name = _NAMES[code] if 0 <= code < len(_NAMES) else f"CODE_{code}"
        super().__init__(f"{name}: {details}" if details else name)
        self.code = code
        self.name = name
        self.details = details
