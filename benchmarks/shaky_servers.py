"""A port and a name server that can be made to fail in ways that no real server can be told to."""

import contextlib
import errno
import socket
import threading
from typing import Final, Self

from processes import free_port
from report import BenchError

__all__ = ["HOST", "NAME_SERVER", "NameServer", "Port"]

HOST: Final = "127.0.0.1"
NAME_SERVER: Final = "127.0.53.53"
"""Where the name server listens: an address of this machine alone, and DNS knows one port."""

_DNS_PORT: Final = 53
_PATIENCE: Final = 1.0
_FILLERS: Final = 4


class Port:
    """A TCP port that answers, refuses or swallows."""

    def __init__(self) -> None:
        self.number = free_port()
        self._held = contextlib.ExitStack()

    def answer(self, words: bytes) -> None:
        """Say these words to whoever has said something, and close the connection."""
        self.refuse()
        listener = self._held.enter_context(socket.create_server((HOST, self.number), backlog=64))
        thread = threading.Thread(target=_answer, args=(listener, words), daemon=True)
        thread.start()
        self._held.callback(thread.join)
        self._held.callback(listener.shutdown, socket.SHUT_RDWR)  # wakes it up; called first

    def refuse(self) -> None:
        """Have nobody listen."""
        self._held.close()

    def swallow(self) -> None:
        """Drop what comes, as a firewall does: the backlog is full."""
        self.refuse()
        self._held.enter_context(socket.create_server((HOST, self.number), backlog=0))
        for _ in range(_FILLERS):
            filler = self._held.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex((HOST, self.number))


def _answer(listener: socket.socket, words: bytes) -> None:
    with contextlib.suppress(OSError):  # the listener is shut down
        while True:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), connection:
                connection.settimeout(_PATIENCE)
                connection.recv(65536)
                connection.sendall(words)


class NameServer:
    """A DNS server that knows every name, as an address of this machine, or none."""

    def __init__(self) -> None:
        self.knows = True
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        try:
            self._socket.bind((NAME_SERVER, _DNS_PORT))
        except OSError as error:
            self._socket.close()
            name = errno.errorcode.get(error.errno or 0, "an error")
            raise BenchError(f"a DNS server of ours needs root, and a free port: {name}") from None
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # it is not connected, but wakes up
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            if not query:
                return
            self._socket.sendto(self._reply(query), client)

    def _reply(self, query: bytes) -> bytes:
        """Answer a query with one question, about the one kind of address that there is."""
        end = query.index(b"\0", 12) + 5
        question, about_ipv4 = query[12:end], query[end - 4 : end - 2] == b"\0\1"
        answers = self.knows and about_ipv4
        flags = b"\x81\x80" if self.knows else b"\x81\x83"  # no error, or no such name
        head = query[:2] + flags + b"\0\1" + bytes([0, answers]) + b"\0\0\0\0"
        record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(HOST)
        return head + question + (record if answers else b"")
