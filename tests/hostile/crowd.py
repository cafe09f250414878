"""Many watchers in one process; as a script it is told what to do on standard input.

`crowd.py HOST:PORT NUMBER KIND` subscribes so many. KIND is "reading", "stalled" (no window: they
never read) or "strangers" (each watches a name of its own). It answers each line with one of JSON:
a line is how many messages each should have, how many seconds that may take, and "read" if all
shall begin to read now.
"""

import json
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import Final

from hyperframe.frame import PingFrame, SettingsFrame, WindowUpdateFrame

from tests.hostile import raw
from tests.hostile.raw import ATTACKER, Peer, encode, grpc_headers

__all__ = ["Crowd", "State"]

_PER_CONNECTION: Final = 500
"""Streams on one connection, below what a server may allow at once."""
_AT_ONCE: Final = 100
_WIDE: Final = 1 << 24
_DATA, _HEADERS, _RESET, _SETTINGS, _PING = 0, 1, 3, 4, 6
_END_STREAM, _ACK = 1, 1
_FRAME_HEADER: Final = 9
_UNANSWERED: Final = -1
_LOOK_EVERY: Final = 0.02


@dataclass(frozen=True)
class State:
    """How far a crowd is."""

    reached: int
    """How many have as many messages as were waited for, or more."""
    at: float
    """When the last message came, in seconds of the monotonic clock."""
    ended: int
    """How many the server has ended."""


class _Line(Peer):
    """A connection whose frames are read: how many messages each stream has got."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        super().__init__(sock, until)
        self.messages: dict[int, int] = {}
        self.ended: set[int] = set()
        self.at = 0.0
        self._rest = b""
        self.gone = False

    def _read(self) -> None:
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now = time.monotonic()
        if not data:
            self.gone = True
            self.ended.update(self.messages)
            return
        buffer, at = self._rest + data, 0
        while len(buffer) - at >= _FRAME_HEADER:
            length = int.from_bytes(buffer[at : at + 3], "big")
            end = at + _FRAME_HEADER + length
            if end > len(buffer):
                break
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big")
            self._take(buffer[at + 3], buffer[at + 4], stream, buffer[at + 9 : end], now)
            at = end
        self._rest = buffer[at:]

    def has(self, messages: int) -> bool:
        """Say whether each stream has so many messages, or was ended."""
        return all(n >= messages or s in self.ended for s, n in self.messages.items())

    def _take(self, kind: int, flags: int, stream: int, data: bytes, now: float) -> None:
        if kind == _HEADERS and self.messages[stream] == _UNANSWERED:
            self.messages[stream] = 0
        elif kind == _DATA and data:
            self.messages[stream] += 1
            self.at = now
        if kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self.ended.add(stream)
        elif kind == _SETTINGS and not flags & _ACK:
            self.sock.sendall(raw.ACKNOWLEDGED)
        elif kind == _PING and not flags & _ACK:
            answer = PingFrame(0, data)
            answer.flags.add("ACK")
            self.sock.sendall(answer.serialize())


class Crowd:
    """Watchers of one server, subscribed when it is made.

    Args:
        address: host and port of the server.
        number: how many.
        source: the address from which they come.
        name: the health name that they watch; empty for names that nobody knows, one for each.
        reading: whether they take what they are told.
        patience: seconds that all of it may take.
    """

    def __init__(
        self, address: str, number: int, *, source: str = ATTACKER, name: str = "", reading: bool,
        patience: float = 60.0,
    ) -> None:  # fmt: skip
        until = time.monotonic() + patience
        self._poll = select.poll()
        self._lines: dict[int, _Line] = {}
        host, _, port = address.rpartition(":")
        block = encode(grpc_headers(raw.WATCH))
        for first in range(0, number, _PER_CONNECTION):
            sock = socket.create_connection((host, int(port)), 10, source_address=(source, 0))
            sock.setblocking(False)
            line = _Line(sock, until)
            line.begin(INITIAL_WINDOW_SIZE=1 << 20 if reading else 0)
            line.send(WindowUpdateFrame(0, window_increment=_WIDE).serialize())
            self._lines[sock.fileno()] = line
            self._poll.register(sock, select.POLLIN)
            last = min(first + _PER_CONNECTION, number)
            for start in range(first, last, _AT_ONCE):
                frames = []
                for one in range(start, min(start + _AT_ONCE, last)):
                    stream = line.next_stream()
                    line.messages[stream] = _UNANSWERED
                    watched = name.encode() or b"nobody-%d" % one
                    frames.append(raw.headers_frame(stream, block))
                    frames.append(raw.data_frame(stream, raw.name_message(watched)))
                line.send(b"".join(frames))

    def wait(self, messages: int, seconds: float) -> State:
        """Wait until each has so many messages or was ended, at most so long.

        Who has been answered has 0, also when it can not take the first message.
        """
        look = time.monotonic()
        give_up = look + seconds
        lines = self._lines.values()
        while (left := give_up - time.monotonic()) > 0:
            if time.monotonic() >= look:  # not each time: there are thousands
                look = time.monotonic() + _LOOK_EVERY
                if all(line.has(messages) for line in lines):
                    break
            for descriptor, _ in self._poll.poll(min(left, _LOOK_EVERY) * 1000):
                line = self._lines[descriptor]
                line._read()
                if line.gone:
                    self._poll.unregister(descriptor)
        reached = [number >= messages for line in lines for number in line.messages.values()]
        ended = sum(len(line.ended) for line in lines)
        return State(sum(reached), max(line.at for line in lines), ended)

    def read(self) -> None:
        """Have those who never read begin to."""
        wider = {SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 20}
        for line in self._lines.values():
            line.send(SettingsFrame(0, wider).serialize())

    def leave(self) -> None:
        for line in self._lines.values():
            line.sock.close()


def main() -> None:
    """Be a crowd until standard input ends."""
    address, number, kind = sys.argv[1:]
    name = "" if kind == "strangers" else "crowd"
    crowd = Crowd(address, int(number), name=name, reading=kind != "stalled")
    print("here", flush=True)
    for line in sys.stdin:
        messages, seconds, *begin = line.split()
        if begin:
            crowd.read()
        print(json.dumps(asdict(crowd.wait(int(messages), float(seconds)))), flush=True)
    crowd.leave()


if __name__ == "__main__":
    main()
