"""Says which settings show more than they should on the way, or hide the port from who must ask."""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from petsage_grpc.settings import Settings
from petsage_grpc.settings_listen import parse_listen

__all__ = ["exposure_risks", "in_container"]

_MARKS: Final = (".dockerenv", "run/.containerenv")
"""Files that engines put into each container."""
_ENGINES: Final = ("docker", "kubepods", "containerd", "libpod", "crio", "lxc")
_LOCAL_NAMES: Final = ("localhost", "ip6-localhost", "ip6-loopback")
_FIRST: Final = 1


def exposure_risks(settings: Settings, *, contained: bool | None = None) -> list[str]:
    """Say who could read or ask what he should not, or can not ask what he must; one line for each.

    Args:
        settings: what is wanted.
        contained: whether this process is what a container was started for; found out if None.
    """
    return [*_plaintext_risks(settings), *_container_risks(settings, contained=contained)]


def in_container(
    root: Path = Path("/"),
    environ: Mapping[str, str] | None = None,
    family: tuple[int, int] | None = None,
) -> bool:
    """Say whether this process is what a container was started for.

    A command that somebody runs in a container where he works is not: he asks it from inside.

    Args:
        root: where the file system begins.
        environ: variables, `os.environ` if not given.
        family: the numbers of this process and of its parent; found out if None.
    """
    if (os.environ if environ is None else environ).get("KUBERNETES_SERVICE_HOST"):
        return True
    if _FIRST not in (family or (os.getpid(), os.getppid())):
        return False
    if any((root / mark).exists() for mark in _MARKS):
        return True
    try:
        groups = (root / "proc/1/cgroup").read_text(errors="replace")
    except OSError:
        return False
    return any(engine in groups for engine in _ENGINES)


def _plaintext_risks(settings: Settings) -> Iterator[str]:
    if settings.tls_cert:
        return
    for key in ("listen", "features_listen") if settings.has_features else ("listen",):
        open_to_others = [it for it in getattr(settings, key) if not _is_local(it)]
        if not open_to_others:
            continue
        named = ", ".join(open_to_others)
        yield (
            f"{key}: {named} answers without TLS whoever can reach it:"
            " set tls_cert and tls_key, or listen on 127.0.0.1"
        )
        if key != "listen":
            continue
        if settings.details == "always":
            yield (
                f"details: everybody who can reach {named} is told why checks fail, which names"
                ' hosts and directories: set it to "authorized"'
            )
        elif settings.details == "authorized" and settings.token_files:
            yield (
                f"token_files: who listens in on the way to {named} reads the tokens:"
                " set tls_cert and tls_key"
            )


def _container_risks(settings: Settings, *, contained: bool | None) -> Iterator[str]:
    places = (*settings.listen, *settings.probe_listen)
    if any(place.startswith("unix:") or not _is_local(place) for place in places):
        return
    if in_container() if contained is None else contained:
        key = "probe_listen" if settings.probe_listen else "listen"
        named = ", ".join(getattr(settings, key))
        yield (
            f"{key}: {named} can not be reached from outside of this container, not by the"
            " kubelet's probe either: listen on 0.0.0.0, or have the probe run inside"
        )


def _is_local(address: str) -> bool:
    """Say whether only this machine, or container, reaches an address."""
    import ipaddress  # noqa: PLC0415 -- many only ever listen by default

    host, port = parse_listen(address)
    if port < 0 or host in _LOCAL_NAMES:
        return True
    try:
        # As the system reads it: 127.1 is one too.
        found = ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))
    except (OSError, ValueError):
        return False  # a name, which stands for whatever the name server says
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
