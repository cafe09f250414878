"""Attacks that take what there is and hold it; each is called once, and waits for its end."""

import contextlib
import itertools
from collections.abc import Callable
from typing import Final

from hyperframe.frame import SettingsFrame

from tests.hostile import raw
from tests.hostile.raw import Attack, Field, Peer, call_frames, collect, encode, grpc_headers

__all__ = ["ATTACKS"]

ATTACKS: Final[dict[str, Attack]] = {}
"""Each attack by its name."""

_attack = collect(ATTACKS)


def _hold(field: Field, number: int, open_one: Callable[[Peer], None]) -> None:
    """Open connections, do something on each once, and hold them."""
    held = []
    for peer in field.crowd(number):
        field.count += 1
        try:
            open_one(peer)
        except OSError:  # this one was hung up on
            peer.sock.close()
        else:
            held.append(peer)
    field.wait(0.1)
    for peer in held:  # who has begun acknowledges the server's SETTINGS, or is sent away
        with contextlib.suppress(OSError):
            peer.drain()
    field.wait()


@_attack
def _never_read(field: Field) -> None:
    calls = [
        (encode(grpc_headers(raw.WATCH)), raw.EMPTY_MESSAGE),
        (encode(grpc_headers(raw.SMOKE_TEST)), raw.EMPTY_MESSAGE),
        (encode(grpc_headers(raw.REFLECTION)), raw.LIST_SERVICES),
        (encode(grpc_headers(raw.LIST)), raw.EMPTY_MESSAGE),
    ]

    def open_one(peer: Peer) -> None:
        peer.begin(INITIAL_WINDOW_SIZE=0)
        for call in 25 * calls:
            peer.call(*call)

    _hold(field, 20, open_one)


@_attack
def _read_a_byte_a_second(field: Field) -> None:
    block, held = encode(grpc_headers(raw.LIST)), []
    for _ in range(50):
        peer = field.dial(receive_buffer=1)
        held.append(peer)
        peer.begin()
        frames = b"".join(
            raw.headers_frame(stream, block) + raw.data_frame(stream, raw.EMPTY_MESSAGE)
            for stream in range(1, 400, 2)
        )
        peer.send(frames, reading=False)
    while not field.over:
        for peer in held:
            with contextlib.suppress(BlockingIOError):  # nothing has come yet
                field.count += len(peer.sock.recv(1))
        field.wait(1.0)


@_attack
def _send_a_byte_a_second(field: Field) -> None:
    http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
    held = list(field.crowd(200))
    for byte in http2:
        for peer in held:
            peer.send(bytes([byte]))
            field.count += 1
        field.wait(1.0)


@_attack
def _half_a_frame(field: Field) -> None:
    whole = raw.headers_frame(1, encode(grpc_headers(raw.CHECK)))

    def open_one(peer: Peer) -> None:
        peer.begin()
        peer.send(whole[: len(whole) // 2])

    _hold(field, 200, open_one)


@_attack
def _half_a_call(field: Field) -> None:
    block = encode(grpc_headers(raw.CHECK))

    def open_one(peer: Peer) -> None:
        peer.begin()
        peer.send(b"".join(raw.headers_frame(peer.next_stream(), block) for _ in range(100)))

    _hold(field, 50, open_one)


@_attack
def _stay_after_a_wrong_path(field: Field) -> None:
    watch, wrong = encode(grpc_headers(raw.WATCH)), raw.wrong_path()
    for peer in field.crowd(500):  # one after the other: each meets what came for the last
        with contextlib.suppress(OSError):
            peer.begin()
            peer.call(watch)
            peer.call(wrong)
            field.count += 1
            field.wait(0.02)
            peer.drain()
    field.wait()


@_attack
def _idle_connections(field: Field) -> None:
    _hold(field, 5000, Peer.begin)


@_attack
def _silent_connections(field: Field) -> None:
    held = list(field.crowd(5000))
    field.count += len(held)
    field.wait()


@_attack
def _unknown_names(field: Field) -> None:
    """Watch distinct names that nobody knows, and read what is said of them."""
    block, names = (
        encode(grpc_headers(raw.WATCH)),
        (b"nobody-%d" % number for number in itertools.count()),
    )
    held = list(field.crowd(20))
    for peer in held:
        peer.begin(INITIAL_WINDOW_SIZE=1 << 20)
    while True:
        for peer in held:
            peer.send(call_frames(peer, block, next(names)))
            field.count += 1
