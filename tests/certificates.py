"""Real certificates for tests, and a folder that renews them as Kubernetes does."""

import datetime
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

DAY = 86400.0


@dataclass(frozen=True)
class Pair:
    cert: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        """Write both into files; return their paths."""
        cert, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
        cert.write_bytes(self.cert)
        key.write_bytes(self.key)
        return str(cert), str(key)


class Authority:
    """One that signs."""

    def __init__(self) -> None:
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.cert = self._ca.cert_pem.bytes()

    def write(self, folder: Path, name: str) -> str:
        """Write its certificate into a file; return the path."""
        path = folder / f"{name}.pem"
        path.write_bytes(self.cert)
        return str(path)

    def pair(self, *names: str, days: float = 30.0, old: float = 2.0) -> Pair:
        """Issue a certificate that began `old` days ago and has `days` left, or none."""
        now = datetime.datetime.now(datetime.UTC)
        leaf = self._ca.issue_cert(
            *(names or ("127.0.0.1", "localhost")),
            not_before=now - datetime.timedelta(days=old),
            not_after=now + datetime.timedelta(days=days),
            key_type=trustme.KeyType.ECDSA,
        )
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        return Pair(chain, leaf.private_key_pem.bytes())


class Secret:
    """A secret that Kubernetes mounts: all files change at once, by the swap of a symbolic link.

    Args:
        folder: where it is mounted.
        files: what it holds at first.
    """

    def __init__(self, folder: Path, pair: Pair, client_ca: bytes = b"") -> None:
        folder.mkdir()
        self.folder = folder
        self._count = 0
        self.renew(pair, client_ca)
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (folder / name).symlink_to(Path("..data") / name)

    def renew(self, pair: Pair, client_ca: bytes = b"") -> None:
        """Replace all that it holds."""
        self._count += 1
        data = self.folder / f"..{self._count}"
        data.mkdir()
        for name, content in (("tls.crt", pair.cert), ("tls.key", pair.key), ("ca.crt", client_ca)):
            (data / name).write_bytes(content)
        swapped = self.folder / "..data_tmp"
        swapped.symlink_to(data.name)
        swapped.rename(self.folder / "..data")

    def settings(self, *, mutual: bool = False) -> dict[str, str]:
        """Name its files as settings."""
        given = {"tls_cert": f"{self.folder}/tls.crt", "tls_key": f"{self.folder}/tls.key"}
        return given | ({"tls_client_ca": f"{self.folder}/ca.crt"} if mutual else {})


def shown(address: str, **limits: ssl.TLSVersion) -> bytes:
    """Say which certificate is shown to a new connection. Raises OSError when it is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    for name, version in limits.items():
        setattr(context, name, version)
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host.strip("[]"), int(port)), 10) as plain,
        context.wrap_socket(plain) as it,
    ):
        seen = it.getpeercert(binary_form=True)
        assert seen
        return seen


def der(pair: Pair) -> bytes:
    """Write the first certificate of a chain as it is shown."""
    return ssl.PEM_cert_to_DER_cert(
        pair.cert.decode().partition("-----END")[0] + "-----END CERTIFICATE-----"
    )
