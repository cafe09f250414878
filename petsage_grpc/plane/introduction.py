"""Says how a service can be asked: commands to copy, right for its address and its TLS."""

import shlex
from collections.abc import Iterable

from petsage_grpc.rpc.tls import Certificates
from petsage_grpc.settings import Settings
from petsage_grpc.settings_listen import parse_listen

__all__ = ["ways_to_ask"]

_CLIENT_FILES = ("CERT.pem", "KEY.pem")
"""Where those of a client would stand: nobody here knows them."""


def ways_to_ask(
    address: str, settings: Settings, certificates: Certificates | None
) -> Iterable[str]:
    """Make the commands that ask a service at an address where it listens.

    Args:
        address: the address, with its port.
        settings: where the files of TLS are.
        certificates: what it shows in TLS, if it speaks it.
    """
    if certificates is None:
        yield f"petsage-grpc smoke {address}"
        yield f"grpcurl -plaintext {address} grpc.health.v1.Health/Check"
        yield f"grpc_health_probe -addr={address}"
        return
    # Who trusts the server's own certificate needs no authority, of which nothing is known here.
    cert, (own_cert, own_key) = shlex.quote(settings.tls_cert), _CLIENT_FILES
    ours, curl, probe = (
        f"--tls --tls-ca-cert {cert}",
        f"-cacert {cert}",
        f"-tls -tls-ca-cert={cert}",
    )
    if name := _other_name(address, certificates.names):
        ours += f" --tls-server-name {name}"
        curl += f" -authority {name}"
        probe += f" -tls-server-name={name}"
    if certificates.mutual:
        ours += f" --tls-client-cert {own_cert} --tls-client-key {own_key}"
        curl += f" -cert {own_cert} -key {own_key}"
        probe += f" -tls-client-cert={own_cert} -tls-client-key={own_key}"
    yield f"petsage-grpc smoke {address} {ours}"
    yield f"grpcurl {curl} {address} grpc.health.v1.Health/Check"
    yield f"grpc_health_probe -addr={address} {probe}"


def _other_name(address: str, names: tuple[str, ...]) -> str:
    """Find a name to ask for where the certificate is not for the address."""
    host, port = parse_listen(address)
    if not names or (host if port >= 0 else "localhost") in names:
        return ""
    return names[0].replace("*", "any", 1)
