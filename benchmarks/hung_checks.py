"""What 200 checks that hang cost: no thread or descriptor more as time goes by, and no answer.

They ask a server that accepts and never answers, half of them over TLS and half over HTTP, and by
its name: looking that up takes a thread each time.
"""

import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import grpc
from latency import p99, time_checks
from processes import HERE, Server, alternate, checking
from report import BenchError, Row, Target, main

from petsage_grpc.rpc.stubs import SmokeTestRequest, SmokeTestServiceStub
from tests import faults, nginx

__all__ = ["rows"]

_HUNG: Final = 200
_INTERVAL: Final = 10.0
"""Seconds, the default: all checks have the policy that one gets without saying more."""
_SETTLE: Final = 25.0
"""Seconds after which all have failed often enough to be back at their interval."""
_ROUNDS: Final = 4
_PERIOD: Final = 0.05
"""Seconds from count to count."""


def rows(*, quick: bool) -> list[Row]:
    """Stop the server, and count what the service holds then and some intervals later."""
    interval, rounds = (0.1 * _INTERVAL, 1) if quick else (_INTERVAL, _ROUNDS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hung-")))
        calm = stack.enter_context(checking(_calm_settings(), modules=str(HERE)))
        server, settings = _start_nginx(stack, folder)
        hung = stack.enter_context(checking(settings))
        stack.enter_context(server.frozen())
        time.sleep(_SETTLE)
        _prove_hung(hung)
        before = _count(hung, interval)
        taken = alternate(
            {
                "calm": lambda: p99(time_checks(calm.address, interval / 2)),
                "hung": lambda: p99(time_checks(hung.address, interval / 2)),
            },
            rounds,
        )
        after = _count(hung, interval)
    figure, then = f"{_HUNG} hung checks", f"{rounds + 1} intervals before"
    no_more, hardly_longer = Target(at_most=1.1), Target(at_most=1.25)
    held = [
        Row(f"{figure}: {what}", what, then, [before[what]], [after[what]], no_more)
        for what in before
    ]
    return [
        *held,
        Row(f"{figure}: Check p99", "ms", "2 checks", taken["calm"], taken["hung"], hardly_longer),
    ]


def _calm_settings() -> str:
    check = 'kind = "python"\nfunction = "counted:nothing"'
    return f"[checks.one]\n{check}\n[checks.other]\n{check}\n"


def _start_nginx(stack: ExitStack, folder: Path) -> tuple[nginx.Nginx, str]:
    """Return the server, and the settings of those who check it."""
    server = nginx.Nginx()
    stack.callback(server.remove)
    page = 'location / { return 200 "purring"; }'
    plain, secure = server.add(page), server.add(page, tls=faults.write_certificate(folder))
    try:
        server.start()
    except nginx.MissingServerError as error:
        raise BenchError(str(error)) from None
    authority = faults.write_authority(folder)
    kinds = (
        f'kind = "http"\nurl = "http://localhost:{plain}/"',
        f'kind = "tcp"\naddress = "localhost:{secure}"\ntls = true\ntls_ca_cert = "{authority}"',
    )
    checks = [f"[checks.c{number}]\n{kinds[number % 2]}" for number in range(_HUNG)]
    return server, "\n".join(['details = "always"', *checks]) + "\n"


def _prove_hung(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        answer = SmokeTestServiceStub(channel).SmokeTest(SmokeTestRequest(), timeout=5)
    hung = sum("timed out" in check.detail for check in answer.checks)
    if hung != _HUNG:
        raise BenchError(f"{hung} of {_HUNG} checks hang")


def _count(server: Server, seconds: float) -> dict[str, float]:
    """Count what the process holds, on average of so many seconds."""
    process = Path(f"/proc/{server.pid}")
    counts: dict[str, list[int]] = {"threads": [], "descriptors": []}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for what, place in (("threads", "task"), ("descriptors", "fd")):
            counts[what].append(len(list((process / place).iterdir())))
        time.sleep(_PERIOD)
    return {what: statistics.fmean(numbers) for what, numbers in counts.items()}


if __name__ == "__main__":
    main({"hung checks": rows})
