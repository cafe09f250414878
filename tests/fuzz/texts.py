"""The targets that need no server: what reads text and bytes of users and of other services."""

import json
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote, quote_plus

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from petsage_grpc.core.hops import FARTHEST, MOST, format_reaches, parse_hops, parse_reaches
from petsage_grpc.core.text import redact
from petsage_grpc.core.units import parse_duration, parse_size
from petsage_grpc.errors import SettingsError
from petsage_grpc.rpc.client.address import parse_address
from petsage_grpc.rpc.client.errors import AddressError
from petsage_grpc.rpc.client.health_codec import decode_status, encode_request, status_name
from petsage_grpc.settings_listen import MAX_PORT, parse_listen
from petsage_grpc.settings_load import load_settings
from petsage_grpc.settings_parts import BadSettingError
from petsage_grpc.settings_tls import load_tls
from petsage_grpc.settings_tokens import parse_tokens
from tests.fuzz.oracle import one_line, refused

__all__ = [
    "address", "certificates", "health_codec", "reaches", "redaction", "references",
    "settings_file", "tokens", "units",
]  # fmt: skip

_SECRET: Final = "hunter2-is-no-word-of-ours"
_TELLING: Final = 12
"""Characters of a line of which an error must show nothing."""
_LONGEST: Final = 1.0
"""Seconds of this process that one input may take, where libFuzzer's own limit is far away."""
_LONG_TEXT: Final = 100_000
_SHORTEST: Final = 8
"""Characters from which a secret is found in all that others write around it."""
_WAYS: Final[tuple[Callable[[str], str], ...]] = (
    str, repr, ascii, json.dumps, quote, quote_plus,
    lambda secret: repr(secret.encode()),
    lambda secret: quote(secret, safe=""),
    lambda secret: quote(secret, safe="!$&'()*+,;="),
    lambda secret: f"redis://:{quote(secret, safe='')}@host/0",
    lambda secret: json.dumps(secret, ensure_ascii=False),
    lambda secret: b64encode(f"user:{secret}".encode()).decode(),
)  # fmt: skip
"""How libraries write a secret into their errors."""


def settings_file(raw: bytes) -> None:
    """Load a settings file of any bytes."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "petsage.toml")
        path.write_bytes(raw)
        refused(lambda: load_settings(path, environ={}))


def references(raw: bytes) -> None:
    """Load a settings file whose texts name a secret; whatever is said, that is not."""
    with TemporaryDirectory() as folder:
        path, secret = Path(folder, "petsage.toml"), Path(folder, "secret")
        secret.write_text(f"{_SECRET}\n")
        path.write_bytes(raw.replace(b"FILE", str(secret).encode()))
        said = ""
        try:
            said = repr(load_settings(path, environ={"S": _SECRET, "N": "7", "E": ""}))
        except SettingsError as error:
            said = str(error)
            one_line(said)
        assert _SECRET not in said


def health_codec(raw: bytes) -> None:
    """Read an answer as protobuf does: nothing is SERVING that is not."""
    told: list[int] = []
    if not refused(lambda: told.append(decode_status(raw)), ValueError):
        name = status_name(told[0])
        assert name.isascii()
        try:
            real = health_pb2.HealthCheckResponse.FromString(raw).status
        except DecodeError:
            real = None  # we are content with less, as with text that is not UTF-8
        assert real is None or (name == "SERVING") <= (real == 1), (name, real)
    text = raw.decode(errors="ignore")
    assert health_pb2.HealthCheckRequest.FromString(encode_request(text)).service == text


def address(raw: bytes) -> None:
    """Read an address to connect to, and one to listen on."""
    text = raw.decode(errors="surrogateescape")
    if not refused(lambda: parse_address(text), AddressError):
        read = parse_address(text)
        assert read.path or (read.host and 1 <= read.port <= MAX_PORT)
        assert read.path or read.authority.isprintable()
    if not refused(lambda: parse_listen(text), ValueError):
        host, port = parse_listen(text)
        assert host
        assert -1 <= port <= MAX_PORT


def units(raw: bytes) -> None:
    """Read a duration and a size."""
    text = raw.decode(errors="replace")
    begun = time.process_time()
    for parse in (parse_duration, parse_size):
        if not refused(lambda parse=parse: parse(text), ValueError, OverflowError):  # type: ignore[misc]
            assert parse(text) >= 0
    assert time.process_time() - begun < _LONGEST, f"{len(text)} characters take too long"


def tokens(raw: bytes) -> None:
    """Read a file of tokens; what is wrong with one is said without it."""
    text, said = raw.decode(errors="replace"), ""
    try:
        parse_tokens(text)
    except ValueError as error:
        said = str(error)
        one_line(said)
    shown = [line for line in text.splitlines() if len(line) >= _TELLING and line in said]
    assert not shown


def certificates(raw: bytes) -> None:
    """Load the files of TLS, which hold what stands between bytes that are 0."""
    with TemporaryDirectory() as folder:
        paths = []
        for name, content in zip(
            ("cert", "key", "ca"), (*raw.split(b"\0"), b"", b""), strict=False
        ):
            paths.append(Path(folder, name))
            paths[-1].write_bytes(content)
        cert, key, client_ca = map(str, paths)
        refused(lambda: load_tls(cert, key, client_ca), BadSettingError)


def reaches(raw: bytes) -> None:
    """Read both headers of services that check each other; what is kept is bounded."""
    hops = parse_hops([raw, raw.decode("latin-1")])
    assert len(hops) <= MOST
    distances = parse_reaches([raw])
    assert len(distances) <= MOST
    assert all(0 < away <= FARTHEST for away in distances.values())
    again = parse_reaches([format_reaches(distances)])
    assert again == {name: away + 1 for name, away in distances.items() if away < FARTHEST}


def redaction(raw: bytes) -> None:
    """Hide a secret, which stands before a byte that is 0, in the text after it, however long."""
    secret, text = (part.decode(errors="ignore") for part in raw.partition(b"\0")[::2])
    begun = time.process_time()
    redact(text * (_LONG_TEXT // max(1, len(text))), {secret: "***"})
    redact(text[:-1] + text[-1:] * _LONG_TEXT + " @", {secret: "***"})
    assert time.process_time() - begun < _LONGEST, f"{text!r} again and again takes too long"
    if len(secret) < _SHORTEST or "*" in secret:  # with what stands in its place it could arise
        return
    for write in _WAYS:
        written = write(secret)
        shown = redact(f"{text} {written} {text}", {secret: "***"})
        assert written not in shown, (written, shown)
        assert secret not in shown, shown
