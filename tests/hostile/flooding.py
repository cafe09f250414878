"""Attacks that send as much as they can; each does one round of its mischief when it is called."""

import contextlib
import gzip
import itertools
import random
from collections.abc import Callable
from typing import Final

from hyperframe.frame import (
    ContinuationFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.hostile import raw
from tests.hostile.raw import Attack, Field, Peer, call_frames, collect, encode, grpc_headers

__all__ = ["ATTACKS"]

ATTACKS: Final[dict[str, Attack]] = {}
"""Each attack by its name."""

_attack = collect(ATTACKS)

_BATCH: Final = 100
"""Frames of a flood that are sent together."""
_MEBIBYTE: Final = 1 << 20


def _flood(field: Field, frames: Callable[[Peer], bytes], **settings: int) -> None:
    """Send batches of frames on one connection until the server hangs up."""
    with field.dial() as peer:
        peer.begin(**settings)
        while peer.stream < 2**31 - 4 * _BATCH:
            peer.send(b"".join(frames(peer) for _ in range(_BATCH)))
            field.count += _BATCH


@_attack
def _rapid_reset(field: Field) -> None:
    block = encode(grpc_headers(raw.WATCH))

    def frames(peer: Peer) -> bytes:
        stream = peer.next_stream()
        call = raw.headers_frame(stream, block) + raw.data_frame(stream, raw.EMPTY_MESSAGE)
        return call + raw.reset_frame(stream)

    _flood(field, frames)


@_attack
def _make_it_reset(field: Field) -> None:
    """Have the server reset each stream itself, by a window that grows by nothing."""
    block = encode(grpc_headers(raw.CHECK))

    def frames(peer: Peer) -> bytes:
        stream = peer.next_stream()
        call = raw.headers_frame(stream, block) + raw.data_frame(stream, raw.EMPTY_MESSAGE)
        return call + b"\0\0\4\x08\0" + stream.to_bytes(4, "big") + b"\0\0\0\0"

    _flood(field, frames)


@_attack
def _pings(field: Field) -> None:
    _flood(field, lambda _: PingFrame(0, b"purrrrrr").serialize())


@_attack
def _pings_never_read(field: Field) -> None:
    ping = PingFrame(0, b"purrrrrr").serialize()
    with field.dial(receive_buffer=1) as peer:
        peer.begin()
        while True:
            peer.send(_BATCH * ping, reading=False)
            field.count += _BATCH


@_attack
def _settings(field: Field) -> None:
    flip = itertools.cycle([1024, 65535])
    _flood(
        field,
        lambda _: SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: next(flip)}).serialize(),
    )


@_attack
def _priorities(field: Field) -> None:
    _flood(field, lambda peer: PriorityFrame(peer.next_stream(), stream_weight=7).serialize())


@_attack
def _window_updates(field: Field) -> None:
    _flood(field, lambda _: WindowUpdateFrame(0, window_increment=1).serialize())


@_attack
def _empty_frames(field: Field) -> None:
    block = encode(grpc_headers(raw.CHECK))
    nothing = _BATCH * raw.data_frame(1, b"", end=False)
    with field.dial() as peer:
        peer.begin()
        peer.send(raw.headers_frame(peer.next_stream(), block))
        while True:
            peer.send(nothing)
            field.count += _BATCH


@_attack
def _headers(field: Field) -> None:
    """Call with headers just under the limit: one large, then many small."""
    large = encode(grpc_headers(raw.CHECK, ("x-large", "x" * 8000)))
    small = encode(grpc_headers(raw.CHECK, *((f"x-{n}", "y" * 20) for n in range(120))))
    blocks = itertools.cycle([large, small])

    def frames(peer: Peer) -> bytes:
        stream = peer.next_stream()
        call = raw.headers_frame(stream, next(blocks))
        return call + raw.data_frame(stream, raw.EMPTY_MESSAGE)

    _flood(field, frames)


@_attack
def _headers_too_large(field: Field) -> None:
    block = encode(grpc_headers(raw.CHECK, *((f"x-{n}", "z" * 1000) for n in range(100))))
    pieces = [block[at : at + 16000] for at in range(0, len(block), 16000)]
    with field.dial() as peer:
        peer.begin()
        while True:
            stream = peer.next_stream()
            frames = [raw.headers_frame(stream, pieces[0], "END_STREAM")]
            frames += [ContinuationFrame(stream, piece).serialize() for piece in pieces[1:-1]]
            last = ContinuationFrame(stream, pieces[-1])
            last.flags.add("END_HEADERS")
            peer.send(b"".join([*frames, last.serialize()]))
            field.count += 1


@_attack
def _continuations(field: Field) -> None:
    """Begin headers that never end."""
    piece = encode([("x-more", "c" * 8000)])
    with field.dial() as peer:
        peer.begin()
        stream = peer.next_stream()
        peer.send(raw.headers_frame(stream, encode(grpc_headers(raw.CHECK)), "END_STREAM"))
        while True:
            peer.send(ContinuationFrame(stream, piece).serialize())
            field.count += 1


@_attack
def _coming_and_going(field: Field) -> None:
    with field.dial() as peer:
        peer.begin()
    field.count += 1


@_attack
def _compressed_bombs(field: Field) -> None:
    bomb = gzip.compress(bytes(12 * _MEBIBYTE))  # 12 kB of it come over the wire
    message = b"\1" + len(bomb).to_bytes(4, "big") + bomb
    block = encode(grpc_headers(raw.CHECK, ("grpc-encoding", "gzip")))
    with field.dial() as peer:
        peer.begin()
        while True:
            peer.call(block, message)
            field.count += 1


@_attack
def _large_messages(field: Field) -> None:
    """Say that a message is long, and send as much of it as the window admits."""
    block = encode(grpc_headers(raw.CHECK))
    long = b"\0" + (2 << 30).to_bytes(4, "big") + bytes(16000)
    with field.dial() as peer:
        peer.begin()
        while True:
            peer.call(block, long)
            field.count += 1


@_attack
def _wrong_requests(field: Field) -> None:
    """Call with wrong content types, methods, paths and messages."""
    right = dict(grpc_headers(raw.CHECK))
    wrong = [
        right | change
        for change in (
            {"content-type": "text/html"}, {"content-type": ""}, {"content-type": "application/"},
            {":method": "GET"}, {":method": "PUT"}, {":method": "p\0st"}, {":path": ""},
            {":path": "*"}, {":path": "/"}, {":path": "/" + "a" * 4000}, {":path": "//"},
            {":path": "/grpc.health.v1.Health/"}, {":path": "/grpc.health.v1.Health/Nothing"},
            {":path": "/../../etc/passwd"}, {"te": "gzip"}, {"grpc-timeout": "-1S"},
            {"grpc-encoding": "none"}, {"grpc-timeout": "99999999H"}, {":scheme": "ftp"},
            {":authority": "\x7f"}, {"petsage-hops": "x," * 500}, {"authorization": "Bearer x"},
        )
    ]  # fmt: skip
    blocks = [encode(list(headers.items())) for headers in wrong]
    messages = [raw.EMPTY_MESSAGE, b"", b"\0", b"\0\0\0\0\5hello", b"\7\0\0\0\1x", bytes(5000)]
    calls = list(itertools.product(blocks, messages))
    random.shuffle(calls)
    with field.dial() as peer:
        peer.begin()
        for block, message in calls:
            peer.call(block, message)
            field.count += 1


@_attack
def _wrong_paths(field: Field) -> None:
    """Call a path that is not UTF-8."""
    with field.dial() as peer:
        peer.begin()
        peer.call(raw.wrong_path())
        field.count += 1
        field.wait(0.01)
        peer.drain()


@_attack
def _garbage(field: Field) -> None:
    with field.dial() as peer:
        if random.random() < 0.5:
            peer.begin()
        for _ in range(20):
            peer.send(random.randbytes(random.randint(1, 2000)))
            field.count += 1


@_attack
def _huge_names(field: Field) -> None:
    blocks = [encode(grpc_headers(path)) for path in (raw.CHECK, raw.WATCH)]
    names = itertools.cycle([1000, 1025, 15_000, 60_000])
    _flood(field, lambda peer: call_frames(peer, random.choice(blocks), b"n" * next(names)))


@_attack
def _calls(field: Field) -> None:
    """Call as fast as it goes, whatever the answer costs."""
    blocks = [encode(grpc_headers(path)) for path in (raw.CHECK, raw.LIST, raw.SMOKE_TEST)]
    _flood(field, lambda peer: call_frames(peer, random.choice(blocks), b""))


@_attack
def _leave_with_calls(field: Field) -> None:
    """Come with many connections and many calls on each, and leave before an answer."""
    block = encode(grpc_headers(raw.LIST))
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            peer = stack.enter_context(field.dial())
            peer.begin()
            peer.send(b"".join(call_frames(peer, block, b"") for _ in range(200)), reading=False)
            field.count += 200


@_attack
def _fresh_results(field: Field) -> None:
    """Ask SmokeTest for results that are no older than nothing."""
    block = encode(grpc_headers(raw.SMOKE_TEST))
    max_age = b"\0\0\0\0\2\x1a\0"  # field 3, an empty Duration
    with field.dial() as peer:
        peer.begin()
        while True:
            peer.call(block, max_age)
            field.count += 1
