"""Says where the files of the settings are, whatever directory the application works in later."""

import os
from typing import Any, Final

from petsage_grpc.settings import Settings
from petsage_grpc.settings_references import Text

__all__ = ["absolute_paths"]

_FILES: Final = ("tls_cert", "tls_key", "tls_client_ca")
_LISTENS: Final = ("listen", "features_listen", "probe_listen")
_UNIX: Final = "unix:"
_LONGEST_SOCKET: Final = 107
"""Bytes in the path of a unix socket."""


def absolute_paths(settings: Settings) -> dict[str, Any]:
    """Give those settings that name files from the working directory, with their whole paths."""
    found: dict[str, Any] = {key: _absolute(getattr(settings, key)) for key in _FILES}
    found["token_files"] = tuple(map(_absolute, settings.token_files))
    for key in _LISTENS:
        found[key] = tuple(map(_absolute_socket, getattr(settings, key)))
    return {key: value for key, value in found.items() if value != getattr(settings, key)}


def _absolute(path: str) -> str:
    if not path or os.path.isabs(path):  # noqa: PTH117 -- a Path would lose what a Text knows
        return path
    try:
        whole = os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118 -- nor resolve any ".."
    except OSError:  # the directory is gone
        return path
    return Text(whole, path.written, path.parts) if isinstance(path, Text) else whole


def _absolute_socket(address: str) -> str:
    if not address.startswith(_UNIX):
        return address
    path = address.removeprefix(_UNIX).removeprefix("//")
    whole = _absolute(path)
    fits = len(os.fsencode(whole)) <= _LONGEST_SOCKET
    return f"{_UNIX}{whole}" if whole != path and fits else address
