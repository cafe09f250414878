"""Says what an error of Redis means and what to do about it, in one line that names the server."""

import re
from typing import Final

from redis import exceptions

__all__ = ["REPLIES", "describe"]

REPLIES: Final = (
    exceptions.ResponseError,
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
    exceptions.BusyLoadingError,
)
"""Errors that a server has answered with; the connection is all right."""

_NO_PROTOCOL: Final = (
    exceptions.RedisError, ValueError, TypeError, LookupError, AttributeError, RecursionError,
)  # fmt: skip
"""What comes of reading what is no answer of Redis."""

_TLS_ALERT: Final = r"\x15"
"""How TLS begins to say that what it heard is no TLS."""

_MENDS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), text)
    for pattern, text in (
        (
            r"DENIED .*protected mode",
            "{0} is in protected mode and so serves its own machine alone: set a password there",
        ),
        (
            r"authentication required",
            "{0} demands a password: set {setting}",
        ),
        (
            r"without any password configured|no password is set",
            "{0} has no password for its default user: leave it out, or set username",
        ),
        (
            r"invalid username-password pair|invalid password",
            "{0} refuses the user name or the password: correct them",
        ),
        (
            r"no permissions? to run the '([^']+)' command",
            "{0} does not let this user run {1}: allow it there with ACL SETUSER",
        ),
        (
            r"no permissions? to access",
            "{0} does not let this user touch the key: allow it there with ACL SETUSER, or set key",
        ),
        (
            r"^BusyLoadingError",
            "{0} is still loading its data: wait until it has",
        ),
        (
            r"^ReadOnlyError",
            "{0} is a read-only replica: name its master in url, or set write = false",
        ),
        (
            r"^OutOfMemoryError",
            "{0} has reached its maxmemory and refuses writes: raise it, or let it evict keys",
        ),
        (
            r"MISCONF",
            "{0} can not save its data and so refuses writes: free its disk, and look into its log",
        ),
        (
            r"^MasterDownError",
            "{0} is a replica that has lost its master: bring the master back",
        ),
        (
            r"NOREPLICAS",
            "{0} has fewer good replicas than min-replicas-to-write: bring them back",
        ),
        (
            r"^ClusterDownError",
            "{0} says that the cluster is down: bring back the masters that are missing",
        ),
        (
            r"max number of clients",
            "{0} takes no more clients: raise its maxclients, or find out who keeps connections",
        ),
        (
            r"BUSY .*busy running a (\w+)",
            "{0} is busy with a {1}: end it with {1} KILL, and look why it takes so long",
        ),
        (
            r"DB index|SELECT is not allowed",
            "{0} has no database of that number: correct it in url",
        ),
        (
            r"^(MovedError|AskError)",
            "{0} is a node of a cluster: begin url with redis+cluster://",
        ),
        (
            r"cluster support disabled|unknown command .cluster",
            "{0} is no node of a cluster: begin url with redis://",
        ),
        (
            r"unknown command .sentinel",
            "{0} is no sentinel: correct the port in url, or begin it with redis://",
        ),
    )
)


def describe(error: Exception, server: str, *, setting: str, else_tls: bool) -> str:
    """Say what went wrong on a connection that was open.

    Args:
        error: what redis-py makes of it; releases differ in what they leave of an answer's words.
        server: the name of the server.
        setting: which one the password for it is.
        else_tls: whether it may be that the server speaks TLS, and we do not.
    """
    # What follows an unknown command are its arguments, such as a password.
    said = str(error).partition("\n")[0].partition(", with args")[0]
    for pattern, text in _MENDS:
        if match := pattern.search(f"{type(error).__name__} {said}"):
            groups = (group.upper() for group in match.groups())
            return text.format(server, *groups, setting=setting)
    if isinstance(error, REPLIES):
        return f"{server} answered with an error: {said}"
    if isinstance(error, exceptions.ConnectionError):
        mend = "; if it speaks TLS, write rediss instead of redis in url" if else_tls else ""
        return f"{server} closed the connection: look into its log{mend}"
    if isinstance(error, _NO_PROTOCOL):
        if else_tls and _TLS_ALERT in said:
            return f"{server} speaks TLS: write rediss instead of redis in url"
        return f"{server} does not speak Redis's protocol ({said}): correct the port in url"
    why = getattr(error, "strerror", None) or f"{type(error).__name__}: {said}"
    return f"{server} can not be asked: {why}"
